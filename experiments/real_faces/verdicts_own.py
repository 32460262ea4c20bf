"""Do own directions, or held moves, change what "happy" and "male" look at? The same people, judged three times.

    python experiments/real_faces/verdicts_own.py [happy male] [--people 150] [--kinds average own held]

Finds the presets anew with what people's own searches begin with, explains along average, own and held own directions
of student_z, and judges each against the same random subspaces: verdicts_own.json. What is there isn't done again.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from subspaces import GENERATORS, PRESETS, WORK, changes
from verdicts import CLASSIFIERS, classifier

from ice_lightning.files import write_json
from ice_lightning.launch import keep_freed_memory
from ice_lightning.run import run
from ice_lightning.subspace import FILE
from ice_lightning.tasks.base import Result

HERE, GENERATOR = Path(__file__).parent, "student_z"
KINDS = {"average": ("local=false",), "own": ("local=true",), "held": ("local=true", "held=true")}
CONTROLS = "explain.controls={subspaces: 20, weights: false, unrestricted: false}"
KEPT = ("criterion", "rate", "interval", "of", "effort", "clean", "held", "own_directions", "counts", "p")


def ran(*settings: str) -> Result:
    """A run with these settings."""
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        cfg = compose("config", list(settings))
    return run(cfg)


def found(preset: str) -> Path:
    """The folder of a preset's subspace, which is searched where it isn't there."""
    folder = WORK / "with_charges" / GENERATOR / preset
    if not (folder / FILE).is_file():
        settings = [f"criterion={preset}", "criterion.rank=8", "solver=exact", "faces=landmarks", "logger=none"]
        more = [*GENERATORS[GENERATOR], *changes(GENERATOR, preset), f"run_dir={folder}"]
        print(ran(*settings, *more).message, flush=True)
    return folder


def judged(name: str, kind: str, presets: list[str], people: int) -> dict[str, Any]:
    """What a classifier's verdict says along directions of a kind."""
    runs = WORK / f"explained_{GENERATOR}_{kind}" / name
    for preset in presets:
        settings = [
            "task=explain", *GENERATORS[GENERATOR], "faces=landmarks", "logger=none", *classifier(name), *KINDS[kind],
            CONTROLS, "explain.oracles=[]", f"explain.people={people}", f"subspace={found(preset)}",
            f"criterion={preset}", f"run_dir={runs / preset}",
        ]  # fmt: skip
        print(kind, ran(*settings).message, flush=True)
    folder = WORK / f"verdict_{GENERATOR}_{kind}" / name
    (verdict,) = ran("task=verdict", "logger=none", f"runs={runs}", f"run_dir={folder}").metrics["verdicts"]
    rows = {}
    for row in verdict["subspaces"]:
        kept = {key: row[key] for key in KEPT if key in row}
        rows[row["criterion"]] = kept | {"score": row["random"]["score"], "difference": row["random"]["difference"]}
    return {"sentence": verdict["sentence"], "subspaces": rows}


def main() -> None:
    """Every verdict that isn't in verdicts_own.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifiers", nargs="*", default=list(CLASSIFIERS))
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--people", type=int, default=150)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    args = parser.parse_args()
    keep_freed_memory()
    file = HERE / "verdicts_own.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name, kind in product(args.classifiers, args.kinds):
        if kind in results.get(name, {}):
            continue
        results.setdefault(name, {})[kind] = judged(name, kind, args.presets, args.people)
        write_json(file, results, indent=1)
        print(name, kind, results[name][kind], flush=True)


if __name__ == "__main__":
    main()
