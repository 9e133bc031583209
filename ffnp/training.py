"""Training: one visible loop. Batch by batch the rule answers with signals, and the optimiser turns them into a step."""

import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from .backend import BACKENDS, load_backend
from .backend import threads as on_threads
from .data import Dataset
from .diagnostics import diagnostics
from .errors import DataError, UserError
from .kernels.contract import Array, Kernels
from .net import Net
from .optim import SCHEDULES
from .preset import Preset, adapt
from .presets import preset as preset_named
from .rules.rule import Moment, error
from .run import Run, begin, load_run, save, standardised
from .version import __version__

VALIDATION = 6  # every sixth training image validates, whatever the order of the data: of MNIST's 60,000, 10,000
PACKAGES = ("numpy", "numba", "scipy")  # whose versions a history names, with those of its backend


class DivergedError(UserError):
    """A weight stopped being finite; the message names layer and step."""


class Split(NamedTuple):
    """What is learned from, and what is only looked at, where the backend computes: images (n, I) and labels (n,)."""

    x: Array
    y: Array
    x_val: Array
    y_val: Array


def train(
    preset: Preset | str, data: Dataset, *, epochs: int | None = None, seed: int = 0, backend: str = "cpu",
    threads: int | None = None, batch: int | None = None, layers: Sequence[int] | None = None, dtype: str = "float32",
    out: str | Path | None = None, resume: bool = False, overwrite: bool = False, progress: str | None = None,
    diagnose: bool = False,
) -> Run:
    """Trains a preset on a data set, and tests it once, at the end.

    `epochs`, `batch` and `layers` (inputs, hidden widths ...) take the place of the preset's. The same seed, backend and
    threads give the same bits. With `out`, a folder, the run is saved after every epoch; `resume` goes on from there as
    if it had never stopped. `progress`: the words before a progress bar on stderr; None for silence.
    With `diagnose` the record of every epoch gets `diagnostics` (see diagnostics.py); nothing else changes.
    Raises UserError for a value that cannot work, DataError for data that cannot be learned from, and DivergedError for
    weights that are not finite.

    >>> from ffnp.data import load
    >>> data = load("digits")
    >>> run = train("pepita-small", data, epochs=1, backend="numpy")
    >>> run.history["sizes"], run.history["test_error"] < 0.5, run.predict(data.x_test[:3]).shape
    ([64, 400, 10], True, (3,))
    """
    preset = preset_named(preset) if isinstance(preset, str) else preset
    preset = shaped(adapt(preset, data.x_train.shape[1], epochs, batch, layers), data)
    load_backend(backend, dtype)
    with on_threads(threads, backend), np.errstate(over="ignore", invalid="ignore"):  # the loop looks for what is not finite
        history = header(preset, data, seed, backend, threads, dtype)
        run = begin(preset, history) if out is None else resumed(preset, history, Path(out), resume, overwrite)
        split = prepared(run, data)
        with progress_bar(run, progress) as bar:
            while len(run.history["epochs"]) < total_epochs(run):
                run = one_epoch(run, split, bar, diagnose)
                if out is not None:
                    save(run, Path(out))
                tell(bar, run, progress)
        if run.history["test_error"] is None:
            run.history.update(tested(run, data))
            if out is not None:
                save(run, Path(out))
    return run


def one_epoch(run: Run, split: Split, bar: tqdm, diagnose: bool = False) -> Run:
    """The run after one more pass over the training images, with its record in the history."""
    preset, epoch, start = run.preset, len(run.history["epochs"]) + 1, time.perf_counter()
    stage, within = divmod(epoch - 1, preset.epochs)
    factor = SCHEDULES[preset.schedule](within + 1, preset.epochs)
    net, metrics = learn(run, split, epoch, Moment(stage, within + 1), factor, bar)
    named = dict.fromkeys(name for m in metrics for name in m)
    record: dict[str, Any] = {
        "epoch": epoch, "stage": stage, "seconds": time.perf_counter() - start, "rate_factor": factor,
        "train": {name: np.mean([m[name] for m in metrics if name in m], axis=0).tolist() for name in named},
    }
    seen = preset.rule.diagnose(load_backend(run.history["backend"]), net, split.x_val, split.y_val)
    errors = seen.pop("error")
    for name, numbers in (record["train"] | seen).items():
        if not np.isfinite(numbers).all():
            raise DivergedError(f"{name.replace('_', ' ')} {numbers} is not finite in epoch {epoch}")
    record |= {"val_error": errors[run.history["read_out"]], "val_read_outs": errors, **seen}
    if diagnose:
        k = load_backend(run.history["backend"])
        record["diagnostics"] = diagnostics(k, preset.rule, net, split.x_val, split.y_val)
    return run._replace(net=net, history={**run.history, "epochs": [*run.history["epochs"], record]})


def learn(run: Run, split: Split, epoch: int, moment: Moment, factor: float, bar: tqdm) -> tuple[Net, list[dict[str, Any]]]:
    """The visible loop: one epoch of batches, weights and optimiser state in place. Returns the batches' metrics too.

    All randomness comes from (seed, epoch), so a run can stop between any two epochs and go on as if it had not.
    """
    net, state, preset, history = run
    k, rng, metrics, steps = load_backend(history["backend"]), np.random.default_rng([history["seed"], epoch]), [], []
    for step, rows in enumerate(batches(len(split.x), preset, rng), 1):
        x, y = k.take(split.x, rows), k.take(split.y, rows)
        if preset.shift:
            moves = rng.integers(-preset.shift, preset.shift + 1, size=(len(rows), 2))
            x = k.shift(x, moves, tuple(history["shape"]))
        for signals in preset.rule.signals(k, net, x, y, rng, moment):
            net, stepped = preset.optimisers.apply(k, net, signals, state, factor)
            metrics.append(signals.metrics)
            steps.append((step, stepped))
        bar.update()
    for step, stepped in steps:  # only now: to ask for a number on the way would make a device wait
        for layer, (squares, rate) in stepped.items():
            if not np.isfinite(number(k, squares)):
                raise DivergedError(f"the weights of {layer} are not finite after step {step} of epoch {epoch}; a lower "
                                    f"learning rate than {rate} may help")
    return net, [{name: number(k, value) for name, value in m.items()} for m in metrics]


def number(k: Kernels, value: Any) -> Any:
    """A number of a kernel, or a list of them, as plain floats."""
    return [number(k, one) for one in value] if isinstance(value, list) else k.get(value).item()


def shaped(preset: Preset, data: Dataset) -> Preset:
    """The preset, its rule told the shape of the images if it asks. Raises UserError for shifts of what is no image."""
    if preset.shift and len(data.shape) not in (2, 3):
        raise UserError(f"{preset.name} shifts images by {preset.shift}, but {data.name} has rows of shape {data.shape}")
    choices = vars(preset.rule)
    return replace(preset, rule=type(preset.rule)(**choices | {"shape": data.shape})) if "shape" in choices else preset


def batches(n: int, preset: Preset, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The row numbers of each batch of an epoch over n images."""
    order, size = rng.permutation(n) if preset.shuffle else np.arange(n), preset.batch or n
    stop = n - n % size if preset.drop_last else n
    return (order[i : min(i + size, stop)] for i in range(0, stop, size))


def total_epochs(run: Run) -> int:
    return run.preset.epochs * run.preset.rule.stages(run.net)


def prepared(run: Run, data: Dataset) -> Split:
    """Training and validation images as the preset wants them. Raises DataError unless all of them are finite."""
    put, dtype = load_backend(run.history["backend"]).put, run.history["dtype"]
    for name in ("x_train", "x_test"):
        bad = ~np.isfinite(getattr(data, name)).all(axis=1)
        if bad.any():
            raise DataError(f"{data.name}: row {int(bad.argmax())} of {name} has a value that is not finite")
    x, y = standardised(data.x_train, run.preset, dtype), data.y_train
    val = np.arange(len(x)) % VALIDATION == VALIDATION - 1
    return Split(put(x[~val]), put(y[~val]), put(x[val]), put(y[val]))


def tested(run: Run, data: Dataset) -> dict[str, Any]:
    """The errors on the test images, by every read-out of the rule."""
    errors = {name: error(run.scores(data.x_test, name), data.y_test) for name in run.preset.rule.read_outs()}
    return {"test_error": errors[run.history["read_out"]], "read_outs": errors}


def header(preset: Preset, data: Dataset, seed: int, backend: str, threads: int | None, dtype: str) -> dict[str, Any]:
    """The history of a run before its first epoch. Raises UserError for data or a seed that cannot work."""
    n_val = len(data.x_train) // VALIDATION
    n_train = len(data.x_train) - n_val
    if min(n_train, n_val, len(data.x_test)) < 1 or len(data.classes) < 2:
        raise DataError(f"{data.name}: {len(data.x_train)} training and {len(data.x_test)} test images of "
                        f"{len(data.classes)} classes are too few to learn from")
    if preset.drop_last and preset.batch and preset.batch > n_train:
        raise UserError(f"a batch of {preset.batch} needs as many training images; {data.name} has {n_train}")
    if seed < 0:
        raise UserError(f"the seed must be at least 0, not {seed}")
    return {
        "preset": preset.name, "data": data.name, "seed": seed, "backend": backend, "threads": threads, "dtype": dtype,
        "sizes": [data.x_train.shape[1], *preset.hidden, len(data.classes)], "shape": list(data.shape),
        "n_train": n_train, "n_val": n_val, "n_test": len(data.x_test), "settings": preset.settings(),
        "read_out": next(iter(preset.rule.read_outs())), "epochs": [], "test_error": None, "read_outs": {},
        "versions": {"python": platform.python_version(), "ffnp": __version__} | {
            name: version(name) for name in (*PACKAGES, *BACKENDS[backend].packages)},
    }


def resumed(preset: Preset, history: dict[str, Any], out: Path, resume: bool, overwrite: bool) -> Run:
    """The run in `out` where it is to go on, else a fresh one. Raises UserError rather than lose or mix up a run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"{out} cannot be a folder for runs ({problem.strerror})") from problem
    if overwrite or not (out / "model.npz").exists():
        return begin(preset, history)
    if not resume:
        raise UserError(f"{out} already holds a run; go on with --resume, or choose another --out")
    run = load_run(out)
    before, now = ({**h, **h["settings"]} for h in (run.history, history))
    for name in now:
        if name not in ("settings", "test_error", "read_outs", "versions") and before.get(name) != now[name]:
            raise UserError(f"the run in {out} has {name} {before.get(name)}, not {now[name]}: it cannot go on so")
    return run


def progress_bar(run: Run, words: str | None) -> tqdm:
    """A bar over the steps of all epochs, drawn on a terminal only."""
    steps = len(list(batches(run.history["n_train"], run.preset, np.random.default_rng(0))))
    done = len(run.history["epochs"]) * steps
    return tqdm(total=total_epochs(run) * steps, initial=done, desc=words, unit="step", leave=False,
                disable=True if words is None else None)


def tell(bar: tqdm, run: Run, words: str | None) -> None:
    """The last epoch in a few words: on the bar, or on a line of its own where no bar is drawn."""
    last = run.history["epochs"][-1]
    text = f"validation error {last['val_error']:.2%}"
    bar.set_postfix_str(text)
    if words is not None and bar.disable:
        print(f"{words}: epoch {last['epoch']}/{total_epochs(run)}, {text}, {last['seconds']:.1f} s", file=sys.stderr)
