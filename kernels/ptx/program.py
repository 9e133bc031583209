"""From PTX text to a `Program`: registers, variables and a list of instructions.

PTX is what NVIDIA's compilers write before the machine code. A kernel in it looks like this:

    .visible .entry twice(.param .u64 array)    // what the host launches, and what it passes: an address
    {
        .reg .b32 %r<1>;                        // each thread has a register %r0 of 32 bits,
        .reg .f32 %f<2>;                        // two for float32, %f0 and %f1,
        .reg .b64 %rd<3>;                       // and three of 64 bits, for addresses
        ld.param.u64    %rd0, [array];          // opcode.type destination, sources
        mov.u32         %r0, %tid.x;            // the number of this thread in its block
        mul.wide.u32    %rd1, %r0, 4;           // 64 bits: 4 bytes for each float32
        add.s64         %rd2, %rd0, %rd1;       // the address of this thread's number
        ld.global.f32   %f0, [%rd2];
        add.f32         %f1, %f0, %f0;
        st.global.f32   [%rd2], %f1;
        ret;
    }

Here every name is resolved: a register to its number, a variable to its address. What is not understood raises `Fault`.
Source: NVIDIA, Parallel Thread Execution ISA 9.0, chapters 4 to 6.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TYPES = {  # of PTX, as NumPy knows them; b is bits, which no arithmetic looks at
    "pred": np.dtype(np.bool_),
    "b8": np.dtype(np.uint8), "u8": np.dtype(np.uint8), "s8": np.dtype(np.int8),
    "b16": np.dtype(np.uint16), "u16": np.dtype(np.uint16), "s16": np.dtype(np.int16),
    "b32": np.dtype(np.uint32), "u32": np.dtype(np.uint32), "s32": np.dtype(np.int32), "f32": np.dtype(np.float32),
    "b64": np.dtype(np.uint64), "u64": np.dtype(np.uint64), "s64": np.dtype(np.int64), "f64": np.dtype(np.float64),
}
SEGMENT = 48  # an address is a segment's number << 48, plus a place in the segment; each variable and argument has its own
MIDDLE = 1 << 47  # where its bytes begin: 128 TiB of nothing on either side


class Fault(RuntimeError):  # noqa: N818  (the field's word)
    """What a GPU refuses or leaves undefined, and what this one does not know. `lane` is the thread that did it, if one did."""

    def __init__(self, what: str, lane: int | None = None) -> None:
        super().__init__(what)
        self.lane = lane


class Register(NamedTuple):
    number: int
    type: str


class Number(NamedTuple):
    """A constant. `width` is 0 for an integer, which takes the width that is asked for, else the bits of the pattern."""

    pattern: int
    width: int = 0


class Special(NamedTuple):
    """A register that says where a thread stands: %tid.x, %ctaid.y, %ntid.z, ..."""

    name: str


class Parameter(NamedTuple):
    number: int
    type: str


class Label(NamedTuple):
    """Where to go on: the number of an instruction."""

    name: str
    place: int = -1


class Address(NamedTuple):
    """[base + offset], in bytes."""

    base: "Operand"
    offset: int


class Vector(NamedTuple):
    """{a, b, c, d}: several registers side by side."""

    parts: "tuple[Operand, ...]"


Operand = Register | Number | Special | Parameter | Label | Address | Vector


class Instruction(NamedTuple):
    """`fma.rn.f32 %f3, %f1, %f2, %f3;` has the name "fma.rn", the types ("f32",) and four operands.

    With a guard, `@%p1 ...` or `@!%p1 ...`, only threads whose predicate is as `wanted` obey.
    """

    guard: Register | None
    wanted: bool
    name: str
    types: tuple[str, ...]
    operands: tuple[Operand, ...]
    text: str
    source: str  # "file.py:17", or "" if unknown


class Variable(NamedTuple):
    """A run of bytes: `space` shared is one per block, local one per thread, global and const one for all."""

    name: str
    space: str
    address: int
    size: int
    content: bytes


class Program:
    """A kernel: see `parse`. `parameters` and `registers` are types by number."""

    def __init__(self) -> None:
        self.name = ""
        self.parameters: list[str] = []
        self.registers: list[str] = []
        self.variables: list[Variable] = []
        self.instructions: list[Instruction] = []


def parse(text: str) -> Program:
    """The kernel in a PTX module, which must hold exactly one. Raises Fault for anything that is not understood."""
    return Parser(text).program


STATEMENT = re.compile(r"""\s* (?:
    (?P<line>        \.(?:version|target|address_size|file|loc)\b [^\n]*)    # ends with its line
  | (?P<brace>       [{}])
  | (?P<entry>       \.visible \s+ \.entry \s+ [\w$]+ \s* \( [^)]* \))
  | (?P<directive>   \. [^;]* ;)
  | (?P<label>       [\w$]+ :)
  | (?P<instruction> [@a-z] [^;]* ;)
)""", re.X)
VARIABLE = re.compile(r"""
    (?: \.(?:visible|common) \s+)? \.(?P<space>shared|local|global|const) \s+ \.align \s+ \d+ \s+ \.(?P<type>\w+) \s+
    (?P<name>[\w$]+) (?: \[ (?P<count>\d+) \])? (?: \s* = \s* \{ (?P<values>[^}]*) \})? \s* ;
""", re.X)
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(%[\w$]+)(?:<(\d+)>)?\s*;")
INSTRUCTION = re.compile(r"(?:@(!?)(%[\w$]+)\s+)?([a-z][\w.]*)\s*(.*);", re.S)
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^\s,]+")
SPECIAL = re.compile(r"%(?:tid|ntid|ctaid|nctaid)\.[xyz]|%laneid")


class Parser:
    """Reads statement by statement; each kind of statement has the method of its name."""

    def __init__(self, text: str) -> None:
        self.program = Program()
        self.names: dict[str, Operand] = {}  # registers, variables and parameters in sight
        self.outer: list[dict[str, Operand]] = []  # what was in sight before each open brace
        self.files: dict[str, str] = dict(re.findall(r'\.file\s+(\d+)\s+"([^"]*)"', text))
        self.labels: dict[str, int] = {}
        self.source = ""
        self.read(re.sub(r'("[^"\n]*")|//[^\n]*', r"\1", text).rstrip())  # without comments
        if not self.program.name or self.outer:
            raise Fault("there is no kernel, or not all of it: an .entry with its braces")
        last = self.program.instructions[-1:]
        if not last or last[0].guard or last[0].name not in ("ret", "exit", "bra", "bra.uni"):
            raise Fault("the kernel does not end with ret")
        self.program.instructions = [
            i._replace(operands=tuple(map(self.resolve, i.operands))) for i in self.program.instructions]

    def read(self, text: str) -> None:
        place = 0
        while place < len(text):
            found = STATEMENT.match(text, place)
            if found is None or found.lastgroup is None:
                raise Fault(f"not PTX that is known here: {text[place:].split(maxsplit=1)[0]!r}")
            understand: Callable[[str], None] = getattr(self, found.lastgroup)
            understand(found[found.lastgroup])
            place = found.end()

    def resolve(self, operand: Operand) -> Operand:
        """A label with its place, which may stand further down than where it is used."""
        if not isinstance(operand, Label):
            return operand
        if operand.name not in self.labels:
            raise Fault(f"{operand.name} is neither declared nor a label")
        return Label(operand.name, self.labels[operand.name])

    def line(self, text: str) -> None:
        words = text.split()
        if words[0] == ".loc":  # of the instructions that follow; line 0 is nobody's
            self.source = f"{self.files.get(words[1], '?')}:{words[2]}" if words[2] != "0" else ""

    def brace(self, text: str) -> None:
        if text == "{":
            self.outer.append(dict(self.names))
        elif self.outer:
            self.names = self.outer.pop()
        else:
            raise Fault("a brace is closed that was never opened")

    def entry(self, text: str) -> None:
        if self.program.name:
            raise Fault("there are two kernels in the text")
        head, _, inside = text.rstrip(")").partition("(")
        self.program.name = head.split()[-1]
        for number, parameter in enumerate(filter(None, inside.split(","))):
            found = re.fullmatch(r"\s*\.param\s+\.(\w+)\s+([\w$]+)\s*", parameter)
            if not found or found[1] not in TYPES:
                raise Fault(f"a parameter that is not known here: {parameter.strip()!r}")
            self.program.parameters.append(found[1])
            self.names[found[2]] = Parameter(number, found[1])

    def directive(self, text: str) -> None:
        if text.startswith(".pragma"):  # advice to the assembler
            return
        found = REGISTERS.fullmatch(text)
        if found and found[1] in TYPES:
            kind, name, count = found.groups()
            for one in [name] if count is None else [f"{name}{n}" for n in range(int(count))]:
                self.names[one] = Register(len(self.program.registers), kind)
                self.program.registers.append(kind)
        else:
            self.variable(text)

    def variable(self, text: str) -> None:
        found = VARIABLE.fullmatch(text)
        if not found or found["type"] not in TYPES:
            raise Fault(f"a directive that is not known here: {text!r}")
        variables, dtype = self.program.variables, TYPES[found["type"]]
        values = np.array([int(v, 0) for v in (found["values"] or "").split(",") if v.strip()], dtype)
        size = int(found["count"] or 1) * dtype.itemsize
        address = (len(variables) + 1 << SEGMENT) + MIDDLE
        variables.append(Variable(found["name"], found["space"], address, size, values.tobytes().ljust(size, b"\0")))
        self.names[found["name"]] = Number(address, 64)

    def label(self, text: str) -> None:
        self.labels[text.rstrip(": ")] = len(self.program.instructions)

    def instruction(self, text: str) -> None:
        found = INSTRUCTION.fullmatch(text)
        if not found:
            raise Fault(f"an instruction that is not known here: {text!r}")
        negated, guard, opcode, operands = found.groups()
        predicate = self.names.get(guard) if guard else None
        if guard and not (isinstance(predicate, Register) and predicate.type == "pred"):
            raise Fault(f"{guard} is no predicate: {text!r}")
        parts = opcode.split(".")
        cut = len(parts)
        while parts[cut - 1] in TYPES:
            cut -= 1
        self.program.instructions.append(Instruction(
            predicate if isinstance(predicate, Register) else None, not negated, ".".join(parts[:cut]), tuple(parts[cut:]),
            tuple(self.operand(part) for part in OPERAND.findall(operands)), " ".join(text.split()), self.source))

    def operand(self, text: str) -> Operand:
        if text[0] == "{" or "|" in text:
            return Vector(tuple(self.operand(part) for part in re.split(r"[,|]", text.strip("{}").replace(" ", ""))))
        if found := re.fullmatch(r"\[\s*([^\s+]+)\s*(?:\+\s*(-?\d+)\s*)?\]", text):
            return Address(self.operand(found[1]), int(found[2] or 0))
        if text in self.names:
            return self.names[text]
        if SPECIAL.fullmatch(text):
            return Special(text)
        if found := re.fullmatch(r"0([fd])([0-9a-fA-F]+)", text):
            return Number(int(found[2], 16), 32 if found[1] == "f" else 64)
        if found := re.fullmatch(r"(-?(?:0x[0-9a-fA-F]+|\d+))U?", text):
            return Number(int(found[1], 0))
        if re.fullmatch(r"[\w$]+", text):
            return Label(text)
        raise Fault(f"an operand that is not known here: {text!r}")
