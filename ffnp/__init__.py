"""Learning without back-propagation: Forward-Forward beside an honest backprop baseline, readable, fast and checked."""

from .data import Dataset, load
from .errors import DataError, UserError
from .preset import Preset
from .presets import PRESETS
from .run import Run, load_run
from .training import train
from .version import __version__

__all__ = ["DataError", "Dataset", "PRESETS", "Preset", "Run", "UserError", "__version__", "load", "load_run", "train"]
