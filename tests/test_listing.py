"""`ffnp ptx`: a kernel beside its Python loses no line and no instruction, and speaks in the names of the source."""

import inspect
import re

import numpy as np
import pytest
from platforms import needs_compilers

from ffnp import cli, listing
from ffnp.kernels.cuda import missing
from ffnp.kernels.cuda.compile import assemble, ptx
from ffnp.kernels.cuda.table import TABLE

pytestmark = needs_compilers
SHOWN = ["add", "goodness_signal", "sum_squares", "product_nn_16"]  # with one thread a number, loops, functions and tiles


@pytest.fixture(scope="module", params=SHOWN)
def shown(request):
    """A kernel's PTX and its page, as rows of (number of the line, Python, instruction)."""
    kernel = TABLE[request.param]
    rows = [re.match(r"([ \d]{4}) (.{57}) \|(.*)", line) for line in listing.listing(kernel.name).splitlines()]
    return kernel, ptx(kernel, lineinfo=True), [tuple(part.strip() for part in row.groups()) for row in rows if row]


def instructions(text):
    """Opcodes, in their order."""
    return re.findall(r"^\s*(?:@!?%p\d+\s+)?([a-z][\w.]*)\b.*;", text[text.index("\n{") :], re.M)


def test_every_instruction_stands_there_once(shown):
    kernel, text, rows = shown
    there = [listing.opcode(instruction) for _, _, instruction in rows if instruction and not instruction.endswith(":")]
    assert sorted(there) == sorted(instructions(text))


def test_every_line_of_python_stands_there_in_order(shown):
    kernel, text, rows = shown
    lines, first = inspect.getsourcelines(kernel.function)
    numbered = [int(number) for number, _, _ in rows if number]
    assert numbered == list(range(first, first + len(lines)))
    for number, python, _ in rows:
        assert not number or lines[int(number) - first].strip().startswith(python)


def test_every_jump_finds_its_label(shown):
    kernel, text, rows = shown
    said = [instruction for _, _, instruction in rows]
    assert {label[:-1] for label in said if label.endswith(":")} >= set(re.findall(r"bra (\w+)", "\n".join(said)))


def test_names_are_those_of_the_source(shown):
    kernel, text, rows = shown
    fetched = {re.split(r"[\].]", name)[0] for *_, said in rows for name in re.findall(r"ld\.param\S* \S+ \[(.*)\]", said)}
    assert fetched and fetched <= set(inspect.signature(kernel.function).parameters)


def test_a_page_is_120_columns_wide(shown):
    kernel, text, rows = shown
    assert max(map(len, listing.listing(kernel.name).splitlines())) <= 120


def test_a_float_is_written_as_a_decimal_of_the_same_bits():
    kernel = TABLE["softmax"]
    text = ptx(kernel, lineinfo=True)
    before, after = (re.findall(r"[^\s,;]+", body) for body in (text[text.index("\n{") + 2 : text.rindex("}")],
                                                                listing.readable(kernel, text)))
    floats = [(word[2:], said) for word, said in zip(before, after, strict=True) if re.fullmatch("0f[0-9A-F]{8}", word)]
    assert len(floats) > 5
    assert all(f"{np.float32(said).view(np.uint32):08X}" == bits for bits, said in floats)


def test_an_instruction_stands_beside_its_line():
    page = listing.listing("add")
    kernel = TABLE["add"]
    lines, first = inspect.getsourcelines(kernel.function)
    number = next(n for n, line in enumerate(lines, first) if "factor * b[i]" in line)
    of_line = re.search(rf"(?m)^ *{number} .*\n((?: +\|.*\n)*)", page)
    assert "fma.rn.f32" in of_line[0] and "st.global.f32" in of_line[0] and page.count("fma.rn.f32") == 1


@pytest.mark.parametrize("kernel", TABLE.values(), ids=TABLE.keys())
def test_every_parameter_has_its_name(kernel):
    assert len(list(listing.parameters(kernel))) == len(re.findall(r"(?m)^\s*\.param", ptx(kernel)))


def test_an_array_comes_as_its_fields():
    assert list(listing.parameters(TABLE["scale"]))[:9] == [
        "a.meminfo", "a.parent", "a.size", "a.itemsize", "a.data", "a.shape[0]", "a.strides[0]", "factor", "out.meminfo"]


@pytest.mark.parametrize("arch", [80, 90])
def test_the_heading_has_what_ptxas_says(arch):
    """Of the kernel as it goes to a card: with `.loc` in it, this one takes more registers."""
    cc = divmod(arch, 10)
    made = assemble(ptx(TABLE["product_nn_128"], cc), cc)
    heading = listing.listing("product_nn_128", arch).partition("\n\n")[0]
    assert f"sm_{arch}, blocks of 256 threads, {made.shared:,} bytes of shared memory" in heading
    assert f"{made.registers} registers a thread, {made.spilled} bytes spilled, {made.stack} bytes of stack" in heading


@pytest.mark.parametrize(("problem", "reason"), [
    (FileNotFoundError("there is no ptxas here"), "there is no ptxas here"),
    (RuntimeError("ptxas: it\nfailed"), "ptxas: it failed"),
    (RuntimeError("ptxas: ptxas x.ptx, line 9; fatal   : Unsupported .version 9.5\nptxas fatal   : aborted"),
     "Unsupported .version 9.5"),
])
def test_without_ptxas_the_page_is_the_same(monkeypatch, problem, reason):
    def fail(text, cc):
        raise problem

    whole = listing.listing("add").splitlines()
    monkeypatch.setattr(listing, "assemble", fail)
    page = listing.listing("add").splitlines()
    assert page[2] == "registers and spills are for ptxas to say: " + reason
    assert page[:2] + page[3:] == whole[:2] + whole[3:]


def test_all_kernels_are_listed_with_their_budgets(capsys):
    assert cli.main(["ptx"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TABLE)
    for line, kernel in zip(lines, TABLE.values(), strict=True):
        assert f"<= {kernel.registers} " in f"{line} " and len(line) <= 120


def test_the_command_prints_a_kernel_for_the_card_it_is_told(capsys):
    assert cli.main(["ptx", "add", "--arch", "90"]) == 0
    assert capsys.readouterr().out == listing.listing("add", 90) + "\n"


@pytest.mark.parametrize(("arguments", "says"), [
    (["ad"], "there is no kernel 'ad'; do you mean add"),
    (["ADD"], "there is no kernel 'ADD'; do you mean add"),
    (["dense"], "there is no kernel 'dense'; `ffnp ptx` lists all"),
    (["product_nn_256"], "there is no kernel 'product_nn_256'; do you mean product_nn_"),
    (["add", "--arch", "12"], "--arch must be one of 75, 80"),
])
def test_what_does_not_exist_is_named_with_what_does(arguments, says, capsys):
    assert cli.main(["ptx", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"ffnp: {says}")


def test_without_the_compilers_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(missing, "compilers", lambda: "there are none")
    assert cli.main(["ptx", "add"]) == 2
    assert capsys.readouterr().err == "ffnp: kernels cannot be compiled here: there are none\n"
