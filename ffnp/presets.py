"""Named recipes with their provenance. A preset is a table of choices; `ffnp presets` prints them all.

It fits itself to the data: inputs and classes come from there, `hidden` widths and all else from the table.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import UserError
from .optim import SCHEDULES, Optimiser, Optimisers
from .rules import RULES, Backprop, ForwardForward, Rule


@dataclass(frozen=True)
class Preset:
    """Everything a training needs beside data and seed. Raises UserError for a value that cannot work.

    `hidden` widths; `init`, `bias`: names of net.INITIALISERS (bias None: none); `batch` None: all rows at once;
    `shuffle` each epoch or keep the data's order; `drop_last`: leave a short last batch out; `standardise`: subtract
    the first number from every input, divide by the second; `source`: where the recipe comes from.
    """

    name: str
    source: str
    rule: Rule
    hidden: tuple[int, ...]
    optimisers: Optimisers
    epochs: int
    batch: int | None = 100
    schedule: str = "constant"
    init: str = "he_normal"
    bias: str | None = "zeros"
    shuffle: bool = True
    drop_last: bool = False
    standardise: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UserError(f"there is no schedule {self.schedule!r}; choose one of {', '.join(SCHEDULES)}")
        if self.epochs < 1 or (self.batch is not None and self.batch < 1) or any(units < 1 for units in self.hidden):
            raise UserError(f"epochs, batch and layers must be at least 1, not {self.epochs}, {self.batch}, {self.hidden}")

    def settings(self) -> dict[str, Any]:
        """The preset as plain JSON data; `from_settings` reads it back. Raises UserError for a rule not in RULES."""
        names = {rule: name for name, rule in RULES.items()}
        if type(self.rule) not in names:
            raise UserError(f"the rule {type(self.rule).__name__} has no name yet: add it to ffnp.rules.RULES")
        rule = {"name": names[type(self.rule)], **vars(self.rule)}
        optimisers = {name: asdict(o) for name, o in self.optimisers._asdict().items() if o}
        return {**vars(self), "rule": rule, "optimisers": optimisers, "hidden": list(self.hidden),
                "standardise": self.standardise and list(self.standardise)}


def from_settings(settings: dict[str, Any]) -> Preset:
    """The preset of `Preset.settings`."""
    rule = dict(settings["rule"])
    optimisers = Optimisers(**{name: Optimiser(**o) for name, o in settings["optimisers"].items()})
    standardise = settings["standardise"] and tuple(settings["standardise"])
    return Preset(**{**settings, "rule": RULES[rule.pop("name")](**rule), "optimisers": optimisers,
                     "hidden": tuple(settings["hidden"]), "standardise": standardise})


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
]}


def preset(name: str) -> Preset:
    """The preset of that name. Raises UserError for one that does not exist."""
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def adapt(preset: Preset, inputs: int, epochs: int | None, batch: int | None, layers: Sequence[int] | None) -> Preset:
    """The preset with the caller's own epochs, batch size and `layers` = inputs, hidden widths ...; None keeps a value.

    Raises UserError where `layers` does not begin with the data's number of inputs.
    """
    if layers is not None and (len(layers) < 2 or layers[0] != inputs):
        raise UserError(f"layers {','.join(map(str, layers))} must be the data's {inputs} inputs, then the hidden widths")
    changes: dict[str, Any] = {"epochs": epochs, "batch": batch, "hidden": layers and tuple(layers[1:])}
    return replace(preset, **{name: value for name, value in changes.items() if value is not None})
