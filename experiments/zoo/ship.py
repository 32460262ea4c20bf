"""Finds the subspaces that ship with the package, under the default settings of explanations.

    python experiments/zoo/ship.py hair_color mouth_shape skin_color eye_shape

Whoever explains a classifier on the embedded generator then needn't look for them first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hydra import compose, initialize_config_module

from ice_lightning import load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.launch import keep_freed_memory
from ice_lightning.run import run

KEPT = 8
"""The strongest directions, as many as an explanation takes by default."""


def main() -> None:
    """Find each criterion's subspace and keep its strongest directions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("criterions", nargs="+")
    keep_freed_memory()
    for name in parser.parse_args().criterions:
        folder = Path("outputs/shipped") / name
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            run(compose("config", ["geometry=population", f"criterion={name}", "logger=none", f"run_dir={folder}"]))
        load_subspace(folder).strongest(KEPT).save(ASSETS / "subspaces" / f"{name}.safetensors")


if __name__ == "__main__":
    main()
