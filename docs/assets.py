"""Make the pictures of README and docs from the runs that they show.

    python docs/assets.py                # all of them
    python docs/assets.py traversal.png  # some

Runs are kept under outputs/assets; delete that folder to start anew.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

DOCS, KEPT = Path(__file__).parent, Path("outputs/assets")

RUNS = {
    "skin_color": "criterion=skin_color",
    "hair_color": "criterion=hair_color",
    "hair_film": f"task=traverse subspace={KEPT}/hair_color traverse.frames=24",
    "spaces": "experiment=space_comparison criterion=skin_color",
}
"""What is run, by the name of its folder; an earlier one may be needed by a later one."""

PICTURES = {
    "traversal.png": ("skin_color", "traversal.png"),
    "people.png": ("hair_color", "people.png"),
    "hair_color.gif": ("hair_film", "direction0.gif"),
    "comparison.png": ("spaces", "comparison.png"),
}
"""Each picture: the run that leaves it, and its name there."""

NEEDS = {"hair_film": "hair_color"}
"""Which run a run reads."""


def made(run: str, last: str) -> Path:
    """The folder of a run, which is run now unless it has left its last file before."""
    folder = KEPT / run
    if not (folder / last).is_file():
        if run in NEEDS:
            made(NEEDS[run], "metrics.json")
        where = [f"hydra.{kind}.dir={folder}" for kind in ("run", "sweep")]
        where += ["ckpt_path=last"] if (folder / "last.ckpt").is_file() else []
        subprocess.run([sys.executable, "-m", "ice_lightning.run", *shlex.split(RUNS[run]), *where], check=True)
    return folder


def main(names: list[str]) -> None:
    """Make some pictures, or all."""
    for name in names or PICTURES:
        run, file = PICTURES[name]
        shutil.copyfile(made(run, file) / file, DOCS / name)
        print(f"{name}: python -m ice_lightning.run {RUNS[run]}")


if __name__ == "__main__":
    main(sys.argv[1:])
