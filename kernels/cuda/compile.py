"""From a kernel to PTX, to machine code and back to text: NVIDIA's compilers need no device, so neither does this file."""

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

from .language import cuda
from .table import Kernel

Capability = tuple[int, int]  # (8, 0) is an A100, (9, 0) an H100


@functools.cache
def ptx(kernel: Kernel, cc: Capability = (8, 0), lineinfo: bool = False) -> str:
    """The kernel's PTX; with `lineinfo` each instruction follows a `.loc` that names its line of Python."""
    with without_device(cc):
        return cuda.compile(kernel.function, kernel.signature, device=False, abi="numba", cc=cc, output="ptx",
                            lineinfo=lineinfo)[0]


@contextmanager
def without_device(cc: Capability) -> Iterator[None]:
    """Numba asks the current device for its capability when a kernel calls a device function; here it is told one."""
    from numba.cuda import compiler, dispatcher

    def device() -> SimpleNamespace:
        return SimpleNamespace(compute_capability=cc)
    with mock.patch.object(compiler, "get_current_device", device), mock.patch.object(dispatcher, "get_current_device", device):
        yield


class Assembly(NamedTuple):
    """What ptxas says of a kernel: registers of a thread; barriers; bytes of shared memory of a block, of stack and spilled
    registers of a thread; and its machine code (SASS) as text."""

    registers: int
    barriers: int
    shared: int
    stack: int
    spilled: int
    sass: str


def assemble(text: str, cc: Capability) -> Assembly:
    """PTX through ptxas for this capability. Raises FileNotFoundError without the tools, RuntimeError with what ptxas says."""
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(text)
        said = output([tool("ptxas"), f"-arch=sm_{cc[0]}{cc[1]}", "-v", str(source), "-o", str(binary)])
        sass = output([tool("cuobjdump"), "-sass", str(binary)])
    return Assembly(
        registers=number(r"Used (\d+) registers", said), barriers=number(r"used (\d+) barriers", said),
        shared=number(r"(\d+) bytes smem", said), stack=number(r"(\d+) bytes stack frame", said),
        spilled=number(r"(\d+) bytes spill stores", said) + number(r"(\d+) bytes spill loads", said), sass=sass)


def number(pattern: str, text: str) -> int:
    """What the pattern's group finds; 0 where ptxas is silent."""
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def output(command: list[str]) -> str:
    """What a tool prints. Raises RuntimeError with it if the tool fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def tool(name: str) -> str:
    """The path of a CUDA tool: from NVIDIA's wheels, else from the PATH. Raises FileNotFoundError."""
    spec = find_spec("nvidia")
    roots = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    found = [path for root in roots for path in sorted(root.glob(f"cu*/bin/{name}"))]
    path = str(found[0]) if found else shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"there is no {name} here: install nvidia-cuda-nvcc, nvidia-cuda-cuobjdump and "
                                "nvidia-cuda-nvdisasm")
    return path
