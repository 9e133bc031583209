"""The compile gate: through NVIDIA's own compilers every kernel costs what the table says, and no double precision.

It needs no graphics card, only the compilers.
"""

import functools
import re

import pytest
from platforms import needs_compilers

from ffnp.kernels.cuda import missing, products
from ffnp.kernels.cuda.compile import Assembly, assemble, ptx, tool
from ffnp.kernels.cuda.language import cuda, float32, uint32, void
from ffnp.kernels.cuda.table import TABLE, Kernel

pytestmark = [needs_compilers, pytest.mark.no_cover]  # others cover the same lines, and to count them takes as long again
each_card = pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=["sm_80", "sm_90"])

APPROXIMATE = {  # what may be: each is one step of a function whose result is good to 4 ulp
    "ex2.approx.ftz.f32",  # exp, tanh, pow: 2^x of what is left of x once its whole part is taken off
    "rcp.approx.ftz.f32",  # tanh: 2 / (exp(2 x) + 1), never near a pole; pow: a first guess of the logarithm, which is refined
}
DOUBLE = re.compile(r"\b(?:D(?:ADD|MUL|FMA|SETP|MNMX)|\w+[.\w]*(?:F64|64H))\b")  # of the machine code

# What is wrong with a kernel: name -> whether it is, from its entry in the table, its PTX and what ptxas made of it.
WRONG = {
    "a budget beyond 128 registers": lambda k, text, made: k.registers > 128,
    "more registers than its budget": lambda k, text, made: made.registers > k.registers,
    "other shared memory than its budget": lambda k, text, made: made.shared != k.shared,
    "spilled registers": lambda k, text, made: made.spilled > 0,
    "a stack": lambda k, text, made: made.stack > 0,
    "too many threads": lambda k, text, made: not 1 <= threads(k) <= 1024,
    "double precision in PTX": lambda k, text, made: ".f64" in text,
    "double precision in machine code": lambda k, text, made: DOUBLE.search(made.sass),
    "approximations": lambda k, text, made: set(re.findall(r"\w+\.approx[.\w]*", text)) - APPROXIMATE,
    "calls": lambda k, text, made: re.search(r"\.func\b|\bcall\b", text),
}


def threads(kernel: Kernel) -> int:
    return functools.reduce(int.__mul__, kernel.block)


@functools.cache
def assembled(kernel: Kernel, cc: tuple[int, int]) -> Assembly:
    return assemble(ptx(kernel, cc), cc)


def faults(kernel: Kernel, cc: tuple[int, int]) -> list[str]:
    return [name for name, is_wrong in WRONG.items() if is_wrong(kernel, ptx(kernel, cc), assembled(kernel, cc))]


def test_the_compilers_are_here():
    assert missing.compilers() == ""
    assert all(tool(name) for name in ("ptxas", "cuobjdump", "nvdisasm"))


@each_card
@pytest.mark.parametrize("kernel", TABLE.values(), ids=TABLE.keys())
def test_every_kernel_passes_the_gate(kernel, cc):
    assert faults(kernel, cc) == [], assembled(kernel, cc)._replace(sass="")


# ----- the inner loop of the products -----


def inner_loop(sass: str) -> tuple[int, ...]:
    """Multiply-adds, vector loads and other loads from shared memory, from the second barrier to the branch back."""
    loop = sass.split("BAR.SYNC")[2].split("BRA")[0]
    return tuple(len(re.findall(pattern, loop)) for pattern in (r"\bFFMA\b", r"\bLDS\.128\b", r"\bLDS\b(?!\.128)"))


@each_card
@pytest.mark.parametrize(("tile", "part"), [(64, 4), (128, 8)])
@pytest.mark.parametrize("form", products.FORMS)
def test_each_step_of_a_blocked_product_is_all_its_products_and_a_few_vector_loads(form, tile, part, cc):
    """part^2 multiply-adds for 2 part numbers, which are fetched by fours, in each of the steps that are unrolled."""
    ffma, vectors, others = inner_loop(assembled(TABLE[f"product_{form}_{tile}"], cc).sass)
    steps = ffma // part**2
    assert steps >= 1
    assert (ffma, vectors, others) == (steps * part**2, steps * part // 2, 0)


# ----- the gate itself -----


def tenth(x, out):
    i = uint32(cuda.grid(1))
    out[i] = 0.1 * x[i]


def logarithm(x, out):
    i = uint32(cuda.grid(1))
    out[i] = cuda.libdevice.fast_logf(x[i])


def histogram(x, out):
    found = cuda.local.array(64, float32)  # its indices are not known when it is compiled, and registers have none
    for i in range(uint32(64)):
        found[i] = float32(0)
    for i in range(uint32(64)):
        found[uint32(x[i])] += float32(1)
    out[0] = found[uint32(out[0])]


def talk(x, out):
    print(x[0])


SIGNATURE = void(float32[::1], float32[::1])
GOOD = TABLE["add"]
BAD = {
    "a budget beyond 128 registers": GOOD._replace(registers=129),
    "more registers than its budget": GOOD._replace(registers=1),
    "other shared memory than its budget": GOOD._replace(shared=4),
    "spilled registers": TABLE["product_nn_128"]._replace(function=products.blocked("nn", 256, 16, 8)),
    "a stack": Kernel("histogram", histogram, SIGNATURE, (64,), 128),
    "too many threads": GOOD._replace(block=(64, 32)),
    "double precision in PTX": Kernel("tenth", tenth, SIGNATURE, (64,), 128),
    "double precision in machine code": Kernel("tenth", tenth, SIGNATURE, (64,), 128),
    "approximations": Kernel("logarithm", logarithm, SIGNATURE, (64,), 128),
    "calls": Kernel("talk", talk, SIGNATURE, (64,), 128),
}


def test_the_gate_itself_is_tested_throughout():
    assert BAD.keys() == WRONG.keys()


@pytest.mark.parametrize("wrong", BAD)
def test_the_gate_names_what_is_wrong(wrong):
    assert wrong in faults(BAD[wrong], (8, 0))


# ----- the tools -----


def test_what_the_assembler_refuses_is_passed_on():
    with pytest.raises(RuntimeError, match="^ptxas: .*Missing .version directive"):
        assemble("nonsense", (8, 0))


def test_a_tool_that_is_not_here_is_named():
    with pytest.raises(FileNotFoundError, match="there is no loom here: install nvidia-cuda-nvcc"):
        tool("loom")
