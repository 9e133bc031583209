"""What is timed: a table of cases, each a preset with so many batches, and what the textbook's way would compute for it.

The textbook makes every pass and every update a dense product. Its work, 2 operations a multiply-add, is the same number for
all contenders: whoever finds a way to do less shows more of it a second.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..data import load, where
from ..errors import UserError
from ..net import Net
from ..optim import Optimiser, Optimisers
from ..preset import Preset
from ..presets import PRESETS
from ..rules import PEPITA, Backprop, FeedbackAlignment, ForwardForward
from ..run import standardised
from ..saliency.occlusion import windows
from ..training import VALIDATION

INPUTS, CLASSES, SHAPE = 784, 10, (28, 28)  # of MNIST, and of fashion-mini, which stands in for it
WINDOWS = windows(SHAPE, (5, 5), (5, 5))  # of a saliency case: side by side
COLUMNS = WINDOWS.columns  # the inputs under each of them
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WHOLE = 50_000  # rows of MNIST that are learned from


class Case(NamedTuple):
    """`steps` batches of the preset are one run. `kind`: "training"; "prediction", the goodness of every label of every row;
    or "saliency", the same under every window of COLUMNS. `threads`: None for those that were asked for."""

    name: str
    says: str
    preset: Preset
    steps: int
    kind: str = "training"
    threads: int | None = None

    @property
    def batch(self) -> int:
        """Rows of a batch."""
        assert self.preset.batch  # a case says how many
        return self.preset.batch

    @property
    def rows(self) -> int:
        """Rows of a run."""
        return self.steps * self.batch

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden widths ..., classes."""
        return (INPUTS, *self.preset.hidden, CLASSES)

    @property
    def work(self) -> int:
        """Floating-point operations of one run of the textbook algorithm."""
        return self.steps * sum(2 * p.times * p.rows * p.inputs * p.outputs for p in products(self))

    @property
    def touched(self) -> int:
        """Bytes of float32 that one run of it touches, each once a batch: input, every layer's answers, weights, fixed feedback
        and what the optimiser remembers of each weight."""
        learned_by, multiplied = self.preset.optimisers.layers.kind, products(self)
        remembered = (2 if learned_by == "adam" else 1) if self.kind == "training" else 0
        answers = sum(p.times * p.rows * p.outputs for p in multiplied if p.form == "forward")
        weights = sum(i * o for i, o in (*layers(self), *head(self)))
        fixed = sum(p.inputs * p.outputs for p in multiplied if p.form == "back" and type(self.preset.rule) is not Backprop)
        return 4 * self.steps * (self.batch * INPUTS + answers + (1 + remembered) * weights + fixed)


# ----- the textbook -----


class Product(NamedTuple):
    """A dense product of a batch, so many `times`, for x (rows, inputs), W (inputs, outputs) and d (rows, outputs): `form`
    "forward" is x W, "back" d W^T, "update" x^T d."""

    form: str
    rows: int
    inputs: int
    outputs: int
    times: int = 1


def products(case: Case) -> list[Product]:
    """All products of one batch."""
    if case.kind != "training":  # every label of every row, under every window
        times = CLASSES * (len(COLUMNS) if case.kind == "saliency" else 1)
        return each("forward", case.batch, layers(case), times)
    return TEXTBOOK[type(case.preset.rule)](case)


def each(form: str, rows: int, shapes: Sequence[tuple[int, int]], times: int = 1) -> list[Product]:
    """A product of this form with every matrix."""
    return [Product(form, rows, *shape, times) for shape in shapes]


def layers(case: Case) -> list[tuple[int, int]]:
    """The shape (I, O) of every layer; for Forward-Forward without its head."""
    sizes = case.sizes[:-1] if isinstance(case.preset.rule, ForwardForward) else case.sizes
    return list(zip(sizes, sizes[1:], strict=False))


def head(case: Case) -> list[tuple[int, int]]:
    """The shape of Forward-Forward's softmax head, if there is one that learns."""
    first = getattr(case.preset.rule, "softmax_from", None)
    return [(sum(case.preset.hidden[first - 1 :]), CLASSES)] if first and case.kind == "training" else []


def forward_forward(case: Case) -> list[Product]:
    """A pass that is told no class and the head's update, where there is a head; positive and negative rows stacked."""
    B, own, top = case.batch, layers(case), head(case)
    neutral = each("forward", B, [*own, *top]) + each("update", B, top) if top else []
    return neutral + each("forward", 2 * B, own) + each("update", 2 * B, own)


def backprop(case: Case) -> list[Product]:
    """Feedback alignment computes the same, with other matrices on the way back."""
    B, own = case.batch, layers(case)
    return each("forward", B, own) + each("back", B, own[1:]) + each("update", B, own)


def pepita(case: Case) -> list[Product]:
    """Two passes, the error's projection F e, one update."""
    B, own = case.batch, layers(case)
    return each("forward", B, own) * 2 + each("back", B, [(INPUTS, CLASSES)]) + each("update", B, own)


TEXTBOOK: dict[type, Callable[[Case], list[Product]]] = {
    ForwardForward: forward_forward, Backprop: backprop, FeedbackAlignment: backprop, PEPITA: pepita,
}


# ----- the table: every preset in the data's order, without dropout, whose masks others cannot draw -----

HINTON, MEAN = PRESETS["ff-hinton2022"], PRESETS["ff-mpezeshki"]
MEAN_RULE: Any = MEAN.rule
PEPITA_NET, FA_NET = (replace(PRESETS[name], shuffle=False) for name in ("pepita-iclr2024", "fa"))  # 784-1024-10, batch 64

CASES = {case.name: case for case in [
    Case("ff-hinton2022", "Hinton's Forward-Forward, 784-1000x3, batch 100", HINTON, 20),
    Case("ff-hinton2022-epoch", "an epoch of Hinton's Forward-Forward, 784-1000x3, batch 100", HINTON, WHOLE // 100),
    Case("ff-2000x4", "Hinton's Forward-Forward, 784-2000x4, batch 100", replace(HINTON, hidden=(2000,) * 4), 5),
    Case("ff-mean-adam", "Forward-Forward by mean goodness with Adam, 784-2000x4, batch 500 + 500",
         replace(MEAN, rule=replace(MEAN_RULE, negatives="uniform", schedule="joint"), hidden=(2000,) * 4, batch=500), 2),
    Case("pepita", "PEPITA, 784-1024-10, batch 64", replace(PEPITA_NET, rule=PEPITA()), 100),
    Case("bp", "backprop, 784-1024-10, batch 64, the PEPITA papers' net and step", replace(FA_NET, rule=Backprop()), 100),
    Case("fa", "feedback alignment, 784-1024x5-10, batch 64",  # so deep a net wants smaller steps
         replace(FA_NET, rule=FeedbackAlignment(), hidden=(1024,) * 5,
                 optimisers=Optimisers(Optimiser("momentum", rate=0.003))), 20),
    Case("saliency-ads", f"goodness of all labels of 100 images, 784-1000x3, under each of {len(COLUMNS)} windows",
         HINTON, 1, "saliency"),
    Case("prediction", "goodness of all labels of 10,000 images, 784-1000x3", replace(HINTON, batch=1000), 10, "prediction"),
]}
DEFAULT = [name for name in CASES if name != "ff-hinton2022-epoch"]


def scaled(name: str, says: str, threads: int | None = None, batch: int = 100, **changes: Any) -> Case:
    """Hinton's Forward-Forward over 2,000 rows, a little changed."""
    preset = replace(HINTON, batch=batch, **changes)
    return Case(name, f"Hinton's Forward-Forward, {says}", preset, 2000 // batch, threads=threads)


def doubled(most: int) -> list[int]:
    """1, 2, 4 ... and the most."""
    return [*(2**i for i in range((most - 1).bit_length())), most]


SCALES = {
    "width": [scaled(f"ff-width-{n}", f"784-{n}x3", hidden=(n,) * 3) for n in (250, 500, 1000, 2000)],
    "depth": [scaled(f"ff-depth-{n}", f"784-1000x{n}", hidden=(1000,) * n) for n in (2, 3, 4, 6)],
    "batch": [scaled(f"ff-batch-{n}", f"784-1000x3, batch {n}", batch=n) for n in (50, 100, 200, 400)],
    "threads": [scaled(f"ff-threads-{n}", f"784-1000x3, threads: {n}", n) for n in doubled(CORES)],
}


def case_named(name: str) -> Case:
    """The case of that name, one of CASES or of a family of SCALES. Raises UserError where there is none."""
    every = CASES | {case.name: case for family in SCALES.values() for case in family}
    if name not in every:
        raise UserError(f"there is no case {name!r}; choose one of {', '.join(CASES)}")
    return every[name]


# ----- what contenders are given -----


def initial(case: Case) -> Net:
    """The network that all begin with, float32."""
    preset = case.preset
    return preset.rule.init(np.random.default_rng(0), case.sizes, preset.init, preset.bias, "float32")


def data_name(case: Case) -> str:
    """MNIST where it is at hand, else the embedded set of its shape. Raises UserError for an epoch of MNIST without it."""
    if where("mnist"):
        return "mnist"
    if case.rows >= WHOLE:
        raise UserError(f"{case.name} is an epoch of MNIST, which is not here: ffnp data fetch mnist")
    return "fashion-mini"


def rows(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a run, x (n, I) float32 and y (n,) int64: training images that do not validate, over again where they are
    too few."""
    data = load(data_name(case))
    learned = np.flatnonzero(np.arange(len(data.x_train)) % VALIDATION != VALIDATION - 1)
    chosen = np.resize(learned, case.rows)
    return standardised(data.x_train[chosen], case.preset, "float32"), data.y_train[chosen]
