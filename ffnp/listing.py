"""What `ffnp ptx` prints: the CUDA kernels, or one of them as it is compiled, each line of Python beside what became of it."""

import difflib
import inspect
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from .backend import BackendError
from .errors import UserError
from .kernels.cuda import missing
from .kernels.cuda.compile import Capability, assemble, ptx
from .kernels.cuda.table import TABLE, Kernel

WIDTH, LEFT = 120, 62  # of the page and of its Python, in characters
MANY = 8  # instructions of one line, beyond which they are counted
LEGEND = """\
%f float32, %r and %rd whole numbers of 32 and 64 bits, %p conditions: "@%p1 bra L2" goes on at L2 where %p1 holds.
Of an array x come its address x.data, its x.shape and more. "add.f32 %f3, %f1, %f2" puts %f1 + %f2 into %f3.
ld and st load and store: .param what the kernel was given, .global the card's memory, .shared the block's own.
%tid is the thread's number in its block, %ntid how many it has, %ctaid the block's number; cvt and cvta convert.
Instructions of one line stand in the order they are in; those of different lines the compiler mixes as it likes."""


def kernels() -> str:
    """The table as text: a line for each kernel with the threads of a block, what they may use, and what it computes."""
    lines = [("kernel", "threads", "registers", "shared bytes", "computes")]
    for k in TABLE.values():
        lines.append((k.name, threads(k), f"<= {k.registers}", f"{k.shared:,}" if k.shared else "-", computes(k)))
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)][:-1]
    room = WIDTH - sum(widths)
    return "\n".join("".join([*map(str.ljust, line, widths), textwrap.shorten(line[-1], room, placeholder=" ...")]).rstrip()
                     for line in lines)


def listing(name: str, arch: int = 80) -> str:
    """The kernel of this name compiled for compute capability `arch` / 10, beside its source.

    Raises UserError for a name or an `arch` that does not exist, BackendError without the compilers.
    """
    if name not in TABLE:
        near = ", ".join(difflib.get_close_matches(name.lower(), TABLE))
        raise UserError(f"there is no kernel {name!r}; " + (f"do you mean {near}?" if near else "`ffnp ptx` lists all"))
    lacks = missing.compilers()
    if lacks:
        raise BackendError(f"kernels cannot be compiled here: {lacks}")
    known = [10 * major + minor for major, minor in missing.capabilities()]
    if arch not in known:
        raise UserError(f"--arch must be one of {', '.join(map(str, known))}, not {arch}")
    kernel, cc = TABLE[name], divmod(arch, 10)
    text = ptx(kernel, cc, lineinfo=True)
    return "\n".join([*heading(kernel, text, cc), "", *LEGEND.splitlines(), "", *page(kernel, text)])


def heading(kernel: Kernel, text: str, cc: Capability) -> Iterator[str]:
    """What the kernel is, and what it takes on a card, where it goes without `.loc`: they change what ptxas makes of it."""
    yield from textwrap.wrap(f"{kernel.name}: {computes(kernel)}".rstrip(": "), WIDTH)
    yield (f"sm_{cc[0]}{cc[1]}, blocks of {threads(kernel)} threads, {kernel.shared:,} bytes of shared memory a block, "
           f"barriers at {text.count('bar.sync')} places")
    try:
        made = assemble(ptx(kernel, cc), cc)
        yield f"{made.registers} registers a thread, {made.spilled} bytes spilled, {made.stack} bytes of stack"
    except (FileNotFoundError, RuntimeError) as problem:  # it is not there, or too old for what numba-cuda writes
        reason = re.search(r"fatal\s*: (.*)", str(problem))
        yield from textwrap.wrap(f"registers and spills are for ptxas to say: {reason[1] if reason else problem}", WIDTH)


def page(kernel: Kernel, text: str) -> Iterator[str]:
    """Each line of Python, left, with the instructions that came of it, right; last those that came of none."""
    lines, first = inspect.getsourcelines(kernel.function)
    made = by_line(readable(kernel, text))
    for number, code in enumerate(textwrap.dedent("".join(lines)).splitlines(), first):
        yield from beside(f"{number:4} ", code, made.pop(number, []))
    yield from beside("     ", "(of no line)", [instruction for rest in made.values() for instruction in rest])


def beside(number: str, code: str, instructions: list[str]) -> Iterator[str]:
    """One line of Python and its instructions in two columns; counted, too, where they are many."""
    indent = code[: len(code) - len(code.lstrip())]
    left = textwrap.wrap(code, LEFT - len(number), subsequent_indent=indent + 8 * " ")
    if len(instructions) > MANY:
        counts = Counter(opcode(i) for i in instructions if not i.endswith(":")).most_common(4)
        text = ", ".join(f"{n} {name}" for name, n in counts)
        left += textwrap.wrap(text, LEFT - len(number), initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    numbers = [number] + [" " * len(number)] * len(left)
    for n, python, instruction in zip_longest(numbers[: len(left) or 1], left, instructions, fillvalue=""):
        yield f"{n + python:<{LEFT}} | {instruction}".rstrip()


def by_line(body: str) -> dict[int, list[str]]:
    """Line of the source -> its instructions, in their order, each after its labels; 0 for those of no line."""
    made, line, labels = defaultdict[int, list[str]](list), 0, list[str]()
    for text in (" ".join(row.split()) for row in body.splitlines()):
        if text.startswith(".loc"):
            line = int(text.split()[2])
        elif text.endswith(":"):
            labels.append(text)
        elif text and not text.startswith("."):
            made[line] += [*labels, text]
            labels = []
    return made


def readable(kernel: Kernel, text: str) -> str:
    """The kernel's instructions for reading: names of parameters are those of Python, labels L2, arrays shared_1, and a float32
    is written as the shortest decimal that rounds to it."""
    names = list(parameters(kernel))
    body = re.sub(r"\w+_param_(\d+)", lambda found: names[int(found[1])], text[text.index("\n{") + 2 : text.rindex("}")])
    body = re.sub(r"\b0f([0-9A-F]{8})\b", lambda found: str(np.uint32(int(found[1], 16)).view(np.float32)), body)
    return body.replace("$L__BB0_", "L").replace("_cudapy_smem_", "shared_")


def parameters(kernel: Kernel) -> Iterator[str]:
    """What Numba hands to a kernel: a number as it is; of an array 5 numbers, then its shape and its strides."""
    for name, kind in zip(inspect.signature(kernel.function).parameters, kernel.signature.args, strict=True):
        axes = getattr(kind, "ndim", 0)
        fields = ["meminfo", "parent", "size", "itemsize", "data"]
        fields += [f"{field}[{axis}]" for field in ("shape", "strides") for axis in range(axes)]
        yield from (f"{name}.{field}" for field in fields) if axes else [name]


def opcode(instruction: str) -> str:
    """fma.rn.f32 of "@%p1 fma.rn.f32 %f3, ..." """
    return instruction.split()[instruction.startswith("@")].rstrip(";")


def threads(kernel: Kernel) -> str:
    return " x ".join(map(str, kernel.block))


def computes(kernel: Kernel) -> str:
    """The first line of the function's docstring."""
    return (inspect.getdoc(kernel.function) or "").partition("\n")[0]
