"""Learning without back-propagation: Forward-Forward, PEPITA and feedback alignment beside backprop, readable and checked."""

from .data import Dataset, load
from .errors import DataError, UserError
from .preset import Preset
from .presets import PRESETS
from .run import Run, load_run
from .training import train
from .version import __version__

__all__ = ["DataError", "Dataset", "PRESETS", "Preset", "Run", "UserError", "__version__", "load", "load_run", "train"]
