"""What there is to choose from, a line each, read from the configuration; nothing heavy is imported for it."""

from __future__ import annotations

from pathlib import Path

import yaml
from omegaconf import DictConfig

from ice_lightning.spaces import SPACES
from ice_lightning.tasks.base import Result


def described(folder: Path) -> dict[str, str]:
    """Name and line of each file of a group of the configuration: its `description`, else its first comment."""
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text()
        first = text.splitlines()[0]
        description = (yaml.safe_load(text) or {}).get("description")
        found[file.stem] = description or (first.removeprefix("#").strip() if first.startswith("#") else "")
    return found


def listing(folder: Path) -> str:
    """Presets, published presets, classifiers, face models, ways to search, and spaces.

    Args:
        folder: of the configuration.
    """
    groups = {
        "criterion=": described(folder / "criterion"),
        "criterion=paper/": described(folder / "criterion" / "paper"),
        "classifier=": described(folder / "classifier"),
        "faces=": described(folder / "faces"),
        "counterfactual=": described(folder / "counterfactual"),
        "solver=": described(folder / "solver"),
        "space=": SPACES,
    }
    width = max(len(name) for group in groups.values() for name in group)
    blocks = [
        "\n".join([title, *(f"  {name:{width}}  {line}" for name, line in group.items())])
        for title, group in groups.items()
    ]
    return "\n\n".join(blocks)


def choices(cfg: DictConfig) -> Result:
    """Presets, classifiers, face models, spaces: a line each."""
    from importlib.resources import files

    from ice_lightning.tasks.list import listing

    return Result(Path(cfg.run_dir), {}, listing(Path(str(files("ice_lightning.conf")))))
