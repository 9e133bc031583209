"""Every preset against its torch twin: one update, and the weights after STEPS steps, on any backend in each of its dtypes.

A preset is checked on a network of its own depth with a few units a layer, from a start in general position (biases and head
are not zero), with its own optimisers at their full rate; a rule that mirrors, or trains layer after layer, in every kind of
epoch it knows. The twin computes in float64 whatever we compute in, from the same start, batches and draws.

A difference is |ours - twin| / |twin| in the Frobenius norm, of the worst matrix or vector of biases. Its bounds:

    update    float64  1e-10
              float32  2 eps sqrt(K) (2 L + 1) A.  A product of K terms is off by at most 2 eps sqrt(K) of the size of its
                       factors; an update takes L of them up, L down and one more; A is by how much a relative error grows
                       where nearly equal numbers are subtracted, |h| / |h - g| in PEPITA, P and Y, the margin of p in FF
                       (see `Watch`), as the twin met it
    weights   the update's bound times the way W went, the sum of |step| / |W|, as each step is off by no more of its own
              size (Adam's as well, but for numbers whose gradient is itself of the size of rounding); plus eps for the
              rounding of each step. A is the largest of all steps

In float32 a ReLU whose z is within rounding of zero may open in one and stay shut in the other. Batches are therefore drawn
anew until the twin passes no kink (ReLU, a sign, the choice of a wrong label) nearer than 2 eps sqrt(K) of the size of its
terms.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ..backend import BACKENDS, load_backend, threads
from ..data import load
from ..kernels.contract import Kernels, Pair
from ..net import Dense, Net
from ..optim import Signals
from ..preset import Preset
from ..rules import RULES
from ..rules.rule import Moment
from ..run import each_array, standardised
from .twin import Gradients, Watch
from .twins import apply, movers, twin_of

STEPS, ROWS = 20, 8
DATA = ("random", "digits")


class Row(NamedTuple):
    """One line of the table: largest relative differences, and what they may be."""

    preset: str
    rule: str
    backend: str
    dtype: str
    data: str
    update: float
    update_bound: float
    weights: float
    weights_bound: float

    @property
    def passed(self) -> bool:
        """Whether both differences are within their bounds."""
        return self.update <= self.update_bound and self.weights <= self.weights_bound


class Case(NamedTuple):
    """Where both start: a network in float32, the batches, and the seed of what is drawn for each."""

    preset: Preset
    net: Net
    batches: list[tuple[np.ndarray, np.ndarray]]
    moment: Moment
    seed: int

    def draws(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, step])


class Course(NamedTuple):
    """What somebody made of a case: all gradients of the first batch, and the network after the last."""

    updates: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]


class Reference(NamedTuple):
    """The twin's course, how clear of kinks it kept, how errors grew in the first batch and at worst, how far weights went."""

    course: Course
    clearance: float
    first: float
    worst: float
    way: float


def verify(presets: Sequence[Preset], backends: Sequence[str]) -> list[Row]:
    """A row for each preset, backend (by name), dtype of it and data of DATA, with a progress bar on a terminal.

    Raises UserError for a rule that has no twin, BackendError for a backend that cannot compute here.

    >>> from ffnp.presets import PRESETS
    >>> rows = verify([PRESETS["bp-small"]], ["numpy"])
    >>> len(rows), all(row.passed for row in rows)
    (4, True)
    """
    with tqdm(presets, leave=False, unit="preset", disable=None) as bar:
        return [row for preset in bar for row in checked(preset, backends)]


def table(rows: Sequence[Row]) -> str:
    """The rows as text, one line each below a heading; the last line sums up."""
    heading = ("preset", "rule", "backend", "dtype", "data", "update", "bound", f"{STEPS} steps", "bound", "verdict")
    lines: list[tuple[str, ...]] = [heading]
    for r in rows:
        numbers = (r.update, r.update_bound, r.weights, r.weights_bound)
        lines.append((*r[:5], *(f"{number:.1e}" for number in numbers), "ok" if r.passed else "FAIL"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    failed = sum(not r.passed for r in rows)
    verdict = f"{failed} FAILED" if failed else "all within their bounds"
    return "\n".join([*text, "", f"{len(rows)} checks of {len({r.preset for r in rows})} presets against torch: {verdict}"])


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON data; what is not finite is null."""
    return [{name: None if value == float("inf") else value for name, value in r._asdict().items()} | {"passed": r.passed}
            for r in rows]


def checked(preset: Preset, backends: Sequence[str]) -> list[Row]:
    """The rows of one preset, the worst kind of epoch in each."""
    rows, columns = [], [(name, dtype) for name in backends for dtype in BACKENDS[name].dtypes]
    with threads(1, *backends):
        for data in DATA:
            cases = [settled(preset, data, moment) for moment in moments(preset)]
            for backend, dtype in columns:
                numbers = [compared(case, twin, load_backend(backend), dtype) for case, twin in cases]
                worst = max(numbers, key=lambda n: max(n[0] / n[1], n[2] / n[3]))
                rows.append(Row(preset.name, rule_name(preset), backend, dtype, data, *worst))
    return rows


def compared(case: Case, twin: Reference, k: Kernels, dtype: str) -> tuple[float, float, float, float]:
    """Difference and bound of the update, difference and bound of the weights."""
    ours, eps = our_course(case, k, dtype), float(np.finfo(dtype).eps)
    update, longest = (1e-10 if dtype == "float64" else rounding(case) * grown for grown in (twin.first, twin.worst))
    return (difference(ours.updates, twin.course.updates), update,
            difference(ours.weights, twin.course.weights), longest * twin.way + STEPS * eps)


def difference(ours: dict[str, np.ndarray], twin: dict[str, np.ndarray]) -> float:
    """The largest |ours - twin| / |twin|; infinite where it is not a number or only one of them has something to say."""
    if ours.keys() != twin.keys():
        return float("inf")
    return max(relative(ours[name], twin[name]) for name in twin)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    off, size = float(np.linalg.norm(a - b)), float(np.linalg.norm(b))
    return 0.0 if off == 0 else off / size if size and np.isfinite(off) else float("inf")


# ----- the cases -----


def moments(preset: Preset) -> list[Moment]:
    """An epoch of every kind: each stage; before, between and while mirroring."""
    sizes = sizes_of(preset, 9, 3)
    net = preset.rule.init(np.random.default_rng(0), sizes, preset.init, preset.bias, "float32")
    alone, every = (getattr(preset.rule, name, 0) for name in ("pre_mirror", "mirror_every"))
    epochs = {1, alone + 1} | ({every * (alone // every + 1)} if every else set())
    return [Moment(stage, epoch) for stage in range(preset.rule.stages(net)) for epoch in sorted(epochs)]


def rule_name(preset: Preset) -> str:
    """The name in RULES of the preset's rule, or of the nearest class it is made from."""
    names = {kind: name for name, kind in RULES.items()}
    return next(names[kind] for kind in type(preset.rule).__mro__ if kind in names)


def sizes_of(preset: Preset, inputs: int, classes: int) -> list[int]:
    return [inputs, *(16 - l for l in range(len(preset.hidden))), classes]


def settled(preset: Preset, data: str, moment: Moment) -> tuple[Case, Reference]:
    """The first case whose twin keeps clear of every kink, and of differences that are nothing but rounding."""
    for seed in range(100):
        case = drawn(preset, data, moment, seed)
        twin = twin_course(case)
        if twin.clearance >= rounding(case, products=1) and np.isfinite(twin.worst):
            return case, twin
    raise RuntimeError(f"no batches keep {preset.name} off the kinks")


def drawn(preset: Preset, data: str, moment: Moment, seed: int) -> Case:
    rng = np.random.default_rng([seed, 2**16])
    x, y, shape = images(data, rng)
    if hasattr(preset.rule, "shape"):
        preset = replace(preset, rule=replace(preset.rule, shape=shape))  # type: ignore[type-var]
    sizes = sizes_of(preset, x.shape[1], int(y.max()) + 1)
    net = preset.rule.init(rng, sizes, preset.init, preset.bias, "float32")
    net = each_array(net, lambda name, a: a if a.any() else (0.1 * rng.standard_normal(a.shape)).astype(a.dtype))
    x = standardised(x, preset, "float32")
    return Case(preset, net, [(x[i : i + ROWS], y[i : i + ROWS]) for i in range(0, len(x), ROWS)], moment, seed)


def images(data: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Images for all batches, their labels, and the shape of one."""
    if data == "digits":
        digits = load("digits")
        rows = rng.permutation(len(digits.x_train))[: STEPS * ROWS]
        return digits.x_train[rows], digits.y_train[rows], digits.shape
    return rng.standard_normal((STEPS * ROWS, 24)), rng.permutation(STEPS * ROWS) % 4, (6, 4)


def rounding(case: Case, products: int | None = None) -> float:
    """2 eps sqrt(K) for one product in float32; by default for those of an update."""
    longest = max(ROWS, *(max(W.shape) for W, _ in case.net.layers), sum(W.shape[1] for W, _ in case.net.layers))
    return 2 * float(np.finfo(np.float32).eps) * longest**0.5 * (products or 2 * len(case.net.layers) + 1)


# ----- the two courses -----


def our_course(case: Case, k: Kernels, dtype: str) -> Course:
    net = each_array(case.net, lambda name, a: k.put(a.astype(dtype)))
    rule, optimisers, updates = case.preset.rule, case.preset.optimisers, dict[str, np.ndarray]()
    state = optimisers.init(k, net)
    for step, (x, y) in enumerate(case.batches):
        signals = rule.signals(k, net, k.put(x.astype(dtype)), k.put(y), case.draws(step), case.moment)
        for n, s in enumerate(signals):
            updates |= flat(gradients(k, net, s), f"{n}") if step == 0 else {}
            net, _ = optimisers.apply(k, net, s, state, 1.0)
    return Course(updates, flat(each_array(net, lambda name, a: k.get(a))))


def gradients(k: Kernels, net: Net, s: Signals) -> Gradients:
    """The gradients of the signals, on the host."""
    def of(layer: Dense, pairs: list[Pair]) -> Dense:
        return Dense(*(None if a is None else k.get(a) for a in k.gradient(layer, pairs, s.rows)))

    head = of(net.head, s.head) if net.head and s.head else None
    return Gradients({l: of(net.layers[l], pairs) for l, pairs in s.layers.items()}, head,
                     {l: of(net.feedback[l], pairs) for l, pairs in s.feedback.items()},
                     each_array(s.replaced, lambda path, a: k.get(a)))


def twin_course(case: Case) -> Reference:
    net = each_array(case.net, lambda name, a: torch.tensor(a, dtype=torch.float64))
    moving, watches = movers(case.preset.optimisers, net), [Watch() for _ in case.batches]
    updates, way = dict[str, np.ndarray](), dict[str, float]()
    for step, (x, y) in enumerate(case.batches):
        before, batch = flat(net), (torch.tensor(x, dtype=torch.float64), torch.tensor(y))
        twin = twin_of(case.preset.rule)(case.preset.rule, net, *batch, case.draws(step), case.moment, watches[step])
        for n, answer in enumerate(twin):
            updates |= flat(answer, f"{n}") if step == 0 else {}
            apply(net, answer, moving)
        way = {name: way.get(name, 0.0) + float(np.linalg.norm(a - before[name])) for name, a in flat(net).items()}
    weights = flat(net)
    return Reference(Course(updates, weights), min(w.clearance for w in watches), watches[0].amplification,
                     max(w.amplification for w in watches),
                     max(way[name] / float(np.linalg.norm(a)) for name, a in weights.items()))


def flat(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """All arrays of a nesting of tuples and dicts, by their path, copied to float64."""
    found = dict[str, np.ndarray]()
    each_array(tree, lambda path, a: found.update({path: np.asarray(a, np.float64).copy()}), name)
    return found
