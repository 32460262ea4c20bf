"""What do two classifiers that nobody here trained look at? face-api's "happy" and its gender, on the student's faces.

    python experiments/real_faces/verdicts.py [happy male] [--presets lip_color ...] [--generator student_w]

Explains each in the subspaces that subspaces.py has found, with a random control, and judges: verdicts.json, a picture
for each classifier, and the page in outputs/real_faces/verdict_GENERATOR. What is there isn't done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from hydra import compose, initialize_config_module
from subspaces import DEVICE, GENERATORS, PRESETS, WORK

from ice_lightning.files import cached, write_json
from ice_lightning.launch import keep_freed_memory
from ice_lightning.run import run

HERE = Path(__file__).parent
CLASSIFIERS = {
    "happy": ("expression", "Expression", 1),
    "male": ("age_gender", "AgeGender", 0),
}
"""Name -> file, network, class."""


def classifier(name: str) -> list[str]:
    """The overrides of a classifier."""
    file, network, target = CLASSIFIERS[name]
    return [
        "classifier=own",
        f"classifier.name={name}",
        f"classifier.path={cached(f'{file}.safetensors')}",
        f"+classifier.network._target_=ice_lightning.modules.face_api.{network}",
        "classifier.kind=multiclass",
        f"classifier.target={target}",
    ]


def main() -> None:
    """Explain and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifiers", nargs="*", default=list(CLASSIFIERS))
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--generator", default="student_z", choices=list(GENERATORS))
    parser.add_argument("--people", type=int, default=300)
    args = parser.parse_args()
    keep_freed_memory()
    runs = WORK / f"explained_{args.generator}"
    common = [
        *GENERATORS[args.generator],
        "faces=landmarks",
        "logger=none",
        "explain.controls.weights=false",
        "local=false",
    ]
    common += ["explain.oracles=[]", f"explain.people={args.people}", f"trainer={'gpu' if DEVICE == 'cuda' else 'cpu'}"]
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        for name in args.classifiers:
            for preset in args.presets:
                found = WORK / args.generator / preset
                own = [f"subspace={found}", f"run_dir={runs / name / preset}", f"criterion={preset}"]
                print(run(compose("config", ["task=explain", *common, *classifier(name), *own])).message, flush=True)
        folder = WORK / f"verdict_{args.generator}"
        judged = run(compose("config", ["task=verdict", "logger=none", f"runs={runs}", f"run_dir={folder}"]))
    verdicts, file = judged.metrics["verdicts"], HERE / "verdicts.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    write_json(file, known | {args.generator: verdicts}, indent=1)
    for each in verdicts:
        picture = f"verdict_{each['classifier']}"
        shutil.copyfile(folder / f"{picture}.png", HERE / f"{picture}_{args.generator}.png")
    print(judged.message)


if __name__ == "__main__":
    main()
