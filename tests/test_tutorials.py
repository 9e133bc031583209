"""The tutorials: each notebook is what its script makes, run once from top to bottom; run anew, both say the same, and the
solutions of the exercises hold."""

import re
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "tutorials"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))
LIMIT = 120  # seconds
NUMBER = re.compile(r"[-+]?\d[\d.,]*(e[-+]?\d+)?")

every_tutorial = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def notebook(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def prose(script):
    return "\n\n".join(cell.source for cell in jupytext.read(script).cells if cell.cell_type == "markdown")


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def outputs(cells):
    return [output for cell in code(cells) for output in cell.outputs]


def printed(cell):
    """The text of a cell's outputs with # for every number, and without spaces: what does not depend on the machine."""
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return re.sub(r"\s+", "", NUMBER.sub("#", text))


def test_there_are_twelve_from_the_first_to_the_last():
    assert [script.stem[:3] for script in SCRIPTS] == [f"{number:02}_" for number in range(1, 13)]


@every_tutorial
def test_the_notebook_has_the_cells_of_its_script(script):
    made, kept = ([(cell.cell_type, cell.source) for cell in cells]
                  for cells in (jupytext.read(script).cells, notebook(script).cells))
    assert kept == made


@every_tutorial
def test_the_notebook_was_run_once_from_top_to_bottom(script):
    cells = notebook(script).cells
    assert [cell.execution_count for cell in code(cells)] == list(range(1, 1 + len(code(cells))))
    assert {output.get("name", "stdout") for output in outputs(cells)} == {"stdout"}
    assert not any(output.output_type == "error" for output in outputs(cells))


@every_tutorial
def test_it_has_pictures_and_says_nothing_of_a_machine(script):
    found = outputs(notebook(script).cells)
    shown = [output.data for output in found if "data" in output]
    assert shown and all("image/png" in data for data in shown)
    assert not re.search(r"site-packages|/(home|root|tmp|usr|opt)/", "".join(output.get("text", "") for output in found))


@every_tutorial
def test_it_has_the_form_of_a_tutorial(script):
    text, number = prose(script), int(script.stem[:2])
    head, *_ = text.split("\n\n## ")
    assert head.startswith(f"# {number} · ") and "**Question.**" in head and "**At the end you will know**" in head
    assert "$$" in text and "## Verify it yourself against torch" in text and "## Exercises" in text
    assert text.count("<details><summary>Solution</summary>") in (2, 3) and len(solutions(text)) >= 2


@every_tutorial
def test_what_it_links_to_is_there(script):
    links = re.findall(r"\]\((?!http)(.*?)\)", re.sub(r"```.*?```", "", prose(script), flags=re.DOTALL))
    assert number_of_the_next(script) in "".join(links)
    assert all((FOLDER / link).exists() for link in links)


def number_of_the_next(script):
    """The beginning of the next tutorial's name; the last one leads back to the first or to none."""
    number = int(script.stem[:2])
    return f"{number + 1:02}_" if number < len(SCRIPTS) else ""


def solutions(text):
    """The Python blocks of folded solutions."""
    folded = "\n".join(re.findall(r"<details>.*?</details>", text, re.DOTALL))
    return re.findall(r"```python\n(.*?)```", folded, re.DOTALL)


@pytest.mark.tutorials
@every_tutorial
def test_it_runs_and_says_what_the_notebook_says(script):
    """All of it, solutions too, in two minutes; numbers may differ."""
    start, fresh, kept = time.perf_counter(), jupytext.read(script), notebook(script).cells
    fresh.cells += [nbformat.v4.new_code_cell(block) for block in solutions(prose(script))]
    NotebookClient(fresh, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
    seconds = time.perf_counter() - start
    print(f"{script.stem}: {seconds:.0f} s")
    assert seconds < LIMIT
    assert [printed(cell) for cell in code(fresh.cells[: len(kept)])] == [printed(cell) for cell in code(kept)]
