"""One line of a table of faithfulness: a measure of one method on one net, with a bootstrap interval."""

from collections.abc import Collection, Iterable, Sequence
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


def beats(one: Row, rivals: Iterable[Row]) -> bool:
    """Whether the whole interval is better than all of theirs, and there are some: a careful test, as images are the same.

    >>> beats(Row("net", "ig", "deletion", 0.2, 0.1, 0.3, "lower"), [Row("net", "random", "deletion", 0.5, 0.4, 0.6, "lower")])
    True
    """
    apart = [one.high < rival.low if one.better == "lower" else one.low > rival.high for rival in rivals]
    return bool(apart) and all(apart)


def table(rows: Sequence[Row], controls: Collection[str] = ()) -> str:
    """The means as text: for each net a table with a line for each method and a column for each metric.

    Those that beat all `controls` of their net have a star, which the last line explains.
    """
    tables = [of_net(net, [r for r in rows if r.net == net], controls) for net in dict.fromkeys(r.net for r in rows)]
    there = [name for name in dict.fromkeys(r.method for r in rows) if name in controls]
    return "\n\n".join(tables) + (f"\n\n* better than {', '.join(there)}: 95 % intervals apart" if there else "")


def of_net(net: str, rows: Sequence[Row], controls: Collection[str]) -> str:
    """Of one net; a metric's name is broken at its first blank."""
    metrics = {r.metric: r.better for r in rows}
    heads = zip(*((*metric.partition(" ")[::2], better) for metric, better in metrics.items()), strict=True)
    lines = [[corner, *head] for corner, head in zip((net, "", ""), heads, strict=True) if any(head)]
    rivals = {metric: [r for r in rows if r.metric == metric and r.method in controls] for metric in metrics}
    cells = {(r.method, r.metric): f"{r.value:.3f}{'*' * beats(r, rivals[r.metric])}" for r in rows}
    for method in dict.fromkeys(r.method for r in rows):
        lines.append([method, *(cells.get((method, metric), "") for metric in metrics)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
