"""The kernels as plain Python in Numba's simulator, where each of a block's threads is one of the CPU's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from platforms import needs_compilers

pytestmark = needs_compilers
MEANT_FOR_THIS_PROCESS = ("PYTEST_ADDOPTS",)
COVERAGE = "COVERAGE_PROCESS_CONFIG"  # by which a process is followed: a large tile, line by line, would take ten minutes


@pytest.mark.parametrize("tests, left_out", [("computes", ()), ("multiplies", (COVERAGE,))])
def test_every_kernel_is_right_in_the_simulator(tests, left_out):
    """Small ones, in a process of its own: numba asks for the simulator when it is imported."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-k", tests, "-p", "no:cacheprovider"]
    env = {name: value for name, value in os.environ.items() if name not in (*MEANT_FOR_THIS_PROCESS, *left_out)}
    done = subprocess.run([*command, Path(__file__).with_name("test_gpu.py")], env=env | {"NUMBA_ENABLE_CUDASIM": "1"},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert not re.search("skipped|failed", done.stdout.splitlines()[-1]), done.stdout
