"""Several presets, several seeds, one table: the main job of the package."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .data import Dataset
from .errors import UserError
from .presets import preset
from .run import Run, replacing
from .training import train


class Comparison(NamedTuple):
    """Of each preset, by name, the histories of all seeds and the run of the first."""

    histories: dict[str, list[dict[str, Any]]]
    runs: dict[str, Run]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row of the table for each preset."""
        return [row(name, histories) for name, histories in self.histories.items()]


def compare(names: Sequence[str], data: Dataset, seeds: int, out: Path, *, resume: bool = False, **options: Any) -> Comparison:
    """Trains each preset with seeds 0 .. seeds - 1; `options` go to `train`.

    Writes `compare.json` (the rows and all histories), `compare.png` and a folder for each run below `out`. With
    `resume`, runs found there go on, and finished ones are only read. Raises UserError as `train` does.
    """
    if seeds < 1 or not names or len(set(names)) < len(names):
        raise UserError(f"compare needs different presets and at least 1 seed, not {', '.join(names)} and {seeds}")
    for name in names:  # all names before the first training
        preset(name)
    found = Comparison({name: [] for name in names}, {})
    for name in names:
        for seed in range(seeds):
            words = f"{name} seed {seed}"
            shown = words if sys.stderr.isatty() else None
            run = train(name, data, seed=seed, out=out / f"{name}-seed{seed}", resume=resume, overwrite=not resume,
                        progress=shown, **options)
            found.histories[name].append(run.history)
            found.runs.setdefault(name, run)
            print(f"{words}: test error {run.history['test_error']:.2%}", file=sys.stderr)
    write(found, data.name, out)
    return found


def row(name: str, histories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The seeds of one preset in numbers. The deviation is that of a sample, None for a single seed."""
    accuracies = [1 - h["test_error"] for h in histories]
    return {
        "preset": name, "rule": histories[0]["settings"]["rule"]["name"], "read_out": histories[0]["read_out"],
        "seeds": len(histories), "accuracy": float(np.mean(accuracies)),
        "deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "seconds_per_epoch": float(np.median([e["seconds"] for h in histories for e in h["epochs"]])),
        "parameters": histories[0]["parameters"],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, one line each below a heading."""
    shown = [cells(r) for r in rows]
    lines = [tuple(shown[0]), *(tuple(line.values()) for line in shown)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row in words: heading -> text."""
    spread = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"
    return {"preset": row["preset"], "rule": row["rule"], "read-out": row["read_out"],
            "test accuracy": f"{100 * row['accuracy']:.2f}{spread} %", "s / epoch": f"{row['seconds_per_epoch']:.3g}",
            "parameters": f"{row['parameters']:,}"}


def write(found: Comparison, data: str, out: Path) -> None:
    """`compare.json` and `compare.png`, each whole or not at all."""
    from .plots import learning_curves

    result = {"data": data, "rows": found.rows, "runs": found.histories}
    with replacing(out / "compare.json") as part:
        part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    with replacing(out / "compare.png") as part:
        learning_curves(found.histories, f"Learning {data}").savefig(part, format="png", dpi=150)
