"""Who may import whom (the layers of the package), read from the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ice_lightning"
LAYERS = [
    {"checks", "files", "listing", "upload", "progress", "settings"},
    {"ops", "products", "operators", "metrics", "verification", "synthetic"},
    {
        "solvers", "projection", "search", "answer", "metric", "pencil", "cuts", "thresholds", "krylov",
        "subspace", "stability", "checkpoints", "modules.stylegan2",
        "modules.any_generator", "modules.fingerprint",
        "modules.parser", "modules.landmarks", "modules.identity", "modules.classifier", "modules.layers",
        "modules.faces",
        "modules.sampling", "modules.bisenet", "modules.iresnet", "modules.pretrained",
        "modules.face_api", "modules.face_recognition", "modules.landmark_regions", "modules.landmark_faces",
    },
    {
        "population", "bases", "controls", "significance",
        "criterions", "counterfactual", "spreads", "verdict", "inversion", "latents", "report", "pages", "traversal",
        "film", "explorer",
    },
    {
        "modules.discovery", "modules.explanation", "callbacks", "save_explanation", "save_comparison",
        "save_inversion", "save_traversal",
        "ranks", "tracking", "dashboard", "guard", "explore_page",
    },
    {"run", "explore"},
]  # fmt: skip
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = [p for p in ROOT.rglob("*.py") if p.name != "__init__.py"]


def name_of(path):
    """What stands in LAYERS: networks one by one, any other folder as a whole."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "modules" else parts[:1])


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_only(path):
    own = RANK[name_of(path)]
    for target in imports(path):
        if target.startswith("ice_lightning."):
            parts = target.removeprefix("ice_lightning.").split(".")
            module = ".".join(parts[: 2 if parts[0] == "modules" else 1])
            assert RANK[module] <= own, f"{name_of(path)} imports {module}"
        elif target.split(".")[0] in {"hydra", "omegaconf"}:
            assert name_of(path) == "run"
        elif target.split(".")[0] == "wandb":
            assert name_of(path) in {"tracking", "dashboard"}


@pytest.mark.parametrize("code", ["import ice_lightning", "import ice_lightning.run"])
def test_importing_pulls_in_no_torch(code):
    check = f"{code}, sys; sys.exit(any(m in sys.modules for m in ('torch', 'pytorch_lightning')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


UNPICKLING = (
    r"\b(pickle\.loads?|Unpickler|torch\.load|torch\.jit\.load|torch\.export\.load|weights_only|joblib\.load)\("
)


def test_nothing_unpickles_but_programs_that_are_trusted():
    found = {name_of(path): re.findall(UNPICKLING, path.read_text()) for path in ROOT.rglob("*.py")}
    assert {name: calls for name, calls in found.items() if calls} == {
        "modules.classifier": ["torch.export.load", "torch.jit.load"]
    }
