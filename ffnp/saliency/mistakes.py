"""The mistakes that a net is most sure of, and what spoke for the class it told."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..plots import PANEL
from .pictures import bounded, draw_image, draw_scaled, drawable, greatest, lines

ACROSS = 4  # mistakes in a line of the figure


def surest_mistakes(scores: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    """Rows of scores (n, C) whose highest is not at y (n,), at most so many: those first where it leads y's by most."""
    told = scores.argmax(axis=1)
    wrong = np.flatnonzero(told != y)
    lead = scores[wrong, told[wrong]] - scores[wrong, y[wrong]]
    return wrong[np.argsort(-lead, kind="stable")[:most]]


def mistakes_figure(images: np.ndarray, maps: np.ndarray, labels: Sequence[str], title: str) -> Figure:
    """Images (n, height, width[, channels]) by their labels, below each its map (n, height, width)."""
    images = drawable(images)
    n, height, width = images.shape[:3]
    down = lines(n, ACROSS)
    figure = Figure(figsize=(PANEL, 0.4 + down * (2.1 * bounded(height / width) + 0.55)), layout="constrained")
    panels = figure.subplots(2 * down, ACROSS, squeeze=False)
    for beyond in panels.ravel():
        beyond.set_axis_off()
    shown = panels.reshape(down, 2, ACROSS).swapaxes(1, 2).reshape(-1, 2)  # (down x ACROSS, image and map)
    for (above, below), image, one, label in zip(shown[:n], images, maps, labels, strict=True):
        above.set_axis_on()
        below.set_axis_on()
        draw_image(above, image, "")
        above.set_title(label, fontsize=8)
        draw_scaled(below, one, greatest(one))
    figure.suptitle(title, fontsize=11)
    return figure
