"""What others call says what it takes and what it gives."""

import ast
from pathlib import Path

import pytest

import ice_lightning

ROOT = Path(ice_lightning.__file__).parent
FILES = [path for path in ROOT.rglob("*.py") if "conf" not in path.relative_to(ROOT).parts]
TREES = {path: ast.parse(path.read_text()) for path in FILES}
BOTH = 2
"""From so many parameters on names alone don't say it."""


def imported():
    """Names that another file of the package imports, or a package exports."""
    return {
        alias.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ice_lightning")
        for alias in node.names
    }


def parameters(function):
    args = function.args
    return [each.arg for each in (*args.posonlyargs, *args.args, *args.kwonlyargs)]


NAMES = imported()
CALLED = [
    pytest.param(node, id=f"{path.relative_to(ROOT)}:{node.name}")
    for path, tree in TREES.items()
    for node in tree.body
    if isinstance(node, ast.FunctionDef) and node.name in NAMES and len(parameters(node)) >= BOTH
]


@pytest.mark.parametrize("function", CALLED)
def test_a_function_that_other_files_call_says_what_its_arguments_are(function):
    text = ast.get_docstring(function) or ""
    described = text.partition("Args:\n")[2]
    missing = [name for name in parameters(function) if f"    {name}:" not in described]
    assert not missing, f"Args of {function.name} lack {missing}"
