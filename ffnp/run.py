"""A trained network with its history, and the folder that keeps it: `model.npz` (arrays and JSON, never a pickle) and
`history.json`."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .backend import BackendError, load_backend, threads
from .errors import UserError
from .kernels.contract import Array, Kernels
from .net import Net, parameters
from .optim import State
from .preset import Preset, from_settings
from .rules.rule import chunks


class Run(NamedTuple):
    """A network, the optimiser's state, the preset that made it and its history (the content of `history.json`)."""

    net: Net
    state: State
    preset: Preset
    history: dict[str, Any]

    def scores(self, x: np.ndarray, read_out: str | None = None) -> np.ndarray:
        """Scores (n, C) of images x (n, I) in [0, 1] by a read-out of the rule, its main one by default; highest wins.

        It works on as many threads as the training did, on some rows at a time, so that the rest takes no memory.
        Raises UserError where x or `read_out` does not fit the run.
        """
        ways = self.preset.rule.read_outs()
        name = read_out or next(iter(ways))
        if name not in ways:
            raise UserError(f"there is no read-out {name!r} here; choose one of {', '.join(ways)}")
        self.fits(x)
        backend = self.history["backend"]
        k = load_backend(backend)
        with threads(self.history["threads"], backend):
            return np.concatenate([ways[name](k, self.net, k.put(self.prepared(rows))) for rows in chunks(x)])

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """Images x (n, I) as the net takes them, (n, I). Raises UserError for rows of another length."""
        self.fits(x)
        return standardised(x, self.preset, self.history["dtype"])

    def fits(self, x: np.ndarray) -> None:
        """Raises UserError for rows of another length than the run takes."""
        inputs = self.history["sizes"][0]
        if x.ndim != 2 or x.shape[1] != inputs:
            raise UserError(f"this run takes rows of {inputs} inputs, not an array of shape {x.shape}")

    def predict(self, x: np.ndarray, read_out: str | None = None) -> np.ndarray:
        """The class (n,) of each image of x; see `scores`."""
        return self.scores(x, read_out).argmax(axis=1)


def standardised(x: np.ndarray, preset: Preset, dtype: str) -> np.ndarray:
    """x as the preset wants it, C-contiguous."""
    mean, std = preset.standardise or (0.0, 1.0)
    x = np.asarray(x, dtype)
    return np.ascontiguousarray(x if preset.standardise is None else (x - x.dtype.type(mean)) / x.dtype.type(std))


def begin(preset: Preset, history: dict[str, Any]) -> Run:
    """An untrained run: the network drawn from the history's seed, put where its backend computes."""
    k, rng = load_backend(history["backend"]), np.random.default_rng([history["seed"], 0])
    try:
        net = preset.rule.init(rng, history["sizes"], preset.init, preset.bias, history["dtype"])
    except UserError:
        raise
    except (MemoryError, ValueError) as problem:  # what NumPy says of sizes that no memory holds
        raise UserError(f"a network of sizes {history['sizes']} does not fit in memory") from problem
    net = each_array(net, lambda name, a: k.put(a))
    learned = parameters(net, feedback=preset.optimisers.feedback is not None)
    return Run(net, preset.optimisers.init(k, net), preset, {**history, "parameters": learned})


def save(run: Run, folder: Path) -> None:
    """Writes the run, each file whole or not at all: under another name first, then renamed."""
    k = load_backend(run.history["backend"])
    arrays: dict[str, Any] = {}

    def keep(path: str, a: Array) -> None:
        arrays[path] = a if isinstance(a, np.ndarray) else k.get(a)
    for name in ("net", "state"):
        each_array(getattr(run, name), keep, name)
    text = json.dumps(run.history, indent=1, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "history.json") as part:
        part.write_text(text + "\n")
    with replacing(folder / "model.npz") as part, open(part, "wb") as file:  # last, as a run goes on from here
        np.savez(file, json=np.array(text), **arrays)


def load_run(folder: str | Path, backend: str | None = None) -> Run:
    """The run in a folder that `train` wrote; a `backend` takes the place of the one it was trained by.

    Raises UserError where there is none, or a damaged one, or one of a backend that cannot compute here.
    """
    path = Path(folder) / "model.npz"
    if not path.exists():
        raise UserError(f"there is no run in {folder}: it has no model.npz")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            arrays = dict(saved)
        history = json.loads(str(arrays["json"]))
        history["backend"] = backend or history["backend"]
        k = load_backend(history["backend"], history["dtype"])
        run = begin(from_settings(history["settings"]), history)
        net = each_array(run.net, lambda path, a: like(a, arrays[path], k), "net")
        return run._replace(net=net, state=each_array(run.state, lambda path, a: like(a, arrays[path], k), "state"))
    except BackendError:
        raise
    except Exception as problem:  # there is no end to what a damaged file can lead to
        reason = re.split(r"\.\s|\n", str(problem))[0]  # what follows is NumPy's advice on trusting the file
        raise UserError(f"{path} is damaged or not a run: {reason}") from problem


def like(a: Array, saved: np.ndarray, k: Kernels) -> Array:
    """The saved array in the place of a fresh one; step counts stay on the host. Raises ValueError for another kind."""
    if (saved.shape, saved.dtype) != (a.shape, a.dtype):
        raise ValueError(f"an array {saved.dtype} {saved.shape} stands where {a.dtype} {a.shape} belongs")
    return k.put(saved) if saved.dtype.kind == "f" else saved


def each_array(tree: Any, f: Callable[[str, Array], Any], name: str = "") -> Any:
    """The same nesting of tuples and dicts, with f(dotted name, array) in place of every array; numbers and None stay."""
    if isinstance(tree, dict):
        return {field: each_array(part, f, f"{name}.{field}".lstrip(".")) for field, part in tree.items()}
    if not isinstance(tree, tuple):
        return tree if tree is None or isinstance(tree, int) else f(name, tree)
    fields = getattr(tree, "_fields", range(len(tree)))
    parts = [each_array(part, f, f"{name}.{field}".lstrip(".")) for field, part in zip(fields, tree, strict=True)]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, in the same folder; it takes the place of `path` when the block ends well, else it is removed."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
