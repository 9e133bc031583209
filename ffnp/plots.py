"""Figures. Each function takes plain data and returns a matplotlib Figure; nothing is shown or written here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator

from .diagnostics import at_first_rate, slowness

# Okabe & Ito 2008: eight colours that colour-blind readers can tell apart; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")


def learning_curves(runs: Mapping[str, Sequence[dict[str, Any]]], title: str) -> Figure:
    """Validation error against epochs and against seconds of training, for name -> one history per seed.

    The line is the mean of the seeds, the band reaches from the best to the worst of them; the time of an epoch is their
    median, as the first training of a process also loads its kernels.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    for i, (name, histories) in enumerate(runs.items()):
        style = line(i)
        errors = 100 * np.array([[e["val_error"] for e in h["epochs"]] for h in histories])  # (seeds, epochs)
        errors = np.maximum(errors, 50 / histories[0]["n_val"])  # no error at all is drawn as half an image's
        seconds = np.median([[e["seconds"] for e in h["epochs"]] for h in histories], axis=0).cumsum()
        for axes, x in ((by_epoch, np.arange(1, errors.shape[1] + 1)), (by_time, seconds)):
            axes.plot(x, errors.mean(axis=0), label=name, marker="." if len(x) == 1 else None, **style)
            axes.fill_between(x, errors.min(axis=0), errors.max(axis=0), color=style["color"], alpha=0.2, linewidth=0)
    by_epoch.set(ylabel="validation error (%)", yscale="log")
    whole_epochs(by_epoch)
    by_time.set(xlabel="training time (s)")
    for axes in (by_epoch, by_time):
        one_two_five(axes)
        plain(axes)
    figure.legend(*by_epoch.get_legend_handles_labels(), frameon=False, loc="outside right upper")
    seeds = len(next(iter(runs.values())))
    figure.suptitle(f"{title}: {f'mean of {seeds} seeds, band from best to worst' if seeds > 1 else 'one seed'}", fontsize=11)
    return figure


def line(i: int) -> dict[str, Any]:
    """How the i-th curve of a panel looks."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)], "linewidth": 1.8}


def one_two_five(axes: Axes) -> None:
    """Plain numbers on a logarithmic y axis."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def whole_epochs(axes: Axes) -> None:
    """An x axis of epochs, with no tick between two of them."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def plain(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


# ----- diagnostics: histories of trainings with `diagnose` -----

# name in the record -> label of the axis, a line to compare with, and what a curve is called
PANELS: dict[str, tuple[str, float, str]] = {
    "angle": ("angle of update to backprop's (°)", 90, "layer"),
    "norm_ratio": ("length of update / backprop's", 1, "layer"),
    "feedback_angle": ("angle of feedback to weights (°)", 90, "matrix"),
    "feedback_distance": ("|feedback - weights| / |weights|", 0, "matrix"),
}


def diagnostic_figures(history: dict[str, Any]) -> dict[str, Figure]:
    """name -> every figure that a history has the numbers for; none without `diagnose`."""
    kept = set[str]().union(*(e.get("diagnostics", ()) for e in history["epochs"]))
    title = f"{history['preset']} on {history['data']}"
    figures = {"diagnostics": alignment_curves(history, title)} if kept else {}
    if "goodness" in kept:
        figures["goodness"] = goodness_histograms(history, title)
    if kept and len(at_first_rate(history)) > 1:
        figures["slowness"] = slowness_fit({history["preset"]: at_first_rate(history)}, title)
    return figures


def alignment_curves(history: dict[str, Any], title: str) -> Figure:
    """Angles and lengths of each layer's update and feedback against epochs; a panel for each of PANELS that is recorded."""
    recorded = {name: values for name in PANELS if (values := series(history, name)).size}
    figure = Figure(figsize=(4 * len(recorded), 3.6), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(recorded), squeeze=False)[0], recorded.items(), strict=True):
        label, level, curve = PANELS[name]
        for i, numbers in enumerate(values.T):
            axes.plot(range(1, len(values) + 1), numbers, marker=".", label=f"{curve} {i + 1}", **line(i))
        axes.axhline(level, color="0.5", linewidth=0.8)
        axes.set_ylabel(label)
        if name.endswith("angle"):
            axes.set_ylim(-4, max(100, 1.05 * np.nan_to_num(values).max()))
            axes.yaxis.set_major_locator(MultipleLocator(30))
        if name == "norm_ratio":
            known = values[values > 0]
            axes.set(yscale="log", ylim=(min(0.5, 0.8 * known.min(initial=1)), max(2, 1.25 * known.max(initial=1))))
            one_two_five(axes)
        whole_epochs(axes)
        axes.legend(frameon=False)
        plain(axes)
    figure.suptitle(title, fontsize=11)
    return figure


def goodness_histograms(history: dict[str, Any], title: str) -> Figure:
    """Of each layer the goodness of positive examples (above) and negative ones against epochs: the darker, the more.

    The bins of the record are drawn equally high.
    """
    kinds = {kind: series(history, "goodness", kind) for kind in ("positive", "negative")}  # (epochs, layers, bins)
    edges = next(e["diagnostics"]["goodness"]["edges"] for e in history["epochs"] if "diagnostics" in e)
    epochs, layers, bins = kinds["positive"].shape
    shares = {kind: 100 * counts / counts.sum(axis=2, keepdims=True) for kind, counts in kinds.items()}
    most = max(np.nanmax(share) for share in shares.values())
    corners, marked = np.arange(epochs + 1) + 0.5, np.linspace(0, bins, 11).astype(int)
    figure = Figure(figsize=(1.5 + 3 * layers, 5.5), layout="constrained")
    panels = figure.subplots(2, layers, sharex=True, sharey=True, squeeze=False)
    for row, (kind, share) in zip(panels, shares.items(), strict=True):
        row[0].set_ylabel(f"goodness / theta, {kind}")
        for l, axes in enumerate(row):
            image = axes.pcolormesh(corners, range(bins + 1), share[:, l].T, cmap="Blues", vmin=0, vmax=most)
            axes.axhline(np.searchsorted(edges, 1), color=COLOURS[1], linewidth=0.8, linestyle="--")
            axes.set_yticks(marked, [f"{edges[i]:.2g}" for i in marked])
    for l, (top, bottom) in enumerate(panels.T, 1):
        top.set_title(f"layer {l}", fontsize=10)
        whole_epochs(bottom)
    figure.colorbar(image, ax=panels, label="examples in the bin (%)")
    figure.suptitle(title, fontsize=11)
    return figure


def slowness_fit(runs: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Accuracies at one learning rate, for name -> accuracy of epochs 1, 2, ..., as points, with their fitted curves."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for i, (name, accuracies) in enumerate(runs.items()):
        s, highest = slowness(accuracies)
        E = np.linspace(0, len(accuracies), 400)[1:]
        axes.plot(E, 100 * highest * E / (s + E), label=f"{name}: slowness {s:.3g} epochs", **line(i))
        axes.plot(range(1, len(accuracies) + 1), 100 * np.asarray(accuracies), "o", color=line(i)["color"], markersize=4)
    axes.set(ylabel="validation accuracy (%)", ylim=(0, 101))
    whole_epochs(axes)
    axes.legend(frameon=False)
    plain(axes)
    figure.suptitle(title, fontsize=11)
    return figure


def series(history: dict[str, Any], *path: str) -> np.ndarray:
    """What the record of every epoch has below these names of its diagnostics, (epochs, ...); NaN where it has nothing."""
    found = []
    for epoch in history["epochs"]:
        value = epoch.get("diagnostics")
        for name in path:
            value = value and value.get(name)
        found.append(value)
    shape = next((np.shape(value) for value in found if value), (0,))
    return np.array([value or np.full(shape, np.nan) for value in found], float)
