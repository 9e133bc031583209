"""The roofline (Williams, Waterman & Patterson 2009): how fast the textbook's way can be at most, and how fast everyone was."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..plots import COLOURS, one_two_five, plain
from .contenders import CONTENDERS
from .race import Result

GREY = "0.4"


def roofline(results: Sequence[Result]) -> Figure:
    """Speed against intensity, a column of marks for each case, below the highest roofs that were measured."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    peak, bandwidth = max(r.peak for r in results), max(r.bandwidth for r in results)
    intensity = {r.case.name: r.case.work / r.case.touched for r in results}
    speeds = [r.speed(name) for r in results for name in r.seconds]
    span = [*intensity.values(), peak / bandwidth]
    axes.set(xscale="log", yscale="log", xlim=(min(span) / 3, 2 * max(span)), ylim=(min(speeds) / 1.5, 2 * max(peak, *speeds)),
             xlabel="arithmetic intensity of the textbook's algorithm (flop per byte touched once)",
             ylabel="effective speed: the textbook's work / time (GFLOP/s)")
    roofs(axes, peak, bandwidth)
    columns(axes, intensity)
    for name, colour, marker in zip(CONTENDERS, (*COLOURS, "black"), "osD^vPX", strict=True):
        marks = [(intensity[r.case.name], r.speed(name)) for r in results if name in r.seconds]
        if marks:
            axes.plot(*zip(*marks, strict=True), marker, label=name, color=colour, markersize=8, markeredgecolor="white",
                      markeredgewidth=0.4, zorder=3)
    one_two_five(axes)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    plain(axes)
    figure.legend(frameon=False, loc="outside right center")
    threads = ", ".join(map(str, sorted({r.threads for r in results})))
    figure.suptitle(f"ffnp bench on {results[0].data}, threads: {threads}", fontsize=11)
    return figure


def roofs(axes: Axes, peak: float, bandwidth: float) -> None:
    """Both roofs with their names, and what it means to be above them."""
    (left, right), top = axes.get_xlim(), axes.get_ylim()[1]
    x = np.array([left, peak / bandwidth, right])
    roof = np.minimum(peak, bandwidth * x)
    axes.plot(x, roof, color=GREY, linewidth=1.8)
    axes.fill_between(x, roof, top, color=GREY, alpha=0.08, linewidth=0)
    axes.annotate(f"product (sgemm):\n{peak:.3g} GFLOP/s", (x[1], peak), (-2, 4), textcoords="offset points",
                  ha="right", color=GREY, fontsize=9)
    axes.annotate(f"memory (copy): {bandwidth:.3g} GB/s", (left, roof[0]), (14, 4), textcoords="offset points",
                  color=GREY, fontsize=9)
    axes.text(0.01, 0.97, "above the roof: less work than the textbook's, for the same result", transform=axes.transAxes,
              va="top", color=GREY, fontsize=9)


def columns(axes: Axes, cases: dict[str, float]) -> None:
    """A line at the intensity of each case, its name at the top; names that would meet move to the right."""
    left, right = axes.get_xlim()
    place, gap = left, (right / left) ** 0.035
    for name, x in sorted(cases.items(), key=lambda item: item[1]):
        place = max(x, place * gap)
        axes.axvline(x, color=GREY, linewidth=0.5, linestyle=":")
        axes.annotate(name, (x, 1), (place, 1.03), ("data", "axes fraction"), ("data", "axes fraction"), rotation=40,
                      rotation_mode="anchor", fontsize=9, arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5})
