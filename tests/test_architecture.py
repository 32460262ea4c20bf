"""Who may import whom (the layers of the package), read from the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ice_lightning"
FLOORS = """
run api explore
tasks
reports
explanation
edits
discovery faces classifiers
solvers checkpoints latents traversal counterfactuals
population criterions jacobians inversion
modules
ops loggers spaces subspace synthetic portraits launch parallel
progress
metrics files labels checks wording renamed assets
"""
"""Folders and files of the package, the roof first; imports go down only."""
RANK = {name: -floor for floor, line in enumerate(FLOORS.split("\n")) for name in line.split()}
FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in ROOT.rglob("*.py") if "conf" not in p.parts}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items() if name != "__init__"}


def imported(path):
    """Modules of the package and packages of others that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = node.module.removeprefix("ice_lightning").lstrip(".")
            for each in node.names:
                whole = f"{inner}.{each.name}".strip(".")
                yield f"{node.module}.{each.name}" if inner == node.module else whole if whole in FILES else inner
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


IMPORTS = {name: sorted(set(imported(path))) for name, path in FILES.items()}


def circles(edges):
    """Strongly connected components of more than one node (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in edges:
        if node not in index:
            visit(node)
    return found


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down_only(name):
    own = name.split(".")[0]
    for target in IMPORTS[name]:
        other = target.split(".")[0]
        if target in FILES and other != own:
            assert RANK[other] < RANK[own], f"{name} imports {target}"
        if other in {"hydra", "omegaconf"}:
            assert own in {"run", "tasks"}
        if other == "wandb":
            assert own == "loggers"


def test_there_is_no_circle_of_files_or_folders():
    assert circles({name: [t for t in targets if t in FILES] for name, targets in IMPORTS.items()}) == []
    folders = {}
    for name, targets in IMPORTS.items():
        own = name.split(".")[0]
        folders.setdefault(own, set()).update(t.split(".")[0] for t in targets if t in FILES and t.split(".")[0] != own)
    assert circles(folders) == []


def test_a_circle_is_seen():
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c"]]


def test_the_halves_take_their_networks_from_outside():
    for half in ("discovery", "explanation"):
        taken = {t.split(".")[0] for name, targets in IMPORTS.items() if name.startswith(half) for t in targets}
        assert not taken & {"checkpoints", "faces", "classifiers"}


def test_no_file_is_long():
    long = [name for name, path in FILES.items() if len(path.read_text().splitlines()) > 400]
    assert long == []


@pytest.mark.parametrize("code", ["import ice_lightning", "import ice_lightning.run"])
def test_importing_pulls_in_no_torch(code):
    check = f"{code}, sys; sys.exit(any(m in sys.modules for m in ('torch', 'pytorch_lightning')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


UNPICKLING = (
    r"\b(pickle\.loads?|Unpickler|torch\.load|torch\.jit\.load|torch\.export\.load|weights_only|joblib\.load)\("
)


def test_nothing_unpickles_but_programs_that_are_trusted():
    found = {name: re.findall(UNPICKLING, path.read_text()) for name, path in FILES.items()}
    assert {name: calls for name, calls in found.items() if calls} == {
        "classifiers": ["torch.export.load", "torch.jit.load"],
        "discovery.discover": ["torch.load"],
    }
    text = FILES["discovery.discover"].read_text()
    assert 'torch.load(checkpoint, map_location="cpu", weights_only=True)' in text, (
        "which builds no class but listed ones"
    )
