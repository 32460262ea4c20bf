"""What others call says what it takes and what it gives, and shows it by an example."""

import ast
from importlib import import_module
from inspect import Parameter, isclass, isfunction, signature
from pathlib import Path
from pkgutil import walk_packages

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


PACKAGES = [ice_lightning]
PACKAGES += [import_module(each.name) for each in walk_packages(ice_lightning.__path__, "ice_lightning.") if each.ispkg]
EXPORTS = {f"{home.__name__}.{name}": getattr(home, name) for home in PACKAGES for name in getattr(home, "__all__", ())}

SECONDS = "takes seconds: its example isn't run"
RESULT = "a result, which calls make"
SETTINGS = "settings, which a call takes"
FILES = "needs more files than an example has lines"
WITHOUT = {
    "discover": SECONDS,
    "explain": SECONDS,
    "invert": SECONDS,
    "at": SECONDS,
    "Discovered": RESULT,
    "Explanation": RESULT,
    "Verdict": RESULT,
    "ClassifierVerdict": RESULT,
    "SubspaceVerdict": RESULT,
    "Explained": RESULT,
    "Rows": RESULT,
    "Measurement": RESULT,
    "Proportion": RESULT,
    "Portraits": RESULT,
    "HeldMove": RESULT,
    "Moved": RESULT,
    "Path": RESULT,
    "Reach": RESULT,
    "SubspaceAt": RESULT,
    "hold": SECONDS,
    "subspace_at": SECONDS,
    "ControlSettings": SETTINGS,
    "BlockKrylov": SETTINGS,
    "FullJacobian": SETTINGS,
    "Activate": "in the example of Criterion",
    "Suppress": "in the example of Criterion",
    "convert_face_api": FILES,
    "pretrained_faces": FILES,
    "Tracker": "opens a record of Weights & Biases",
}
"""What packages export without an example that runs, and why."""


def takes(exported):
    """How many parameters a function, or a class's constructor, names."""
    if not (isfunction(exported) or isclass(exported)):
        return 0
    kinds = [each.kind for each in signature(exported).parameters.values()]
    return sum(kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for kind in kinds)


TAKING = [pytest.param(each, id=name) for name, each in EXPORTS.items() if takes(each) >= BOTH]


@pytest.mark.parametrize("exported", TAKING)
def test_what_a_package_exports_has_an_example_that_runs_or_a_reason(exported):
    name = exported.__name__
    lines = [line.strip() for line in (exported.__doc__ or "").splitlines()]
    run = any(line.startswith((">>> ", "... ")) and f"{name}(" in line for line in lines)
    assert run or name in WITHOUT, f"no example calls {name}"
    assert not (run and name in WITHOUT), f"an example calls {name}, which needs no reason any more"


def test_reasons_are_those_of_exports():
    assert WITHOUT.keys() <= {each.values[0].__name__ for each in TAKING}
