"""Learning without back-propagation: Forward-Forward beside an honest backprop baseline, readable, fast and checked."""

__version__ = "0.1.0"

from .data import Dataset, load
from .errors import DataError, UserError
from .presets import PRESETS, Preset
from .run import Run, load_run
from .training import train

__all__ = ["DataError", "Dataset", "PRESETS", "Preset", "Run", "UserError", "load", "load_run", "train"]
