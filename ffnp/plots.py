"""Figures. Each function takes plain data and returns a matplotlib Figure; nothing is shown or written here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, MultipleLocator

from .diagnostics import slowness

# Okabe & Ito 2008: eight colours that colour-blind readers can tell apart; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
PANEL = 4.5  # inches across of a panel, which can still be read on a telephone
NAMED = 20  # classes, whose names and numbers can still be read in a panel


def learning_curves(
    runs: Mapping[str, Sequence[dict[str, Any]]], title: str, against: Sequence[str] = ("epoch", "training time (s)")
) -> Figure:
    """Validation error for name -> one history per seed, a panel for each of `against`: "epoch", "training time (s)".

    The line is the mean of the seeds, the band reaches from the best to the worst of them; the time of an epoch is their
    median, as the first training of a process also loads its kernels.
    """
    figure = Figure(figsize=(PANEL * len(against), 3.4 + 0.1 * len(runs)), layout="constrained")
    panels = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
    for i, (name, histories) in enumerate(runs.items()):
        style = line(i)
        errors = 100 * np.array([[e["val_error"] for e in h["epochs"]] for h in histories])  # (seeds, epochs)
        errors = np.maximum(errors, 50 / histories[0]["n_val"])  # no error at all is drawn as half an image's
        seconds = np.median([[e["seconds"] for e in h["epochs"]] for h in histories], axis=0).cumsum()
        for axes, of in zip(panels, against, strict=True):
            x = np.arange(1, errors.shape[1] + 1) if of == "epoch" else seconds
            axes.plot(x, errors.mean(axis=0), label=name, marker="." if len(x) == 1 else None, **style)
            axes.fill_between(x, errors.min(axis=0), errors.max(axis=0), color=style["color"], alpha=0.2, linewidth=0)
    panels[0].set(ylabel="validation error (%)", yscale="log")
    for axes, of in zip(panels, against, strict=True):
        axes.set_xlabel(of)
        if of == "epoch":
            whole_epochs(axes)
        one_two_five(axes)
        plain(axes)
    if len(runs) > 1:
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, frameon=False, loc="outside lower center", ncols=2 * len(against))
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
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def plain(axes: Axes) -> None:
    """A faint grid behind what is drawn, and no frame."""
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


# ----- what a rule costs, what a net has learned and what it confuses -----


def cost_bars(costs: Mapping[str, Mapping[str, float]], label: str, title: str) -> Figure:
    """Bars from zero, each with its number: for name -> {what is measured: its value in the unit of `label`}."""
    kinds = list(next(iter(costs.values())))
    figure = Figure(figsize=(PANEL, 1.3 + 0.3 * len(costs) * len(kinds)), layout="constrained")
    axes, height = figure.subplots(), 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
        values = [cost[kind] for cost in costs.values()]
        bars = axes.barh(np.arange(len(costs)) + (i - (len(kinds) - 1) / 2) * height, values, 0.9 * height,
                         color=COLOURS[i], label=kind)
        axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=9)
    axes.set_yticks(range(len(costs)), list(costs))
    axes.set(xlabel=label, ylim=(len(costs) - 0.5, -0.5))
    axes.margins(x=0.15)
    if len(kinds) > 1:
        figure.legend(frameon=False, loc="outside lower center", ncols=len(kinds))
    plain(axes)
    axes.grid(visible=False, axis="y")
    figure.suptitle(title, fontsize=11)
    return figure


def weight_mosaic(maps: np.ndarray, title: str) -> Figure:
    """The weights from the image to each unit, maps (n, height, width), side by side on one scale; NaN is left blank."""
    n, height, width = maps.shape
    across = min(n, max(1, round((n * height / width) ** 0.5)))
    down = -(-n // across)
    cells = np.full((down * across, height + 1, width + 1), np.nan)  # a line between any two
    cells[:n, :height, :width] = maps
    sheet = cells.reshape(down, across, height + 1, width + 1).swapaxes(1, 2).reshape(down * (height + 1), -1)[:-1, :-1]
    most = np.abs(maps[~np.isnan(maps)]).max(initial=0) or 1.0
    figure = Figure(figsize=(PANEL, PANEL), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(sheet, cmap="PuOr_r", vmin=-most, vmax=most, interpolation="none",
                        aspect="auto" if height == 1 else "equal")  # rows that are no images would be thin lines
    axes.set(xticks=[], yticks=[], xlabel=f"{n} units, each of {height} × {width} pixels")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="weight", location="bottom", aspect=40)
    figure.suptitle(title, fontsize=11)
    return figure


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Images of each true class (row) told as each class (column), counts (C, C); the colour is the share of the row.

    Up to NAMED classes have their names and numbers, more of them are numbered only.
    """
    C = len(counts)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(PANEL, PANEL + 0.3), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="none")
    if C <= NAMED:
        axes.set_xticks(range(C), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
        axes.set_yticks(range(C), classes)
        for row, column in np.argwhere(counts):
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=80 / max(C, 10),
                      color="white" if shares[row, column] > 40 else "black")
    numbered = "" if C <= NAMED else ", by number"
    axes.set(xlabel=f"class told{numbered}", ylabel=f"true class{numbered}")
    figure.colorbar(image, ax=axes, label="images of the true class (%)", location="bottom", aspect=40,
                    ticks=[0, 1, 5, 20, 50, 100])
    figure.suptitle(title, fontsize=11)
    return figure


# ----- diagnostics: histories of trainings with `diagnose` -----

# name in the record -> label of the axis, a line to compare with, and what a curve is called
PANELS: dict[str, tuple[str, float, str]] = {
    "angle": ("angle of update to backprop's (°)", 90, "layer"),
    "norm_ratio": ("length of update / backprop's", 1, "layer"),
    "feedback_angle": ("angle of feedback to weights (°)", 90, "matrix"),
    "feedback_distance": ("|feedback - weights| / |weights|", 0, "matrix"),
}


def alignment_curves(history: dict[str, Any], title: str, names: Collection[str] = tuple(PANELS)) -> Figure:
    """Angles and lengths of each layer's update and feedback against epochs: a panel for each of the `names`, of PANELS, that
    is recorded."""
    recorded = {name: values for name in names if (values := series(history, name)).size}
    figure = Figure(figsize=(PANEL * len(recorded), 3.4), layout="constrained")
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
    """A row for each layer, the goodness of positive examples (left) and negative ones (right) against epochs: the darker, the
    more. The bins of the record are drawn equally high, from the lowest to the highest that has an example.
    """
    kinds = {kind: series(history, "goodness", kind) for kind in ("positive", "negative")}  # (epochs, layers, bins)
    edges = next(e["diagnostics"]["goodness"]["edges"] for e in history["epochs"] if "diagnostics" in e)
    epochs, layers, bins = kinds["positive"].shape
    used, theta = np.flatnonzero(np.nansum([*kinds.values()], axis=(0, 1, 2))), int(np.searchsorted(edges, 1))
    low, high = min(used[0], theta - 1), max(used[-1], theta) + 1
    shares = {kind: 100 * counts / counts.sum(axis=2, keepdims=True) for kind, counts in kinds.items()}
    most = max(np.nanmax(share) for share in shares.values())
    marked = [i for i in range(low, high + 1) if (i - theta) % max(1, (high - low) // 6) == 0]
    figure = Figure(figsize=(PANEL, 1 + 1.9 * layers), layout="constrained")
    panels = figure.subplots(layers, 2, sharex=True, sharey=True, squeeze=False)
    for column, (kind, share) in zip(panels.T, shares.items(), strict=True):
        column[0].set_title(kind, fontsize=10)
        whole_epochs(column[-1])
        for l, axes in enumerate(column):
            image = axes.imshow(share[:, l].T, cmap="Blues", vmin=0, vmax=most, origin="lower", aspect="auto",
                                interpolation="none", extent=(0.5, epochs + 0.5, 0, bins))
            axes.axhline(theta, color=COLOURS[1], linewidth=0.8, linestyle="--")
            axes.set_yticks(marked, [f"{edges[i]:.2g}" for i in marked])
            axes.set_ylim(low, high)
    for l, axes in enumerate(panels[:, 0], 1):
        axes.set_ylabel(f"layer {l}: goodness / θ")
    figure.colorbar(image, ax=panels, label="examples in the bin (%)", location="bottom", aspect=40)
    figure.suptitle(title, fontsize=11)
    return figure


def slowness_fit(runs: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Accuracies at one learning rate, for name -> accuracy of epochs 1, 2, ..., as points, with their fitted curves."""
    figure = Figure(figsize=(PANEL, 3.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, accuracies) in enumerate(runs.items()):
        s, highest = slowness(accuracies)
        E = np.linspace(0, len(accuracies), 400)[1:]
        axes.plot(E, 100 * highest * E / (s + E), label=f"{name}: slowness {s:.3g} epochs", **line(i))
        axes.plot(range(1, len(accuracies) + 1), 100 * np.asarray(accuracies), "o", color=line(i)["color"], markersize=4)
    axes.set(ylabel="validation accuracy (%)", ylim=(0, 101))
    whole_epochs(axes)
    axes.legend(frameon=False, loc="lower right")  # where no curve comes
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
