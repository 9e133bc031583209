"""How Hypothesis runs here. Under CI the examples are the same every time; otherwise each run looks elsewhere."""

import os

from hypothesis import settings

settings.register_profile("ffnp", deadline=None, max_examples=40, derandomize="CI" in os.environ)
settings.load_profile("ffnp")
