"""What a preset is: a table of choices, everything a training needs beside data and seed.

It fits itself to the data: inputs and classes come from there, `hidden` widths and all else from the table.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import UserError
from .optim import SCHEDULES, Optimiser, Optimisers
from .rules import RULES, Rule


@dataclass(frozen=True)
class Preset:
    """Everything a training needs beside data and seed. Raises UserError for a value that cannot work.

    `hidden` widths; `init`, `bias`: names of net.INITIALISERS (bias None: none); `batch` None: all rows at once;
    `shuffle` each epoch or keep the data's order; `drop_last`: leave a short last batch out; `standardise`: subtract
    the first number from every input, divide by the second; `shift`: in each epoch, move each training image anew by up
    to so many pixels each way, zeros coming in; `source`: where the recipe comes from.
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
    shift: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UserError(f"there is no schedule {self.schedule!r}; choose one of {', '.join(SCHEDULES)}")
        if self.epochs < 1 or (self.batch is not None and self.batch < 1) or any(units < 1 for units in self.hidden):
            raise UserError(f"epochs, batch and layers must be at least 1, not {self.epochs}, {self.batch}, {self.hidden}")
        alone = getattr(self.rule, "pre_mirror", 0)
        if alone >= self.epochs:
            raise UserError(f"{self.name} only mirrors up to epoch {alone}, so {self.epochs} epochs leave none to learn in")
        if self.shift < 0:
            raise UserError(f"shift must be at least 0 pixels, not {self.shift}")

    def settings(self) -> dict[str, Any]:
        """The preset as plain JSON data; `from_settings` reads it back. Raises UserError for a rule not in RULES."""
        names = {rule: name for name, rule in RULES.items()}
        if type(self.rule) not in names:
            raise UserError(f"the rule {type(self.rule).__name__} has no name yet: add it to ffnp.rules.RULES")
        choices = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.rule).items()}
        rule = {"name": names[type(self.rule)], **choices}
        optimisers = {name: asdict(o) for name, o in self.optimisers._asdict().items() if o}
        return {**vars(self), "rule": rule, "optimisers": optimisers, "hidden": list(self.hidden),
                "standardise": self.standardise and list(self.standardise)}


def from_settings(settings: dict[str, Any]) -> Preset:
    """The preset of `Preset.settings`."""
    choices = settings["rule"].items()
    rule: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in choices}
    optimisers = Optimisers(**{name: Optimiser(**o) for name, o in settings["optimisers"].items()})
    standardise = settings["standardise"] and tuple(settings["standardise"])
    return Preset(**{**settings, "rule": RULES[rule.pop("name")](**rule), "optimisers": optimisers,
                     "hidden": tuple(settings["hidden"]), "standardise": standardise})


def adapt(preset: Preset, inputs: int, epochs: int | None, batch: int | None, layers: Sequence[int] | None) -> Preset:
    """The preset with the caller's own epochs, batch size and `layers` = inputs, hidden widths ...; None keeps a value.

    Raises UserError where `layers` does not begin with the data's number of inputs.
    """
    if layers is not None and (len(layers) < 2 or layers[0] != inputs):
        raise UserError(f"layers {','.join(map(str, layers))} must be the data's {inputs} inputs, then the hidden widths")
    changes: dict[str, Any] = {"epochs": epochs, "batch": batch, "hidden": layers and tuple(layers[1:])}
    return replace(preset, **{name: value for name, value in changes.items() if value is not None})


def in_words(settings: dict[str, Any]) -> dict[str, str]:
    """`Preset.settings` for reading: of the rule, of each optimiser and of the training all that has an effect."""
    rule, optimisers = settings["rule"], settings["optimisers"]
    training = {name: value for name, value in settings.items() if name not in ("name", "source", "rule", "optimisers")}
    steps = {f"{name} step": f"{o['kind']}: {listed(used(o))}" for name, o in optimisers.items()}
    others = {name: value for name, value in rule.items() if name != "name"}
    return {"rule": f"{rule['name']}: {listed(others)}", **steps, "training": listed(training)}


def used(optimiser: dict[str, Any]) -> dict[str, Any]:
    """The settings of an optimiser that change something: its kind knows them, and there is some decay for those of decay."""
    kind, of_adam, of_decay = optimiser["kind"], ["beta2", "epsilon"], ["decay", "decay_kind", "decay_biases"]
    unused = ["momentum"] * (kind == "sgd") + of_adam * (kind != "adam") + of_decay * (not optimiser["decay"])
    return {name: value for name, value in optimiser.items() if name not in ("kind", *unused)}


def listed(settings: dict[str, Any]) -> str:
    """Names and values, numbers in six digits."""
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
