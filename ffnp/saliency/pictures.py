"""Figures of maps and of measures of them. Each function takes plain data and returns a matplotlib Figure with a caption.

Maps are signed: orange speaks for the class, purple against it, white is zero, and hatched pixels have no value (NaN).
"""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from ..plots import line, plain
from .occlusion import ADS
from .rows import Row
from .scorer import picture

COLOURS = "PuOr_r"  # ColorBrewer's purple, white, orange: colour-blind readers can tell its ends apart
ALPHA = 0.25  # of what may be chance
LEVEL = 0.05  # p-values below it are no chance
MARKS = "os^Dv"  # of nets in a plot of rows
CELL = 1.15  # inches across of a panel
SIGNS = "Orange pixels speak for the class, purple ones against it, white ones do not matter"
HATCHED = "Hatched pixels have no value: a label is written over them, or no window covers them."
OWN_SCALE = "Each map is scaled by its own largest |value|, the number below it, so colours compare the pixels of one map only."


def maps_figure(images: np.ndarray, maps: Mapping[str, np.ndarray], labels: Sequence[str], title: str, says: str) -> Figure:
    """A row for each of the images (n, height, width[, channels]), and beside it a column for each set of maps (n, height,
    width), by name. `labels` name the rows, `says` begins the caption."""
    images = drawable(images)
    n, height, width = images.shape[:3]
    figure, panels = grid(n, 1 + len(maps), height / width)
    for row, image, label in zip(panels, images, labels, strict=True):
        draw_image(row[0], image, label)
    panels[0, 0].set_title("image", fontsize=9)
    for column, (name, values) in zip(panels.T[1:], maps.items(), strict=True):
        column[0].set_title(name, fontsize=9)
        for axes, one in zip(column, values, strict=True):
            drawn = draw_scaled(axes, one)
    figure.colorbar(drawn, ax=panels, label="value / largest |value| of the map", shrink=min(1, 3 / n), aspect=20)
    finish(figure, title, says, f"{SIGNS}. {OWN_SCALE} {HATCHED}")
    return figure


def layer_maps_figure(
    images: np.ndarray, maps: np.ndarray, labels: Sequence[str], counted: Sequence[int], title: str, says: str
) -> Figure:
    """As `maps_figure`: maps (L, n, height, width) of the goodness of each layer, and their sum over the `counted` ones."""
    columns = {f"layer {l}": one for l, one in enumerate(maps, 1)}
    total = "sum" if len(counted) == len(maps) else f"layer{'s' * (len(counted) > 1)} {' + '.join(map(str, counted))}"
    return maps_figure(images, columns | {f"{total}, as read": maps[np.array(counted) - 1].sum(axis=0)}, labels, title, says)


def class_maps_figure(found: ADS, classes: Sequence[str], title: str, says: str) -> Figure:
    """The ADS map of all images and of each class, in percentage points of accuracy; pixels with p >= LEVEL are faded."""
    return side_by_side({"": found}, classes, title, says, across=6)


def side_by_side(nets: Mapping[str, ADS], classes: Sequence[str], title: str, says: str, across: int = 11) -> Figure:
    """The same of several nets on one scale, a block below the other, `across` panels in a line; names stand above."""
    (height, width), across = next(iter(nets.values())).map.shape, min(across, 1 + len(classes))
    of_net = lines(1 + len(classes), across) * (CELL * bounded(height / width) + 0.25) + 0.3
    figure = sheet(across * CELL + 1.2, len(nets) * of_net)
    most = 100 * max(greatest(np.array([found.map, *found.class_maps])) for found in nets.values())
    blocks = figure.subfigures(len(nets), 1, squeeze=False)[:, 0]
    for block, (name, found) in zip(blocks, nets.items(), strict=True):
        if name:
            block.suptitle(f"{name}: {found.accuracy:.1%} of the images right", fontsize=9, x=0.01, ha="left")
        class_panels(block, found, classes, across, most)
    finish(figure, title, says, f"{SIGNS}: how many percentage points of accuracy the net loses, on all images or on those of "
           f"one class, when a window over the pixel is set to zero. All panels share one scale. Pale pixels may be chance "
           f"(p >= {LEVEL}, McNemar's exact test, Bonferroni over the windows on the pixel). {HATCHED}")
    return figure


def class_panels(block: SubFigure, found: ADS, classes: Sequence[str], across: int, most: float) -> None:
    """The maps of one net, from -most to most percentage points."""
    maps, p_values = [found.map, *found.class_maps], [found.p_values, *found.class_p_values]
    panels = in_lines(block, len(maps), across)
    for axes, name, one, p in zip(panels, ["all", *classes], maps, p_values, strict=True):
        drawn = draw_map(axes, 100 * one, most, np.where(p < LEVEL, 1.0, ALPHA))
        axes.set_title(name, fontsize=9)
    block.colorbar(drawn, ax=panels, label="accuracy lost\n(percentage points)", aspect=20)


def curves_figure(curves: Mapping[str, Mapping[str, np.ndarray]], controls: Collection[str], title: str, says: str) -> Figure:
    """A panel for each measure, in it for each method its curves (n, steps + 1), averaged over the images."""
    across = min(3, len(curves))
    figure = sheet(3 * across + 1.6, 2.8 * lines(len(curves), across))
    panels = in_lines(figure, len(curves), across, sharey=True)
    for axes, (measure, of_methods) in zip(panels, curves.items(), strict=True):
        for name, style in styles(of_methods, controls).items():
            values = of_methods[name].mean(axis=0)
            axes.plot(np.linspace(0, 100, len(values)), values, label=name, **style)
        axes.set_title(measure, fontsize=10)
        axes.set(xlabel="pixels changed (%)", ylim=(-0.02, 1.02))
        plain(axes)
    for axes in panels[::across]:
        axes.set_ylabel("probability of the class")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right upper", fontsize=8)
    finish(figure, title, says, "Pixels are changed in the order of the map, highest first; the curves are the mean over the "
           "images. A good map makes deletion and flipping fall early and insertion rise early. Grey: controls, which never "
           "look at the net.")
    return figure


def rows_figure(rows: Sequence[Row], controls: Collection[str], title: str, says: str) -> Figure:
    """A panel for each metric: the value of each method and its interval, a colour and a mark for each net."""
    metrics = {r.metric: r.better for r in rows}
    nets, methods = (list(dict.fromkeys(getattr(r, name) for r in rows)) for name in ("net", "method"))
    methods.sort(key=lambda name: name in controls)
    across = min(4, len(metrics))
    figure = sheet(2.3 * across + 1.2, lines(len(metrics), across) * (0.8 + 0.2 * len(methods) * len(nets) ** 0.5))
    panels = in_lines(figure, len(metrics), across, sharey=True)
    for axes, (metric, better) in zip(panels, metrics.items(), strict=True):
        axes.set_title(f"{metric}\n({better} is better)", fontsize=9)
        for r in (r for r in rows if r.metric == metric):
            draw_row(axes, r, methods.index(r.method), nets.index(r.net), len(nets))
        for at in (at for at, name in enumerate(methods) if name in controls):
            axes.axhspan(at - 0.5, at + 0.5, color="0.92", zorder=0)
        axes.set_yticks(range(len(methods)), methods, fontsize=8)
        plain(axes)
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    if len(nets) > 1:
        marks = [Line2D([], [], **mark(i)) for i in range(len(nets))]
        figure.legend(marks, nets, frameon=False, loc="outside right upper", fontsize=8)
    finish(figure, title, says, "Marks are means, bars their 95 % bootstrap intervals. On grey: controls, which never look at "
           "the net; a method that does no better than they do explains nothing.")
    return figure


def draw_row(axes: Axes, row: Row, at: int, i: int, nets: int) -> None:
    """Mark and interval on the line of a method, those of the nets below one another."""
    y = at + 0.5 * ((i + 0.5) / nets - 0.5)
    axes.plot([row.low, row.high], [y, y], color=mark(i)["color"], linewidth=1.5)
    axes.plot([row.value], [y], **mark(i))


def mark(i: int) -> dict[str, Any]:
    """How the values of the i-th net look."""
    return {"color": line(i)["color"], "marker": MARKS[i % len(MARKS)], "markersize": 4, "linestyle": ""}


def pepita_figure(
    images: np.ndarray, maps: np.ndarray, differences: Sequence[np.ndarray], labels: Sequence[str], title: str, says: str
) -> Figure:
    """A row for each image: the image, what PEPITA adds to it for its second pass as a map (n, height, width), and what that
    changes in each hidden layer, differences (n, O), units in descending order of |h - g|."""
    images = drawable(images)
    n, height, width = images.shape[:3]
    figure, panels = grid(n, 2 + len(differences), height / width, wide=1.4)
    for i, (row, image, label, one) in enumerate(zip(panels, images, labels, maps, strict=True)):
        draw_image(row[0], image, label)
        drawn = draw_scaled(row[1], one)
        for axes, layer in zip(row[2:], differences, strict=True):
            axes.plot(np.sort(np.abs(layer[i]))[::-1], color=line(0)["color"], linewidth=1.5)
            axes.set_ylim(0, 1.05 * greatest(layer[i]))
            axes.tick_params(labelsize=7)
            plain(axes)
    for l, (axes, bottom) in enumerate(zip(panels[0, 2:], panels[-1, 2:], strict=True), 1):
        axes.set_title(f"|h - g|, layer {l}", fontsize=9)
        bottom.set_xlabel("units, in order", fontsize=8)
    panels[0, 0].set_title("image", fontsize=9)
    panels[0, 1].set_title("F e", fontsize=9)
    figure.colorbar(drawn, ax=panels, label="value / largest |value| of the map", shrink=min(1, 3 / n), aspect=20)
    finish(figure, title, says, f"F e: the output error as PEPITA projects it onto the image for its second pass. {SIGNS}. "
           f"{OWN_SCALE} |h - g|: what that changes in the activity of each hidden unit, the most changed unit first; each "
           "curve has a scale of its own.")
    return figure


# ----- what the figures are made of -----


def grid(rows: int, columns: int, aspect: float, wide: float = 1.0) -> tuple[Figure, np.ndarray]:
    """A figure with that many panels of an image's aspect."""
    figure = sheet(columns * CELL * wide + 1.8, rows * (CELL * bounded(aspect) + 0.2) + 0.2)
    return figure, figure.subplots(rows, columns, squeeze=False)


def lines(count: int, across: int) -> int:
    """How many lines so many panels take."""
    return -(-count // across)


def in_lines(block: Figure | SubFigure, count: int, across: int, **options: Any) -> list[Axes]:
    """So many panels, `across` in a line."""
    panels = block.subplots(lines(count, across), across, squeeze=False, **options).ravel().tolist()
    for beyond in panels[count:]:
        beyond.set_axis_off()
    return panels[:count]


def sheet(width: float, height: float) -> Figure:
    """A figure of so many inches, wide enough for a caption; `finish` adds the height of title and caption."""
    return Figure(figsize=(max(width, 6), height), layout="constrained")


def bounded(aspect: float) -> float:
    """Height / width of a panel, within reason for an image that is a line."""
    return min(max(aspect, 0.2), 2.0)


def drawable(images: np.ndarray) -> np.ndarray:
    """Images (n, ...) as (n, height, width), or (n, height, width, 3) where they are coloured."""
    height, width, channels = picture(images.shape[1:])
    squared = images.reshape(len(images), height, width, channels)
    return squared if channels == 3 else squared.mean(axis=3)


def draw_image(axes: Axes, image: np.ndarray, label: str) -> None:
    axes.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)


def draw_map(axes: Axes, values: np.ndarray, most: float, alpha: np.ndarray | float = 1.0) -> AxesImage:
    """Values (height, width) in COLOURS from -most to most, on white where they are faded, on a hatch where they are NaN."""
    axes.patch.set(facecolor="0.85", edgecolor="0.55", hatch="//////")
    axes.set(xticks=[], yticks=[])
    axes.imshow(np.where(np.isnan(values), np.nan, 0), cmap="Greys", vmin=0, vmax=1)
    return axes.imshow(values, cmap=COLOURS, vmin=-most, vmax=most, alpha=alpha)


def draw_scaled(axes: Axes, values: np.ndarray) -> AxesImage:
    """A map by its own largest |value|, which stands below it."""
    most = greatest(values)
    shown = most if np.nan_to_num(values).any() else 0
    axes.set_xlabel(f"{shown:,.0f}" if shown >= 100 else f"{shown:.2g}", fontsize=7, labelpad=2)
    return draw_map(axes, values / most, 1)


def greatest(values: np.ndarray) -> float:
    """The largest |value|; 1 where there is none but zeros and NaN, so that a scale can be made of it."""
    return float(np.abs(values[~np.isnan(values)]).max(initial=0)) or 1.0


def styles(names: Collection[str], controls: Collection[str]) -> dict[str, dict[str, Any]]:
    """How the curve of each looks: methods in colours, controls grey and dashed, each in its own way."""
    methods = [name for name in names if name not in controls]
    grey = {name: {"color": "0.5", "linestyle": (0, (1 + 2 * i, 2)), "linewidth": 1.2}
            for i, name in enumerate(name for name in names if name in controls)}
    return {name: line(i) for i, name in enumerate(methods)} | grey


def finish(figure: Figure, title: str, *paragraphs: str) -> None:
    """Title above, caption below, broken to the width of the figure."""
    width, height = figure.get_size_inches()
    text = "\n".join(textwrap.fill(paragraph, int(15 * width), break_on_hyphens=False) for paragraph in paragraphs)
    figure.set_size_inches(width, height + 0.15 * text.count("\n") + 0.6)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, linespacing=1.3)
