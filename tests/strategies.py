"""What the tests draw with Hypothesis; for saliency see `views`.

Sizes are small and ragged: 0 and 1 rows, 1 unit, and odd numbers of them.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ffnp.kernels.contract import Adam, Momentum, Pair
from ffnp.net import Dense
from ffnp.rules import (
    PEPITA,
    AdaptiveFeedback,
    Backprop,
    DirectFeedback,
    FeedbackAlignment,
    ForwardForward,
    MonoForward,
    UnsupervisedForwardForward,
)

Strategy = st.SearchStrategy[Any]
seeds = st.integers(0, 2**32 - 1)


def tenths(dtype: Any, *shape: int, least: int = -60, most: int = 60) -> Strategy:
    """Arrays of -6.0, -5.9, ... 6.0: numbers that round, cancel and tie, but neither overflow nor underflow."""
    if math.prod(shape) > 100:  # Hypothesis would make most of them equal
        return seeds.map(lambda seed: (np.random.default_rng(seed).integers(least, most + 1, shape) / 10).astype(dtype))
    return arrays(np.int64, shape, elements=st.integers(least, most)).map(lambda n: (n / 10).astype(dtype))


# ----- the arguments of every kernel -----

Sizes = dict[str, int]  # a size for each letter of the contract
Part = Callable[[Sizes, Any], Strategy]  # one argument, from the sizes and the dtype

dtypes = st.sampled_from([np.float32, np.float64])
some: dict[str, Strategy] = {
    "B": st.integers(0, 9),
    "R": st.integers(1, 9),  # rows where there must be one
    "I": st.integers(1, 9),
    "O": st.integers(1, 9),
    "C": st.integers(2, 5),
    "biased": st.booleans(),  # whether the layer has biases
    "scaled": st.booleans(),  # whether a product is
    "labelled": st.booleans(),  # whether it has labels written in
}
sizes = st.fixed_dictionaries(some)
# That threads share out: around multiples of 16 inputs or outputs, of which a thread takes some, or none.
shared_out = st.fixed_dictionaries(some | dict.fromkeys("IO", st.sampled_from([1, 15, 16, 17, 32, 40, 70])))
rates = st.sampled_from([0.0, 0.1, 0.5, 0.9])
factors = st.sampled_from([0.0, 1.0, -1.0, 0.1, -2.5])
keys = st.integers(0, 2**32 - 1)
activations = st.sampled_from(["linear", "relu", "tanh"])
momenta = st.builds(
    Momentum, keep=rates, gain=st.sampled_from([1.0, 0.1]), rate=rates, decay=rates, l2=rates, decay_biases=st.booleans())


@st.composite
def adams(draw: st.DrawFn) -> Adam:
    beta1, beta2, t = draw(rates), draw(st.sampled_from([0.9, 0.999])), draw(st.integers(1, 5))
    corrects = 1 - beta1**t, 1 - beta2**t
    return Adam(beta1, beta2, *corrects, 1e-8, draw(rates), draw(rates), draw(rates), draw(st.booleans()))


def free(strategy: Strategy) -> Part:
    """An argument that depends on nothing."""
    return lambda n, dtype: strategy


def real(letters: str, **bounds: int) -> Part:
    """An array shaped as the letters say."""
    return lambda n, dtype: tenths(dtype, *(n[letter] for letter in letters), **bounds)


def labels(n: Sizes, dtype: Any) -> Strategy:
    return arrays(np.int64, n["B"], elements=st.integers(0, n["C"] - 1))


def masks(n: Sizes, dtype: Any) -> Strategy:
    return arrays(dtype, (n["B"], n["I"]), elements=st.sampled_from([0, 1]))


def moves(n: Sizes, dtype: Any) -> Strategy:
    """How far each image goes down and right, (B, 2): some stay, some leave the picture."""
    return arrays(np.int64, (n["B"], 2), elements=st.integers(-3, 3) | st.integers(-20, 20))


def shapes(n: Sizes, dtype: Any) -> Strategy:
    """Every shape of an image of I numbers: (height, width) or (height, width, channels)."""
    lengths = range(1, n["I"] + 1)
    every = [*itertools.product(lengths, repeat=2), *itertools.product(lengths, repeat=3)]
    return st.sampled_from([shape for shape in every if math.prod(shape) == n["I"]])


def chances(n: Sizes, dtype: Any) -> Strategy:
    """Uniform numbers u (B,), both ends of [0, 1) among them."""
    return arrays(np.float64, n["B"], elements=st.floats(0, 1, exclude_max=True) | st.just(np.nextafter(1, 0)))


def signs(n: Sizes, dtype: Any) -> Strategy:
    """1 for positive and 0 for negative rows (B,)."""
    return arrays(dtype, n["B"], elements=st.sampled_from([0, 1]))


def picks(n: Sizes, dtype: Any) -> Strategy:
    """Row numbers below R, any of them any number of times."""
    return arrays(np.int64, n["B"], elements=st.integers(0, n["R"] - 1))


def columns(n: Sizes, dtype: Any) -> Strategy:
    """Some of the I inputs, each at most once."""
    return st.lists(st.integers(0, n["I"] - 1), unique=True).map(lambda found: np.array(found, np.int64))


def slots(n: Sizes, dtype: Any) -> Strategy:
    """Label slots (B, C) for images of I inputs, C <= I."""
    return st.integers(1, n["I"]).flatmap(lambda classes: tenths(dtype, n["B"], classes))


def where(choice: str, part: Part) -> Part:
    """None where it has been drawn that there is no such argument."""
    return lambda n, dtype: part(n, dtype) if n[choice] else st.none()


def biases(**bounds: int) -> Part:
    return where("biased", real("O", **bounds))


def layer(**bounds: int) -> Part:
    return lambda n, dtype: st.tuples(real("IO", **bounds)(n, dtype), biases(**bounds)(n, dtype))


def half_silent(dtype: Any, *shape: int) -> Strategy:
    """As `tenths`, with some rows all zero."""
    return st.builds(np.multiply, tenths(dtype, *shape), arrays(dtype, (shape[0], 1), elements=st.sampled_from([0, 1])))


def pairs(n: Sizes, dtype: Any) -> Strategy:
    """One to three pairs of any number of rows; some posts are one row, sent to all."""
    def pair(B: int) -> Strategy:
        return st.builds(Pair, tenths(dtype, B, n["I"]), half_silent(dtype, B, n["O"]) | tenths(dtype, 1, n["O"]))
    return st.lists(st.integers(0, 9).flatmap(pair), min_size=1, max_size=3)


def uneven(n: Sizes, dtype: Any) -> Strategy:
    """(R, C) numbers that are not all the same: one of them is 7."""
    return tenths(dtype, n["R"], n["C"]).map(lambda a: np.append(a.flat[1:], a.dtype.type(7)).reshape(a.shape))


def root(n: Sizes, dtype: Any) -> Strategy:
    """The length of a normalised row of O numbers."""
    return st.sampled_from([1.0, n["O"] ** 0.5])


tinies = free(st.sampled_from([0.0, 1e-8, 0.1]))

ARGUMENTS: dict[str, tuple[Part, ...]] = {
    "put": (real("BI"),),
    "get": (real("BI"),),
    "take": (real("RI"), picks),
    "vstack": (real("BI"), real("RI"), real("BI")),
    "hstack": (real("BI"), real("BO"), real("BI")),
    "add": (real("BI"), real("BI"), free(factors)),
    "scale": (real("BI"), free(factors)),
    "rescale": (real("BI"), uneven, free(st.sampled_from([0.1, 2.5])), free(st.sampled_from([1.0, 0.5, 1 / 3]))),
    "sign": (real("BI"),),
    "blend": (masks, real("BI"), real("BI")),
    "shift": (real("BI"), moves, shapes),
    "dense": (real("BI"), real("IO"), biases(), free(activations)),
    "dense_squares": (real("BI"), real("IO"), biases(), free(activations)),
    "gate": (real("BO"), real("BO"), free(activations)),
    "project": (real("BO"), real("IO")),
    "patch": (real("BO"), real("BI"), real("BI"), real("IO"), columns),
    "activate": (real("BO"), where("scaled", real("B")), where("labelled", real("CO")), where("labelled", labels), biases(),
                 free(activations)),
    "dropout": (real("BO"), free(rates), free(keys)),
    "one_hot": (labels, lambda n, dtype: st.just(n["C"]), free(rates), real("BI")),
    "softmax": (real("BC"),),
    "softmax_error": (real("BC"), labels),
    "draw_wrong": (real("BC"), labels, chances),
    "agreement": (labels, labels),
    "overlay": (real("BI"), slots),
    "normalise": (real("BO"), root, tinies),
    "inverse_norm": (real("B", least=0), free(st.sampled_from([0.0, 1.0, 6.25])), root, tinies),
    "normalise_batch": (real("BO"),),
    "sum_squares": (real("BO"),),
    "goodness_signal": (real("BO"), real("B", least=0), signs, real("B"), free(st.sampled_from([1.0, 0.25])),
                        free(st.sampled_from([0.0, 2**-24, 0.25]))),
    "peer_signal": (real("O"), real("RO"), free(rates), free(rates)),
    "gradient": (layer(), pairs, free(st.integers(1, 9))),
    "momentum_step": (layer(), layer(), pairs, free(st.integers(1, 9)), free(momenta)),
    "adam_step": (layer(), layer(), layer(least=1), pairs, free(st.integers(1, 9)), free(adams())),
}


@st.composite
def arguments(draw: st.DrawFn, kernel: str, dtypes: Strategy = dtypes, sizes: Strategy = sizes) -> tuple[Any, ...]:
    """What the contract allows as arguments of this kernel, all of one dtype."""
    n, dtype = draw(sizes), draw(dtypes)
    return tuple(draw(part(n, dtype)) for part in ARGUMENTS[kernel])


def precise(kernel: str) -> Strategy:
    """The same in float64, for central differences and torch."""
    return arguments(kernel, st.just(np.float64))


@st.composite
def wild_logits(draw: st.DrawFn) -> tuple[Any, ...]:
    """z (B, C) as far apart as they may be, y (B,) and u (B,)."""
    n, dtype = draw(sizes), draw(dtypes)
    z = arrays(dtype, (n["B"], n["C"]), elements=st.floats(-(2.0**100), 2.0**100, width=32))
    return draw(z), draw(labels(n, dtype)), draw(chances(n, dtype))


@st.composite
def walks(draw: st.DrawFn) -> tuple[Any, ...]:
    """A layer, the pairs of four steps, and rows; float64."""
    n = draw(sizes)
    steps = st.lists(pairs(n, np.float64), min_size=4, max_size=4)
    return draw(layer()(n, np.float64)), draw(steps), draw(st.integers(1, 9))


@st.composite
def poisoned(draw: st.DrawFn, kernel: str) -> tuple[Any, ...]:
    """The arguments of a step with one NaN in the layer or in a pair; no row is silent."""
    n, dtype = draw(sizes), draw(dtypes)
    layer, *memory, _, rows, c = (draw(part(n, dtype)) for part in ARGUMENTS[kernel])
    B = draw(st.integers(1, 9))
    pair = Pair(draw(tenths(dtype, B, n["I"])), draw(tenths(dtype, B, n["O"], least=1)))
    victim = draw(st.sampled_from([a for a in (*layer, *pair) if a is not None]))
    victim.flat[draw(st.integers(0, victim.size - 1))] = np.nan
    return layer, *memory, [pair], rows, c


# ----- rules: batches, widths and settings -----

widths = st.integers(1, 6)
just_one = st.just(1)
scales = st.sampled_from([1e-3, 0.3, 7.0, 1e3])
epochs_of = st.integers(1, 1000).flatmap(lambda E: st.tuples(st.integers(1, E), st.just(E)))  # epoch e of E


class Problem(NamedTuple):
    """A batch for a network of `sizes` (inputs, hidden ..., classes), and a generator for whatever else is drawn."""

    sizes: tuple[int, ...]
    x: np.ndarray  # (B, I) float64
    y: np.ndarray  # (B,)
    wrong: np.ndarray  # (B,), nowhere y
    rng: np.random.Generator


@st.composite
def problems(draw: st.DrawFn, least: int = 1, most: int = 3, rows: Strategy = widths) -> Problem:
    """Problems with `least` to `most` hidden layers, and at least as many inputs as classes."""
    classes, B, rng = draw(st.integers(2, 4)), draw(rows), np.random.default_rng(draw(seeds))
    hidden = draw(st.lists(widths, min_size=least, max_size=most))
    y = rng.integers(classes, size=B)
    wrong = (y + rng.integers(1, classes, size=B)) % classes
    inputs = classes + draw(st.integers(0, 4))
    return Problem((inputs, *hidden, classes), rng.standard_normal((B, inputs)), y, wrong, rng)


contrasts: dict[str, Strategy] = {
    "goodness": st.sampled_from(["sum", "mean"]), "theta": st.sampled_from([0.5, 1.0, 2.0]), "theta_per_unit": st.booleans(),
    "loss": st.sampled_from(["logistic", "symba"]), "alpha": st.sampled_from([1.0, 4.0]), "collaborate": st.booleans(),
    "norm": st.sampled_from(["rms", "l2", "none"]), "norm_input": st.booleans(),
    "tiny": st.sampled_from([1e-4, 1e-8, math.exp(-100)]), "dropout": rates, "peer": st.sampled_from([0.0, 0.03]),
    "softmax_from": st.sampled_from([1, 2]), "sparing": st.booleans(),
}


def forward_forwards(**fixed: Any) -> Strategy:
    """Forward-Forward with any settings that go together, for two hidden layers or more; some of them `fixed`."""
    choices: dict[str, Strategy] = contrasts | {
        "label": st.sampled_from(["overlay", "append"]), "strength": st.sampled_from([1.0, 2.5]),
        "neutral": st.sampled_from([0.0, 0.1]), "negatives": st.sampled_from(["hard", "uniform"]),
        "goodness_from": st.sampled_from([1, 2]),
    }
    return st.builds(ForwardForward, **choices | {name: st.just(value) for name, value in fixed.items()})


unsupervised = st.builds(UnsupervisedForwardForward, **contrasts, blurs=st.integers(0, 6))
mono_forwards = st.builds(MonoForward, read_out=st.sampled_from(["last", "all"]))


deep_problems = problems(least=2)
hidden: dict[str, Strategy] = {"activation": st.sampled_from(["relu", "tanh"]), "dropout": rates}
hidden_layers = st.fixed_dictionaries(hidden)
backprops = st.builds(Backprop, **hidden)
random_feedback = st.builds(FeedbackAlignment, **hidden, matrices=st.sampled_from(["random", "sign"]), scale=rates)
direct_feedback = st.builds(DirectFeedback, **hidden, sends=st.sampled_from(["error", "sign", "target"]))
adaptive_feedback = st.builds(AdaptiveFeedback, **hidden)


def pepitas(**fixed: Any) -> Strategy:
    """PEPITA with any settings but mirroring; some of them `fixed`."""
    choices: dict[str, Strategy] = hidden | {
        "update": st.sampled_from(["modulated", "hebbian"]), "sign": st.sampled_from([-1, 1]),
        "error": st.sampled_from(["first", "second"]), "pre": st.sampled_from(["first", "second"]),
        "mask_difference": st.booleans(), "norm": st.sampled_from(["none", "batch", "sample"]),
        "feedback": st.sampled_from(["uniform", "product"]), "spread": st.sampled_from([0.05, 0.5]),
    }
    return st.builds(PEPITA, **choices | {name: st.just(value) for name, value in fixed.items()})


told_their_error = backprops | random_feedback | direct_feedback | adaptive_feedback | pepitas()  # one answer a batch
mirrored = pepitas(sign=-1, feedback="product", mirror_every=1)
answer_often = st.builds(FeedbackAlignment, **hidden, matrices=st.just("mirror")) | pepitas(update="time-local") | mirrored
kolen_pollacks = st.builds(FeedbackAlignment, **hidden, matrices=st.just("kolen-pollack"))
any_rules = told_their_error | answer_often | kolen_pollacks | forward_forwards() | unsupervised | mono_forwards


@st.composite
def wide_logits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Any logits (B, C) at all, ties and huge spreads among them, and labels (B,)."""
    B, C = draw(widths), draw(st.integers(2, 5))
    values = st.floats(-5, 5) | st.floats(-1e30, 1e30) | st.sampled_from([0.0, -1e4, 1e4])
    return draw(arrays(np.float64, (B, C), elements=values)), draw(arrays(np.int64, B, elements=st.integers(0, C - 1)))


# ----- blocks that overlap -----

# (name, number of threads) of blocks, each of which is named twice: to be entered, and to be left.
overlapping = st.dictionaries(st.integers(0, 4), st.integers(1, 8), min_size=1).flatmap(
    lambda blocks: st.permutations([*blocks.items()] * 2))

# ----- training: how an epoch is cut into batches, what a run is made of -----


class Epoch(NamedTuple):
    """An epoch over n images in batches of `size` (None: one batch), in drawn or in file order."""

    n: int
    size: int | None
    shuffle: bool
    drop_last: bool


epochs = st.builds(Epoch, st.integers(1, 50), st.none() | st.integers(1, 60), st.booleans(), st.booleans())


def trees() -> Strategy:
    """Tuples, layers and dicts nested to any depth, with arrays, None and numbers as leaves."""
    leaves = tenths(np.float32, 2) | arrays(np.int64, 1) | st.none() | st.integers(0, 9)

    def branches(part: Strategy) -> Strategy:
        named = st.dictionaries(st.sampled_from(["means", "feedback"]), part)
        return st.lists(part, max_size=3).map(tuple) | st.builds(Dense, part, part) | named
    return st.recursive(leaves, branches, max_leaves=8)


# ----- diagnostics -----

vectors = st.integers(1, 6).flatmap(lambda n: tenths(np.float64, n, least=1))
rates_of_learning = st.floats(0.01, 10)  # s of acc_max E / (s + E), in epochs
