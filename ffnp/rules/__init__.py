"""Learning rules, one file a paper. A rule is a frozen table of settings with pure functions of net, batch and generator."""

from .backprop import Backprop
from .forward_forward import ForwardForward
from .rule import Rule

RULES: dict[str, type[Rule]] = {"backprop": Backprop, "forward-forward": ForwardForward}
