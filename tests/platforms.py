"""Where NVIDIA's compilers exist for certain: there a test that needs them fails without them, elsewhere it is left out."""

import platform
import sys

import pytest

needs_compilers = pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"),
                                     reason="the CUDA compilers are asked for on Linux x86-64 only")
