"""One line of a table of faithfulness: a measure of one method on one net, with a bootstrap interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000


class Row(NamedTuple):
    """The mean of a measure and its 95 % interval; `better`: "lower" or "higher"."""

    net: str
    method: str
    metric: str
    value: float
    low: float
    high: float
    better: str


def row(net: str, method: str, metric: str, values: np.ndarray, better: str) -> Row:
    """Of one value an image (n,); images for which the measure is not defined, NaN, are left out."""
    return Row(net, method, metric, *interval(values[~np.isnan(values)]), better)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean, and the 95 % interval of it by the percentile bootstrap (Efron 1979): the means of RESAMPLES draws of as many
    values, with replacement. The same for the same values; all three are NaN for no value at all.
    """
    n = len(values)
    if n == 0:
        return np.nan, np.nan, np.nan
    values, rng = values.astype(float), np.random.default_rng(0)
    low, high = np.quantile([values[rng.integers(n, size=n)].mean() for _ in range(RESAMPLES)], [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def table(rows: Sequence[Row]) -> str:
    """The rows as text: for each net and method a line, for each metric a column."""
    metrics = list(dict.fromkeys((r.metric, r.better) for r in rows))
    cells = {(r.net, r.method, r.metric): f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows}
    lines = [["net", "method", *(f"{metric} ({better})" for metric, better in metrics)]]
    for net, method in dict.fromkeys((r.net, r.method) for r in rows):
        lines.append([net, method, *(cells.get((net, method, metric), "") for metric, _ in metrics)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
