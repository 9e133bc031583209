"""Several presets, several seeds, one table: the main job of the package."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import Dataset
from .errors import UserError
from .presets import preset
from .run import replacing
from .training import train


def compare(
    names: Sequence[str], data: Dataset, seeds: int, out: Path, *, resume: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Trains each preset with seeds 0 .. seeds - 1 and returns a row of the table for each; `options` go to `train`.

    Writes `compare.json` (the rows and all histories), `compare.png` and a folder for each run below `out`. With
    `resume`, runs found there go on, and finished ones are only read. Raises UserError as `train` does.
    """
    if seeds < 1 or not names or len(set(names)) < len(names):
        raise UserError(f"compare needs different presets and at least 1 seed, not {', '.join(names)} and {seeds}")
    for name in names:  # all names before the first training
        preset(name)
    histories: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name in names:
        for seed in range(seeds):
            words = f"{name} seed {seed}"
            shown = words if sys.stderr.isatty() else None
            run = train(name, data, seed=seed, out=out / f"{name}-seed{seed}", resume=resume, overwrite=not resume,
                        progress=shown, **options)
            histories[name].append(run.history)
            print(f"{words}: test error {run.history['test_error']:.2%}", file=sys.stderr)
    rows = [row(name, runs) for name, runs in histories.items()]
    write(rows, histories, data.name, out)
    return rows


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
    lines = [("preset", "rule", "read-out", "test accuracy", "s / epoch", "parameters")]
    for r in rows:
        spread = "" if r["deviation"] is None else f" ± {100 * r['deviation']:.2f}"
        lines.append((r["preset"], r["rule"], r["read_out"], f"{100 * r['accuracy']:.2f}{spread} %",
                      f"{r['seconds_per_epoch']:.3g}", f"{r['parameters']:,}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def write(rows: list[dict[str, Any]], histories: dict[str, list[dict[str, Any]]], data: str, out: Path) -> None:
    """`compare.json` and `compare.png`, each whole or not at all."""
    from .plots import learning_curves

    result = {"data": data, "rows": rows, "runs": histories}
    with replacing(out / "compare.json") as part:
        part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    with replacing(out / "compare.png") as part:
        learning_curves(histories, f"Learning {data}").savefig(part, format="png", dpi=150)
