"""Figures of maps and of measures of them. Each function takes plain data and returns a matplotlib Figure with a caption.

Maps are signed: orange is above zero, for the class, purple below, white is zero, and hatched pixels have no value (NaN).
"""

import textwrap
from collections import Counter
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
SIGNS = "Orange: above zero, the pixel speaks for the class; purple: below zero, against it; white: zero."
HATCHED = "Hatched pixels have no value: a label is written over them, no window covers them, or the class has no image."
OWN_SCALE = "Each map is scaled by its own largest |value|, the number below it, so colours compare the pixels of one map only."
SHARE = "share of the number below the map"  # what a colour stands for


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
            drawn = draw_scaled(axes, one, greatest(one))
    figure.colorbar(drawn, ax=panels, label=SHARE, shrink=min(1, 3 / n), aspect=20)
    finish(figure, title, says, f"{SIGNS} {OWN_SCALE}{hatched(*maps.values())}")
    return figure


def layer_maps_figure(
    images: np.ndarray, maps: np.ndarray, labels: Sequence[str], counted: Sequence[int], title: str, says: str
) -> Figure:
    """As `maps_figure`: maps (L, n, height, width) of the goodness of each layer, and their sum over the `counted` ones."""
    columns = {f"layer {l}": one for l, one in enumerate(maps, 1)}
    total = "sum" if len(counted) == len(maps) else f"layer{'s' * (len(counted) > 1)} {' + '.join(map(str, counted))}"
    return maps_figure(images, columns | {f"{total},\nas read": maps[np.array(counted) - 1].sum(axis=0)}, labels, title, says)


def class_maps_figure(found: ADS, classes: Sequence[str], title: str, says: str) -> Figure:
    """The ADS map of all images and of each class, in percentage points of accuracy; pixels with p >= LEVEL are faded."""
    return side_by_side({"": found}, classes, title, says, across=6)


def side_by_side(nets: Mapping[str, ADS], classes: Sequence[str], title: str, says: str, across: int = 11) -> Figure:
    """The same of several nets, a block below the other, `across` panels in a line; the maps of a class share a scale."""
    (height, width), across = next(iter(nets.values())).map.shape, min(across, 1 + len(classes))
    of_net = lines(1 + len(classes), across) * (CELL * bounded(height / width) + 0.35) + 0.3
    figure = sheet(across * CELL + 1.2, len(nets) * of_net)
    maps = 100 * np.array([[found.map, *found.class_maps] for found in nets.values()])  # (nets, 1 + classes, height, width)
    most = [greatest(of_class) for of_class in maps.swapaxes(0, 1)]
    blocks = figure.subfigures(len(nets), 1, squeeze=False)[:, 0]
    for block, (name, found), of_net_maps in zip(blocks, nets.items(), maps, strict=True):
        if name:
            block.suptitle(f"{name}: {found.accuracy:.1%} of the images right", fontsize=9, x=0.01, ha="left")
        faded = np.where(np.array([found.p_values, *found.class_p_values]) < LEVEL, 1.0, ALPHA)
        class_panels(block, ["all", *classes], of_net_maps, most, faded, across)
    one_scale = " and is one for all nets" if len(nets) > 1 else ""
    finish(figure, title, says, f"A value is how many percentage points of accuracy the net loses, on all images or on those "
           f"of one class, when a window over the pixel is set to zero. {SIGNS} The scale of each map ends at the number below "
           f"it{one_scale}. Pale pixels may be chance (p >= {LEVEL}, McNemar's exact test, Bonferroni over the windows on the "
           f"pixel).{hatched(maps)}")
    return figure


def class_panels(
    block: SubFigure, names: Sequence[str], maps: np.ndarray, most: Sequence[float], alpha: np.ndarray, across: int
) -> None:
    """The maps of one net by name, each from -most to most of its own."""
    panels = in_lines(block, len(maps), across)
    for axes, name, *drawing in zip(panels, names, maps, most, alpha, strict=True):
        drawn = draw_scaled(axes, *drawing)
        axes.set_title(name, fontsize=9)
    block.colorbar(drawn, ax=panels, label="share of the\nnumber below", aspect=20)


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
        axes.set_ylabel("probability of the true class")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside right upper", fontsize=8)
    finish(figure, title, says, "Pixels are changed in the order of the map, highest first: deletion makes them black (zero) "
           "or blurred (blur), insertion brings them back from there, flipping swaps bright and dark. Curves are means over "
           "the images of the softmax of the scores. A good map makes deletion and flipping fall early and insertion rise "
           "early. Grey: controls, which never look at the net.")
    return figure


def rows_figure(rows: Sequence[Row], controls: Collection[str], title: str, says: str) -> Figure:
    """A panel for each metric: the value of each method and its interval, a colour and a mark for each net."""
    measured = Counter(net for net, _ in {(r.net, r.metric) for r in rows})
    metrics = {r.metric: r.better for r in sorted(rows, key=lambda r: -measured[r.net])}  # in the order of the deepest net
    nets, methods = (list(dict.fromkeys(getattr(r, name) for r in rows)) for name in ("net", "method"))
    methods.sort(key=lambda name: name in controls)
    across = min(4, len(metrics))
    figure = sheet(2.3 * across + 1.2, lines(len(metrics), across) * (0.8 + 0.2 * len(methods) * len(nets) ** 0.5))
    panels = in_lines(figure, len(metrics), across, sharey=True)
    for axes, (metric, better) in zip(panels, metrics.items(), strict=True):
        axes.set_title(f"{metric}\n({better} is better)", fontsize=9)
        for r in (r for r in rows if r.metric == metric):
            draw_row(axes, r, methods.index(r.method), nets.index(r.net), len(nets))
        for i, net in enumerate(nets):
            rivals = [r.value for r in rows if (r.net, r.metric) == (net, metric) and r.method in controls]
            if rivals:
                best = (min if better == "lower" else max)(rivals)
                axes.axvline(best, color=mark(i)["color"], linestyle=":", linewidth=1)
        for at in (at for at, name in enumerate(methods) if name in controls):
            axes.axhspan(at - 0.5, at + 0.5, color="0.92", zorder=0)
        axes.set_yticks(range(len(methods)), methods)
        axes.tick_params(labelsize=8)
        plain(axes)
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    if len(nets) > 1:
        marks = [Line2D([], [], **mark(i)) for i in range(len(nets))]
        figure.legend(marks, nets, frameon=False, loc="outside right upper", fontsize=8)
    grey = ("On grey: controls, which never look at the net, the best of them a dotted line; a method that does no better "
            "explains nothing.") if any(name in controls for name in methods) else ""
    finish(figure, title, says, f"Marks are means, bars their 95 % bootstrap intervals. {grey}")
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
        drawn = draw_scaled(row[1], one, greatest(one))
        for axes, layer in zip(row[2:], differences, strict=True):
            most = greatest(layer[i])
            axes.plot(np.sort(np.abs(layer[i]))[::-1] / (most or 1), color=line(0)["color"], linewidth=1.5)
            axes.set(ylim=(0, 1.05), yticks=[0, 1])
            axes.set_xlabel(below(most), fontsize=7, labelpad=2)
            axes.tick_params(labelsize=7)
            plain(axes)
    titles = ["image", "sign F e", *(f"|h - g|, layer {l}" for l in range(1, 1 + len(differences)))]
    for axes, name in zip(panels[0], titles, strict=True):
        axes.set_title(name, fontsize=9)
    figure.colorbar(drawn, ax=panels, label=SHARE, shrink=min(1, 3 / n), aspect=20)
    finish(figure, title, says, f"sign F e: the output error e as PEPITA projects it onto the image for its second pass; where "
           f"the net is sure of the true class, there is hardly any. {SIGNS} {OWN_SCALE} |h - g|: what that changes in the "
           "activity of each hidden unit, the most changed unit first, as a share of the number below.")
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


def draw_map(axes: Axes, values: np.ndarray, alpha: np.ndarray | float) -> AxesImage:
    """Values (height, width) in COLOURS from -1 to 1, on white where they are faded, on a hatch where they are NaN."""
    axes.patch.set(facecolor="0.85", edgecolor="0.55", hatch="//////")
    axes.set(xticks=[], yticks=[])
    axes.imshow(np.where(np.isnan(values), np.nan, 0), cmap="Greys", vmin=0, vmax=1)
    return axes.imshow(values, cmap=COLOURS, vmin=-1, vmax=1, alpha=alpha)


def draw_scaled(axes: Axes, values: np.ndarray, most: float, alpha: np.ndarray | float = 1.0) -> AxesImage:
    """A map on a scale to `most`, which stands below it."""
    axes.set_xlabel(below(most), fontsize=7, labelpad=2)
    return draw_map(axes, values / (most or 1), alpha)


def below(most: float) -> str:
    """The end of a scale."""
    return f"{most:,.0f}" if most >= 100 else f"{most:.2g}"


def greatest(values: np.ndarray) -> float:
    """The largest |value|; 0 where all are NaN."""
    return float(np.abs(values[~np.isnan(values)]).max(initial=0))


def hatched(*maps: np.ndarray) -> str:
    """What the hatch means, if there is any."""
    return f" {HATCHED}" if any(np.isnan(one).any() for one in maps) else ""


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
