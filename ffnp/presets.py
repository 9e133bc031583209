"""Named recipes with their provenance; `ffnp presets` prints them all."""

import math
from dataclasses import replace
from typing import Any

from .errors import UserError
from .optim import Optimiser, Optimisers
from .preset import Preset
from .rules import (
    PEPITA,
    AdaptiveFeedback,
    Backprop,
    DirectFeedback,
    FeedbackAlignment,
    ForwardForward,
    MonoForward,
    UnsupervisedForwardForward,
)

# The net and the schedule of the PEPITA papers, which they also give to backprop, FA and DRTP
PAPER: dict[str, Any] = {"hidden": (1024,), "init": "he_uniform", "bias": None, "epochs": 100, "batch": 64, "schedule": "step"}
PAPERS_NET = "net and schedule of the PEPITA papers, rates chosen on MNIST's validation images"
ICLR2024 = PEPITA(dropout=0.1)
DECAYING = Optimiser("momentum", rate=0.1, decay=1e-3)
HINTON = ForwardForward(tiny=math.exp(-100), peer=0.03)

PRESETS = {preset.name: preset for preset in [
    Preset(
        name="bp",
        source="ffnp: two hidden layers with dropout, Adam, cosine; chosen on MNIST's validation images",
        rule=Backprop(dropout=0.3), hidden=(1000, 1000), init="he_normal", epochs=20, batch=100,
        optimisers=Optimisers(Optimiser("adam", rate=1e-3)), schedule="cosine",
    ),
    Preset(
        name="bp-small",
        source="ffnp: backprop for the embedded sets; chosen on their validation images",
        rule=Backprop(dropout=0.2), hidden=(400, 400, 400), epochs=40, batch=50,
        optimisers=Optimisers(Optimiser("adam", rate=1e-3)), schedule="cosine",
    ),
    Preset(
        name="ff-hinton2022",
        source="Hinton 2022, arXiv:2212.13345, the MATLAB code published with it",
        rule=HINTON, hidden=(1000, 1000, 1000), init="fan_in_normal", epochs=100, batch=100, shuffle=False,
        optimisers=Optimisers(Optimiser("ema", rate=0.01, decay=0.001), Optimiser("ema", rate=0.1, decay=0.003)),
        schedule="hinton",
    ),
    Preset(
        name="ff-loewe",
        source="github.com/loeweX/Forward-Forward, 2023: its peer term, as differentiated, is 0.03 * 0.2 / 1000 strong",
        rule=ForwardForward(negatives="uniform", peer=0.03 * 0.2 / 1000, read_out="softmax"),
        hidden=(1000, 1000, 1000), init="fan_out_normal", epochs=100, batch=100, drop_last=True,
        optimisers=Optimisers(Optimiser("momentum", rate=1e-3, decay=3e-4, decay_kind="l2", decay_biases=True),
                              Optimiser("momentum", rate=1e-2, decay=3e-3, decay_kind="l2")),
        schedule="loewe",
    ),
    Preset(
        name="ff-mpezeshki",
        source="github.com/mpezeshki/pytorch_forward_forward, 2023: full batch, layer after layer, epochs for each",
        rule=ForwardForward(goodness="mean", theta=2.0, theta_per_unit=False, norm="l2", tiny=1e-4,
                            strength=(1 - 0.1307) / 0.3081, negatives="permuted once", schedule="layerwise",
                            goodness_from=1, softmax_from=None),
        hidden=(500, 500), init="fan_in_uniform", bias="fan_in_uniform", epochs=1000, batch=None, shuffle=False,
        optimisers=Optimisers(Optimiser("adam", rate=0.03)), standardise=(0.1307, 0.3081),
    ),
    Preset(
        name="ff-small",
        source="ffnp: Hinton's recipe with appended labels, smaller, for the embedded sets; chosen on their validation images",
        rule=replace(HINTON, label="append"), hidden=(400, 400, 400), init="fan_in_normal", epochs=40, batch=50,
        optimisers=Optimisers(Optimiser("ema", rate=0.01, decay=0.001), Optimiser("ema", rate=0.1, decay=0.003)),
        schedule="hinton",
    ),
    Preset(
        name="ff-olsen",
        source="github.com/jesper-olsen/forward-forward-rs, 2026: Hinton's recipe with dropout and shifted images; its "
               "schedule lags Hinton's by one epoch",
        rule=replace(HINTON, tiny=1e-20, dropout=0.15, read_out="softmax"), shift=1, drop_last=True,
        hidden=(1000, 1000, 1000), init="fan_in_normal", epochs=200, batch=100, schedule="hinton",
        optimisers=Optimisers(Optimiser("ema", rate=0.01, decay=0.002), Optimiser("ema", rate=0.1, decay=0.003)),
    ),
    Preset(
        name="ff-symba",
        source="the loss of Lee & Song 2023, arXiv:2303.08418, on Hinton's net; steps chosen on MNIST's validation images "
               "with 2 x 500 units. The peer term would outweigh a mean's small signals",
        rule=replace(HINTON, loss="symba", alpha=4.0, goodness="mean", theta_per_unit=False, peer=0.0),
        hidden=(1000, 1000, 1000), init="fan_in_normal", epochs=30, batch=100,
        optimisers=Optimisers(Optimiser("adam", rate=0.001), Optimiser("ema", rate=0.1, decay=0.003)), schedule="hinton",
    ),
    Preset(
        name="ff-collaborate",
        source="the loss of Lorberbom et al. 2024, arXiv:2305.12393, in Hinton's recipe; all layers believe together, so all "
               "are read, as MNIST's validation images prefer",
        rule=replace(HINTON, collaborate=True, goodness_from=1),
        hidden=(1000, 1000, 1000), init="fan_in_normal", epochs=60, batch=100, schedule="hinton",
        optimisers=Optimisers(Optimiser("ema", rate=0.01, decay=0.001), Optimiser("ema", rate=0.1, decay=0.003)),
    ),
    Preset(
        name="ff-unsupervised",
        source="Hinton 2022, arXiv:2212.13345, section 3.2; narrower than its 4 x 2000, and with the steps of ff-hinton2022",
        rule=UnsupervisedForwardForward(tiny=math.exp(-100), peer=0.03), hidden=(1000, 1000, 1000, 1000),
        init="fan_in_normal", epochs=100, batch=100, schedule="hinton",
        optimisers=Optimisers(Optimiser("ema", rate=0.01, decay=0.001), Optimiser("ema", rate=0.1, decay=0.003)),
    ),
    Preset(
        name="mono-forward",
        source="Gong et al. 2025, arXiv:2501.09238, the rule and its MNIST net; the steps are those of bp",
        rule=MonoForward(), hidden=(1000, 1000), init="he_normal", epochs=20, batch=100, schedule="cosine",
        optimisers=Optimisers(Optimiser("adam", rate=1e-3), feedback=Optimiser("adam", rate=1e-3)),
    ),
    Preset(
        name="pepita-icml2022",
        source="Dellaferrera & Kreiman 2022, arXiv:2201.11665, published code; the dropout mask meets h - g "
               "once, as in its notebook, not twice as in its NumPy program; the rate is MNIST's, 0.01 is CIFAR-10's",
        rule=PEPITA(sign=1, error="second", dropout=0.1), **PAPER,
        optimisers=Optimisers(Optimiser("momentum_inside", rate=0.1)),
    ),
    Preset(
        name="pepita-iclr2024",
        source="Srinivasan et al. 2024, arXiv:2302.05440, the defaults of the published code",
        rule=ICLR2024, drop_last=True, **PAPER,
        optimisers=Optimisers(Optimiser("momentum", rate=0.01, decay=1e-4, decay_kind="l2")),
    ),
    Preset(
        name="pepita-hebbian",
        source="Srinivasan et al. 2024, section on the Hebbian form; rate chosen on MNIST's validation images",
        rule=replace(ICLR2024, update="hebbian"), optimisers=Optimisers(Optimiser("momentum", rate=0.1)), **PAPER,
    ),
    Preset(
        name="pepita-time-local",
        source="Srinivasan et al. 2024, the time-local form; rate chosen on MNIST's validation images",
        rule=replace(ICLR2024, update="time-local"), optimisers=Optimisers(Optimiser("momentum", rate=0.001)), **PAPER,
    ),
    Preset(
        name="pepita-mirror",
        source="Srinivasan et al. 2024, weight mirroring; its rate and decay are a default of the published code",
        rule=replace(ICLR2024, feedback="product", pre_mirror=2, mirror_every=1),
        optimisers=Optimisers(Optimiser("momentum", rate=0.1), feedback=Optimiser("sgd", rate=0.1, decay=0.5)), **PAPER,
    ),
    Preset(
        name="pepita-deep",
        source="Srinivasan et al. 2024, five hidden layers with normalised activity, whose small numbers want a large rate: "
               "chosen on MNIST's validation images",
        rule=replace(ICLR2024, norm="batch"),
        optimisers=Optimisers(Optimiser("momentum", rate=100.0)), **{**PAPER, "hidden": (1024,) * 5},
    ),
    Preset(
        name="pepita-small",
        source="ffnp: PEPITA for the embedded sets; chosen on their validation images",
        rule=ICLR2024, hidden=(400,), init="he_uniform", bias=None, epochs=40, batch=50, schedule="cosine",
        optimisers=Optimisers(Optimiser("momentum", rate=0.1)),
    ),
    Preset(
        name="afa",
        source="Srinivasan et al. 2024, adaptive feedback alignment; with the rate of pepita-icml2022",
        rule=AdaptiveFeedback(dropout=0.1), optimisers=Optimisers(Optimiser("momentum", rate=0.1)), **PAPER,
    ),
    Preset(
        name="fa",
        source=f"Lillicrap et al. 2016, doi:10.1038/ncomms13276; {PAPERS_NET}",
        rule=FeedbackAlignment(dropout=0.1), optimisers=Optimisers(Optimiser("momentum", rate=0.1)), **PAPER,
    ),
    Preset(
        name="usf",
        source=f"Liao, Leibo & Poggio 2016, arXiv:1510.05067; {PAPERS_NET}",
        rule=FeedbackAlignment(dropout=0.1, matrices="sign", scale=0.05),
        optimisers=Optimisers(Optimiser("momentum", rate=0.1)), **PAPER,
    ),
    Preset(
        name="weight-mirror",
        source=f"Akrout et al. 2019, arXiv:1904.05391; {PAPERS_NET}",
        rule=FeedbackAlignment(dropout=0.1, matrices="mirror", pre_mirror=1),
        optimisers=Optimisers(Optimiser("momentum", rate=0.1), feedback=Optimiser("sgd", rate=0.1, decay=0.01)), **PAPER,
    ),
    Preset(
        name="kolen-pollack",
        source=f"Akrout et al. 2019, arXiv:1904.05391, with a decay that lets W - B vanish; {PAPERS_NET}",
        rule=FeedbackAlignment(dropout=0.1, matrices="kolen-pollack"),
        optimisers=Optimisers(DECAYING, feedback=DECAYING), **PAPER,
    ),
    Preset(
        name="dfa",
        source=f"Nokland 2016, arXiv:1609.01596; {PAPERS_NET}",
        rule=DirectFeedback(dropout=0.1), optimisers=Optimisers(Optimiser("momentum", rate=0.1)), **PAPER,
    ),
    Preset(
        name="dfa-small",
        source="ffnp: direct feedback alignment for the embedded sets; chosen on their validation images",
        rule=DirectFeedback(dropout=0.1), hidden=(400,), epochs=40, batch=50, schedule="cosine",
        optimisers=Optimisers(Optimiser("adam", rate=3e-3)),
    ),
    Preset(
        name="sdfa",
        source=f"Frenkel, Lefebvre & Bol 2021, arXiv:1909.01311; {PAPERS_NET}",
        rule=DirectFeedback("tanh", sends="sign"), optimisers=Optimisers(Optimiser("momentum", rate=0.03)), **PAPER,
    ),
    Preset(
        name="drtp",
        source=f"Frenkel, Lefebvre & Bol 2021, arXiv:1909.01311; {PAPERS_NET}",
        rule=DirectFeedback("tanh", sends="target"), optimisers=Optimisers(Optimiser("momentum", rate=0.03)), **PAPER,
    ),
]}


def preset(name: str) -> Preset:
    """The preset of that name. Raises UserError for one that does not exist.

    >>> ours = replace(preset("bp-small"), name="narrow", hidden=(100,), epochs=5)
    >>> ours.hidden, ours.optimisers.layers.kind
    ((100,), 'adam')
    """
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
