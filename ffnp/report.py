"""The report of a comparison: one HTML page that needs nothing else, no network and no script. `ffnp train` compares one run.

Figures are drawn by `plots` and stand in the page as SVG. Their text and axes are drawn in INK, in whose place each SVG has a
colour that follows the reader's choice of light or dark.
"""

from base64 import b64encode
from importlib.resources import files
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from matplotlib import rc_context
from matplotlib.figure import Figure

from . import plots
from .backend import threads
from .compare import Comparison, cells
from .data import Dataset
from .diagnostics import ROWS, activation_memory, at_first_rate
from .preset import in_words
from .rules.contrast import Contrast
from .run import Run
from .saliency.methods import METHODS
from .saliency.mistakes import mistakes_figure, surest_mistakes
from .saliency.pictures import OWN_SCALE, SIGNS
from .saliency.scorer import Scorer, as_maps

INK = "#010203"  # a colour that nothing else has
LIGHT_AND_DARK = "<style>svg{color:#1c1c1c}@media(prefers-color-scheme:dark){svg{color:#d6d6d6}}</style>"
STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK),
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "ffnp", "image.interpolation": "none",
}
UNITS, MISTAKES, PAIRS = 36, 8, 3  # how many are shown
MAP = "ig"  # of METHODS, one that every net can serve
NOT_KEPT = "not kept: all epochs of this run were trained without a report"


class Picture(NamedTuple):
    """A figure as the page has it: its title, the address that holds it whole, and how to read it."""

    title: str
    source: str
    caption: str


Shown = Picture | str  # a sentence in the place of a figure that there is not


def report(found: Comparison, data: Dataset) -> str:
    """The page for runs on these data. Reads the test images once more, to show what was told; nothing is chosen by them."""
    memory = {name: activity(run) for name, run in found.runs.items()}
    named = next(iter(found.runs)) if len(found.runs) == 1 else f"{len(found.runs)} presets"
    with rc_context(STYLE):
        return template().render(
            title=f"{named} on {data.name}", conditions=conditions(found), versions=versions(found),
            seeds=len(next(iter(found.histories.values()))),
            rows=[cells(row) | memory_cells(memory[row["preset"]]) for row in found.rows],
            compared=[*learning(found), *costs(found, memory), slowness(found)],
            presets=[section(run, data) for run in found.runs.values()])


def template() -> Template:
    """The page without its content; a name that it is not given is an error, and text is only text."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string((files("ffnp") / "report.html").read_text(encoding="utf-8"))


# ----- words -----


def conditions(found: Comparison) -> dict[str, str]:
    """What all runs have in common."""
    history = next(iter(found.runs.values())).history
    seeds = [str(h["seed"]) for h in next(iter(found.histories.values()))]
    return {
        "data": f"{history['data']}: {history['n_train']:,} images to learn from, {history['n_val']:,} to validate, "
                f"{history['n_test']:,} to test; {history['sizes'][-1]} classes",
        "seed" if len(seeds) == 1 else "seeds": ", ".join(seeds),
        "computed by": f"{history['backend']}, {history['dtype']}, threads: {history['threads'] or 'all cores'}",
    }


def versions(found: Comparison) -> str:
    """What the runs were trained by."""
    return ", ".join(f"{name} {version}" for name, version in next(iter(found.runs.values())).history["versions"].items())


def activity(run: Run) -> dict[str, float]:
    """MB that the activity of a batch takes, see `activation_memory`, in three digits: the rest of a measured peak varies."""
    history = run.history
    batch = min(run.preset.batch or history["n_train"], history["n_train"])
    memory = activation_memory(run.preset.rule, history["sizes"], batch, history["dtype"])
    return {name: float(f"{size / 1e6:.3g}") for name, size in memory.items()}


def memory_cells(memory: dict[str, float]) -> dict[str, str]:
    """Two more cells for a row of the table: heading -> text."""
    return {f"MB {name}": f"{size:g}" for name, size in memory.items()}


def settings(run: Run) -> dict[str, str]:
    """The recipe of a run, and what came of it."""
    history = run.history
    errors = ", ".join(f"{error:.2%} by {name}" for name, error in history["read_outs"].items())
    return {"source": run.preset.source, "layers": " – ".join(map(str, history["sizes"])),
            **in_words(history["settings"]), f"test error, seed {history['seed']}": errors}


# ----- figures -----


def picture(figure: Figure, caption: str) -> Picture:
    """The figure as an SVG of the same bytes for the same content, light or dark as the reader likes."""
    svg = StringIO()
    figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    before, tag, after = svg.getvalue().replace(INK, "currentColor").partition("<defs>")
    content = b64encode(f"{before}{LIGHT_AND_DARK}{tag}{after}".encode()).decode()
    return Picture(figure.get_suptitle(), f"data:image/svg+xml;base64,{content}", caption)


def learning(found: Comparison) -> list[Shown]:
    """Errors against epochs, and against seconds."""
    says = "Error on the validation images after each epoch. "
    times = "Seconds are those of training alone, the median of the seeds, without validation and diagnostics."
    return [picture(plots.learning_curves(found.histories, title, [against]), says + more)
            for title, against, more in (("Error by epoch", "epoch", ""), ("Error by time", "training time (s)", times))]


def costs(found: Comparison, memory: dict[str, dict[str, float]]) -> list[Shown]:
    """Time and memory of each preset."""
    seconds = {row["preset"]: {"seconds": row["seconds_per_epoch"]} for row in found.rows}
    return [
        picture(plots.cost_bars(seconds, "seconds per epoch", "Time of an epoch"), "The median of all epochs of all seeds."),
        picture(plots.cost_bars(memory, "activity of one batch (MB)", "Memory"),
                "Published: what the papers' formulas count, the layers' activity. Measured: the peak of what our NumPy code "
                "allocates for one batch, the errors and, for Forward-Forward, both passes included.")]


def slowness(found: Comparison) -> Shown:
    """The curves of those presets that keep their first learning rate for two epochs."""
    runs = {name: at_first_rate(run.history) for name, run in found.runs.items()}
    known = {name: accuracies for name, accuracies in runs.items() if len(accuracies) > 1}
    missing = ", ".join(name for name in runs if name not in known)
    without = f"Without a second epoch at the first learning rate there is no slowness of {missing}."
    if not known:
        return without
    return picture(plots.slowness_fit(known, "How slowly accuracy comes"),
                   "Validation accuracies of the first seed, as points, at the first learning rate, and the fitted curve "
                   "highest · epoch / (slowness + epoch): the smaller the slowness, the sooner a net is as good as it will be. "
                   + without * bool(missing))


def section(run: Run, data: Dataset) -> dict[str, Any]:
    """Name, settings and figures of one preset."""
    scores = run.scores(data.x_test)
    return {"name": run.preset.name, "settings": settings(run),
            "figures": [*alignment(run), *goodness(run), weights(run), confusion(scores, data), mistakes(run, scores, data)]}


# name of a panel -> title and caption
ALIGNMENT = {
    "angle": ("Angle of updates to backprop's", "Between each layer's update and the gradient of the same losses that backprop "
              "finds in the same net. At 0° the rule does what backprop does; at 90°, the grey line, they are unrelated."),
    "norm_ratio": ("Length of updates", "How many times as long as backprop's the update of each layer is, before the learning "
                   "rate; the grey line is 1."),
    "feedback_angle": ("Angle of feedback to weights", "Between each matrix that brings errors down and the weights whose "
                       "place it takes. At 90°, the grey line, they have nothing in common."),
    "feedback_distance": ("Distance of feedback from weights", "The length of the difference, in lengths of the weights."),
}


def alignment(run: Run) -> list[Shown]:
    """The angles and lengths that the run has kept, each a figure."""
    return [picture(plots.alignment_curves(run.history, title, [name]), says + gaps(run))
            for name, (title, says) in ALIGNMENT.items() if plots.series(run.history, name).size
            ] or [f"Angles to backprop were {NOT_KEPT}."]


def goodness(run: Run) -> list[Shown]:
    """Where layers have one, how it spreads over positive and negative data."""
    if not isinstance(run.preset.rule, Contrast):
        return []
    if not plots.series(run.history, "goodness", "positive").size:
        return [f"Goodness was {NOT_KEPT}."]
    return [picture(plots.goodness_histograms(run.history, "Goodness of positive and negative data"),
                    f"Which goodness the validation images, at most {ROWS} of them, have after each epoch. The dashed line is "
                    "the threshold θ: a layer learns to be above it for positive and below it for negative data." + gaps(run))]


def gaps(run: Run) -> str:
    """A sentence on epochs that were trained without looking."""
    epochs = run.history["epochs"]
    blank = sum("diagnostics" not in e for e in epochs)
    return f" {blank} of {len(epochs)} epochs were trained without a report and are blank." if blank else ""


def weights(run: Run) -> Picture:
    """Of the units of the first layer those whose weights from the image have the largest norm."""
    score, inputs = Scorer(run), run.history["sizes"][0]
    W = score.k.get(run.net.layers[0].W)[:inputs]  # below stand those from an appended label
    maps = as_maps(W.T, score.shape, score.overlaid)
    strongest = np.argsort(-np.nansum(maps**2, axis=(1, 2)), kind="stable")[:UNITS]
    which = "all units" if len(strongest) == len(maps) else f"the {len(strongest)} of {len(maps)} units with the largest norm"
    blank = " Pixels that a label is written over are left blank." * bool(score.overlaid)
    colours = " Colour channels are added up." * (len(score.shape) == 3)
    return picture(plots.weight_mosaic(maps[strongest], "Weights of the first layer"),
                   f"From each pixel of the image to {which}, the largest first. Orange is positive, purple negative, white "
                   f"zero.{blank}{colours}")


def confusion(scores: np.ndarray, data: Dataset) -> Picture:
    """What was told of the test images, with scores (n, C)."""
    C, told = len(data.classes), scores.argmax(axis=1)
    counts = np.zeros((C, C), int)
    np.add.at(counts, (data.y_test, told), 1)
    return picture(plots.confusion_matrix(counts, data.classes, "Confusion on the test images"), confused(counts, data.classes))


def confused(counts: np.ndarray, classes: tuple[str, ...]) -> str:
    """The most frequent confusions in words."""
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    first = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [(true, told) for true, told in zip(*np.unravel_index(first, wrong.shape), strict=True) if wrong[true, told]]
    named = ", ".join(f"{classes[true]} for {classes[told]} ({wrong[true, told]})" for true, told in pairs)
    says = f"Most often mistaken: {named}." if pairs else "There is no mistake."
    return f"Each row is a true class, {counts.sum():,} images in all. {says}"


def mistakes(run: Run, scores: np.ndarray, data: Dataset) -> Shown:
    """The surest mistakes on the test images, with scores (n, C), and what spoke for them."""
    rows = surest_mistakes(scores, data.y_test, MISTAKES)
    if not len(rows):
        return "It makes no mistake on the test images."
    x, y, told, history = data.x_test[rows], data.y_test[rows], scores[rows].argmax(axis=1), run.history
    with threads(history["threads"], history["backend"]):
        maps = METHODS[MAP].maps(Scorer(run), x, told)
    labels = [f"{data.classes[true]},\ntold {data.classes[said]}" for true, said in zip(y, told, strict=True)]
    hatched = " Hatched pixels have no value, as a label is written over them." * bool(np.isnan(maps).any())
    return picture(mistakes_figure(x.reshape(-1, *data.shape), maps, labels, "The surest mistakes"),
                   f"Test images whose told class leads the true one by most, by {history['read_out']}. Below each what spoke "
                   f"for the class it told: {METHODS[MAP].says}. {SIGNS} {OWN_SCALE}{hatched}")
