"""The notebooks of the documentation: every cell runs, and says what the committed outputs and the text around say."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def load(name):
    """A script of the folder as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(notebook):
    """What all cells have printed or said of their values, without the pictures."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    data = [each.get("data", {"text/plain": each.get("text")}) for each in outputs]
    texts = ["".join(each.get("text/html") or each["text/plain"]) for each in data]
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", "\n".join(texts))


def close(one, other):
    """Whether two texts are the same words, with numbers that differ by a hundredth or a unit of the last digit."""
    number = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    assert re.sub(number, "#", one) == re.sub(number, "#", other)
    for a, b in zip(re.findall(number, one), re.findall(number, other), strict=True):
        unit = 10.0 ** -len(a.partition(".")[2].partition("e")[0]) if "e" not in a else 0.1 * abs(float(a))
        assert float(a) == pytest.approx(float(b), rel=1e-2, abs=1.01 * unit), (a, b)
    return True


@pytest.mark.parametrize(
    "path",
    [pytest.param(each, marks=[pytest.mark.slow] if each.stem == "audit" else []) for each in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_says_again_what_it_said(path, monkeypatch):
    monkeypatch.chdir(FOLDER)
    committed, again = (json.loads(path.read_text()) for _ in "12")
    names = load("execute").execute(again)
    assert close(printed(committed), printed(again))
    if path.stem == "audit":
        (biased,) = [each for each in committed["cells"] if "smiling_biased_*" in "".join(each["source"])]
        assert "smiling_biased flips with hair color for 86 %" in "".join(biased["outputs"][0]["data"]["text/html"])
        assert [each.criterion for each in names["fair"].subspaces if each.counts] == ["mouth_shape"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_whole_and_in_order(path):
    notebook = json.loads(path.read_text())
    assert path.stat().st_size < 600_000
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_a_page_shows_source_and_outputs():
    cells = [
        {"cell_type": "markdown", "source": ["# A title\n", "\n", "Words."]},
        {"cell_type": "code", "source": ["print(1)\n", "2"]},
    ]
    notebook = {"cells": cells}
    names = load("execute").execute(notebook)
    assert [each["output_type"] for each in cells[1]["outputs"]] == ["stream", "execute_result"]
    page = load("pages").page_of(notebook, "a.ipynb")
    assert page.startswith("# A title\n\nThis page is [a notebook](a.ipynb), executed.\n\nWords.\n")
    assert "```python\nprint(1)\n2\n```\n\n```text\n1\n```\n\n```text\n2\n```" in page
    assert names["__name__"] == "__notebook__"
