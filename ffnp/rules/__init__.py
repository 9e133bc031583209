"""Learning rules, one file a paper. A rule is a frozen table of settings with pure functions of net, batch and generator."""

from .adaptive_feedback import AdaptiveFeedback
from .backprop import Backprop
from .direct_feedback import DirectFeedback
from .feedback_alignment import FeedbackAlignment
from .forward_forward import ForwardForward
from .mono_forward import MonoForward
from .pepita import PEPITA
from .rule import Rule
from .unsupervised import UnsupervisedForwardForward

RULES: dict[str, type[Rule]] = {
    "backprop": Backprop,
    "feedback-alignment": FeedbackAlignment,
    "direct-feedback": DirectFeedback,
    "pepita": PEPITA,
    "adaptive-feedback": AdaptiveFeedback,
    "forward-forward": ForwardForward,
    "unsupervised-forward-forward": UnsupervisedForwardForward,
    "mono-forward": MonoForward,
}
