"""Figures. Each function takes plain data and returns a matplotlib Figure; nothing is shown or written here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Okabe & Ito 2008: eight colours that colour-blind readers can tell apart; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")


def learning_curves(runs: Mapping[str, Sequence[dict[str, Any]]], title: str) -> Figure:
    """Validation error against epochs and against seconds of training, for name -> one history per seed.

    The line is the mean of the seeds, the band reaches from the best to the worst of them.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    for i, (name, histories) in enumerate(runs.items()):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)], "linewidth": 1.8}
        errors = 100 * np.array([[e["val_error"] for e in h["epochs"]] for h in histories])  # (seeds, epochs)
        errors = np.maximum(errors, 50 / histories[0]["n_val"])  # no error at all is drawn as half an image's
        seconds = np.cumsum([[e["seconds"] for e in h["epochs"]] for h in histories], axis=1).mean(axis=0)
        for axes, x in ((by_epoch, np.arange(1, errors.shape[1] + 1)), (by_time, seconds)):
            axes.plot(x, errors.mean(axis=0), label=name, **style)
            axes.fill_between(x, errors.min(axis=0), errors.max(axis=0), color=style["color"], alpha=0.2, linewidth=0)
    by_epoch.set(xlabel="epoch", ylabel="validation error (%)", yscale="log")
    by_time.set(xlabel="training time (s)")
    for axes in (by_epoch, by_time):
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    by_epoch.legend(frameon=False)
    seeds = len(next(iter(runs.values())))
    figure.suptitle(f"{title}: mean of {seeds} seed{'s' * (seeds > 1)}, band from best to worst", fontsize=11)
    return figure
