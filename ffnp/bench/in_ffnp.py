"""Ourselves as contenders: what `ffnp train`, the read-outs and the saliency methods do, on the fast backend; and the plain
way, on the backend that reads as the formulas."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..backend import load_backend, threads
from ..kernels.contract import Array, Kernels
from ..net import Net
from ..rules.rule import scores
from ..run import Run, each_array
from ..saliency.occlusion import drops
from ..saliency.scorer import Score, Scorer
from ..training import batches, number
from .cases import SHAPE, WINDOWS, Case

Once = Callable[[], list[float]]


def ours(case: Case, net: Net, x: np.ndarray, y: np.ndarray, n: int) -> Once:
    if case.kind == "training":
        return limited("cpu", n, training("cpu", case, net, x, y))
    history = {"backend": "cpu", "threads": n, "sizes": list(case.sizes), "shape": list(SHAPE), "dtype": "float32"}
    preset, k = replace(case.preset, standardise=None), load_backend("cpu")  # x is as the preset wants it
    score = Scorer(Run(net, preset.optimisers.init(k, net), preset, history), "goodness")
    return limited("cpu", n, asked(case, score, x, y))


def plain(case: Case, net: Net, x: np.ndarray, y: np.ndarray, n: int) -> Once:
    if case.kind == "training":
        return limited("numpy", n, training("numpy", case, net, x, y))
    read_out = partial(label_by_label, case.preset.rule)
    return limited("numpy", n, asked(case, partial(scores, read_out, load_backend("numpy"), net), x, y))


def limited(backend: str, n: int, once: Once) -> Once:
    """The same on n threads. The block stays open between two runs: neither pays for it."""

    def runs() -> Iterator[list[float]]:
        with threads(n, backend):
            while True:
                yield once()

    return partial(next, runs())


def training(backend: str, case: Case, net: Net, x: np.ndarray, y: np.ndarray) -> Once:
    """The loop of `training.learn` over the rows of the case."""
    k, preset, rng = load_backend(backend), case.preset, np.random.default_rng([0, 1])
    net, x, y = each_array(net, lambda name, a: k.put(a)), k.put(x), k.put(y)
    state = preset.optimisers.init(k, net)

    def once() -> list[float]:
        nonlocal net
        metrics = []
        for rows in batches(len(x), preset, rng):
            for signals in preset.rule.signals(k, net, k.take(x, rows), k.take(y, rows), rng):
                net, _ = preset.optimisers.apply(k, net, signals, state, 1.0)
                metrics.append(list(signals.metrics.values()))
        return np.mean([np.hstack(number(k, values)) for values in metrics], axis=0).tolist()

    return once


def asked(case: Case, score: Score, x: np.ndarray, y: np.ndarray) -> Once:
    """The scores of all rows, or what they are under every window."""
    if case.kind == "prediction":
        return lambda: score(x).mean(axis=0, dtype=float).tolist()

    def once() -> list[float]:
        before, dropped = drops(score, x, y, WINDOWS, own)
        return (before[:, None] - dropped).mean(axis=0, dtype=float).tolist()

    return once


def own(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The score of each row's label.  (B, C) (B,) -> (B,)."""
    return scores[np.arange(len(y)), y]


def label_by_label(rule: Any, k: Kernels, net: Net, x: Array) -> np.ndarray:
    """Forward-Forward's goodness of each label, (B, C), by a pass for each."""
    columns = []
    for c in range(net.classes):
        passes = list(rule.forward(k, net, rule.labelled(k, x, np.full(len(x), c), net)))
        columns.append(sum(rule.share(h) * squares for _, h, squares in passes[rule.goodness_from - 1 :]))
    return np.stack(columns, axis=1)
