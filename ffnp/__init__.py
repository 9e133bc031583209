"""Learning without back-propagation: Forward-Forward beside an honest backprop baseline, readable, fast and checked."""

from importlib.metadata import version

from .data import Dataset, load
from .errors import DataError, UserError
from .presets import PRESETS, Preset
from .run import Run, load_run
from .training import train

__version__ = version("ffnp")
__all__ = ["DataError", "Dataset", "PRESETS", "Preset", "Run", "UserError", "load", "load_run", "train"]
