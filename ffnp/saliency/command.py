"""The command `ffnp saliency`: runs in, pictures, arrays and a table of faithfulness out."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend import load_backend, threads
from ..data import Dataset, load
from ..errors import UserError
from ..presets import PRESETS, preset
from ..rules import Rule
from ..rules.rule import at_least, one_of
from ..run import Run, load_run
from ..training import train
from . import pictures
from .controls import CONTROLS
from .faithfulness import faithfulness
from .gradient import integrated_gradients
from .methods import METHODS, Saliency, against_all, shown
from .occlusion import ads, windows
from .randomisation import data_randomisation, label_randomisation, parameter_randomisation
from .report import WINDOWED, Found, Sight, about, draw, save, settings_of, size, tell, write_arrays, write_rows
from .roar import SEEDS, SHARES, roar
from .rows import Row
from .scorer import Scorer, picture, right

LONG = ("smooth", "occlusion")  # methods that have a bar
SHOWN = 10  # rows of a figure, at most


class Options(NamedTuple):
    """What a user can choose. No `methods`: all. None: the data that the runs learned; a window of a sixth of each side,
    rounded up; half a window as stride; the backend that trained the run, or cpu; all cores."""

    runs: Sequence[str]
    out: Path
    methods: Sequence[str] = ()
    images: int = 200
    data: str | None = None
    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    backend: str | None = None
    read_out: str = ""
    per_class: bool = False
    metrics: bool = False
    retrain: bool = False
    threads: int | None = None
    seed: int = 0


def saliency(options: Options) -> None:
    """Writes figures and `saliency.npz`, with `metrics` or `retrain` also `faithfulness.json`, and prints what was found.

    Raises UserError for whatever a user gets wrong, before any long work where that can be known.
    """
    given = asked_for(options)
    seen = sight(load(common_data(given, options.data)), options)
    can_see(given, seen.data, options.retrain)
    methods = served({called(named): reads(named, run, options.read_out) for named, run in given.items()}, options, seen)
    make(options.out)
    scorers = {name: Scorer(run, options.read_out) for name, run in trained(given, seen.data, options).items()}
    with threads(options.threads, *{score.run.history["backend"] for score in scorers.values()}):
        nets = {name: look(name, score, methods[name], seen, options) for name, score in scorers.items()}
        for name, net in nets.items():
            tell(name, net, seen)
        draw(nets, seen, options.per_class, options.out)
        settings = settings_of(nets, seen, options.seed)
        write_arrays(nets, seen, settings, options.out / "saliency.npz")
        kinds = measured(nets, seen, options)
    if kinds:
        write_rows(kinds, nets, seen, settings, options.out)


# ----- what the user asked for -----


def asked_for(options: Options) -> dict[str, Run | None]:
    """Each RUN: what a folder keeps, or None for a preset. Raises UserError for a choice that is wrong by itself."""
    at_least(1, images=options.images)
    at_least(0, seed=options.seed)
    at_least(1, threads=1 if options.threads is None else options.threads)
    if options.backend:
        load_backend(options.backend)
    for name in options.methods:
        one_of("method", name, ["all", *METHODS])
    given = {named: kept(named, options.backend) for named in options.runs}
    if len({called(named) for named in options.runs}) < len(options.runs):
        raise UserError(f"runs need different names to be told apart, not {', '.join(options.runs)}")
    for named, run in given.items():
        rule, read_out = reads(named, run, options.read_out)
        one_of(f"the read-out of {named}", read_out, list(rule.read_outs()))
    return given


def kept(named: str, backend: str | None) -> Run | None:
    """The run in that folder; None for the name of a preset."""
    if named and ((Path(named) / "model.npz").exists() or (Path(named).exists() and named not in PRESETS)):
        return load_run(named, backend)
    if named not in PRESETS:
        raise UserError(f"{named!r} is neither a folder with a run nor a preset; see `ffnp presets`")
    return None


def called(named: str) -> str:
    """The name of a net: that of its preset, or of its folder."""
    return Path(named).resolve().name


def reads(named: str, run: Run | None, read_out: str) -> tuple[Rule, str]:
    """The rule of a net, and its read-out: the main one unless it is given."""
    rule = (run.preset if run else preset(named)).rule
    return rule, read_out or next(iter(rule.read_outs()))


def common_data(given: Mapping[str, Run | None], data: str | None) -> str:
    """The name of the data that all runs are shown: --data, or what all of them learned from; presets learn digits."""
    learned = {named: run.history["data"] if run else "digits" for named, run in given.items()}
    if data is None and len(set(learned.values())) > 1:
        told = ", ".join(f"{named} {name}" for named, name in learned.items())
        raise UserError(f"these runs learned different data, so choose one with --data: {told}")
    return data or next(iter(learned.values()))


def sight(data: Dataset, options: Options) -> Sight:
    """The first test images, and of these the first of each class. Raises UserError for a window or stride that cannot be."""
    height, width, _ = picture(data.shape)
    window = options.window or (-(-height // 6), -(-width // 6))
    stride = options.stride or (max(1, window[0] // 2), max(1, window[1] // 2))
    windows(data.shape, window, stride)
    x, y = data.x_test[: options.images], data.y_test[: options.images]
    _, few = np.unique(y, return_index=True)
    return Sight(data, x, y, few[:SHOWN], window, stride)


def make(out: Path) -> None:
    """The folder for what is found. Raises UserError for one that cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"{out} cannot be a folder for pictures ({problem.strerror})") from problem
    if not os.access(out, os.W_OK):
        raise UserError(f"{out} cannot be a folder for pictures (nothing can be written there)")


def trained(given: Mapping[str, Run | None], data: Dataset, options: Options) -> dict[str, Run]:
    """The runs by name; presets are trained now, each in a folder of its name below --out, where the next call finds it."""
    how: dict[str, Any] = {"seed": options.seed, "backend": options.backend or "cpu", "threads": options.threads}
    return {called(named): run or train(named, data, out=options.out / named, resume=True, progress=named, **how)
            for named, run in given.items()}


def can_see(given: Mapping[str, Run | None], data: Dataset, retrain: bool) -> None:
    """Raises UserError for a run that learned other classes than the data have, or images of another shape; and where it
    is to be trained anew, other data."""
    for named, run in given.items():
        if run and retrain and run.history["data"] != data.name:
            raise UserError(f"--retrain trains {named} on the {run.history['data']} that it learned, not on {data.name}")
        if run and (tuple(run.history["shape"]), run.history["sizes"][-1]) != (data.shape, len(data.classes)):
            raise UserError(f"{named} learned {run.history['sizes'][-1]} classes of images of {size(run.history['shape'])}; "
                            f"{data.name} has {len(data.classes)} of {size(data.shape)}")


def served(nets: Mapping[str, tuple[Rule, str]], options: Options, seen: Sight) -> dict[str, dict[str, Saliency]]:
    """For each net, by its rule and read-out, the methods that it can serve. Raises UserError for one named that none can."""
    names = options.methods or ["all"]
    chosen = {name: METHODS[name] for name in METHODS if name in names or "all" in names}
    for name, method in chosen.items():
        lacking = {net: method.lacks(*by) for net, by in nets.items()}
        if name in names and all(lacking.values()):
            told = "; ".join(f"{net}: {why}" for net, why in lacking.items())
            raise UserError(f"the method {name} cannot be served ({told})")
    covering = {"window": seen.window, "stride": seen.stride}
    return {net: {name: partial(method.maps, **covering) if name in WINDOWED else method.maps
                  for name, method in chosen.items() if not method.lacks(*by)} for net, by in nets.items()}


# ----- maps and measures -----


def look(name: str, score: Scorer, methods: dict[str, Saliency], seen: Sight, options: Options) -> Found:
    """All maps of one net. ADS also has p-values and IG a gap, so these two are not asked by `methods`."""
    x, y, maps, found, gap = seen.x, seen.y, dict[str, np.ndarray](), None, None
    if "ads" in methods or options.per_class or len(options.runs) > 1:
        found = ads(score, x, y, score.shape, score.net.classes, seen.window, seen.stride, score.overlaid, f"{name}: ads")
    for method, make_maps in methods.items():
        words = f"{name}: {method}"
        if method == "ads" and found:
            maps[method] = found.class_maps[y]
        elif method == "ig":
            values, gap = integrated_gradients(score, x, against_all(score, y), progress=words)
            maps[method] = shown(score, values)
        else:
            maps[method] = make_maps(score, x, y, **{"progress": words} if method in LONG else {})
    return Found(score, float(right(score(x), y).mean()), methods, maps, found, gap)


def measured(nets: Mapping[str, Found], seen: Sight, options: Options) -> dict[str, list[Row]]:
    """Kind of measure -> its rows; none of a kind that was not asked for."""
    kinds: dict[str, list[Row]] = {}
    if options.metrics:
        made = {name: {method: ready(maps) for method, maps in net.maps.items()} for name, net in nets.items()}
        found = faithfulness({name: net.score for name, net in nets.items()}, made, seen.x, seen.y, progress="faithfulness")
        for name, curves in found.curves.items():
            title = f"{name} on {seen.data.name}: the class's probability as pixels change"
            save(pictures.curves_figure(curves, CONTROLS, title, about(nets[name], seen)), options.out / f"{name}-curves.png")
        kinds["faithfulness"] = found.rows
        kinds["randomisation"] = [row for name, net in nets.items() for row in randomised(name, net, seen, options.seed)]
    if options.retrain:
        times = {name: (len(net.methods) + len(CONTROLS)) * len(SHARES) * SEEDS + 1 for name, net in nets.items()}
        print("trainings to come:", ", ".join(f"{n} of {name}" for name, n in times.items()), flush=True)
        kinds["retraining"] = [row for name, net in nets.items() for row in retrained(name, net, seen, options.seed)]
    return kinds


def ready(maps: np.ndarray) -> Saliency:
    """A method whose maps are made already."""
    return lambda score, x, y: maps


def randomised(name: str, net: Found, seen: Sight, seed: int) -> list[Row]:
    """Of one net what weights and labels drawn at random do to its maps."""
    methods, words = {**net.methods, **CONTROLS}, f"{name}: random"
    of_a_label = {method: maps for method, maps in methods.items() if method != "ads"}  # that is the map of a class
    return [*parameter_randomisation(name, net.score, methods, seen.x, seen.y, seed=seed, progress=f"{words} weights"),
            *label_randomisation(name, net.score, of_a_label, seen.x, seen.y, seed=seed, progress=f"{words} label")]


def retrained(name: str, net: Found, seen: Sight, seed: int) -> list[Row]:
    """Of one net the measures that train it anew."""
    words, methods = name if sys.stderr.isatty() else None, {**net.methods, **CONTROLS}
    return [*data_randomisation(name, net.score, methods, seen.x, seen.y, seen.data, seed=seed, progress=words),
            *roar(name, net.score, methods, seen.data, progress=words)]
