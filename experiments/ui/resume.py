"""Does a sweep that is killed, then started again, end in one complete verdict?

    python experiments/ui/resume.py

Two classifiers and four criterions, a few people each; SIGKILL once a few jobs have ended and one is half done.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CLASSIFIERS, CRITERIONS = ("smiling", "smiling_biased"), ("mouth_shape", "hair_color", "skin_color", "eye_shape")


def main() -> None:
    """Sweep, kill, sweep again, and look at the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--folder", type=Path, default=Path("outputs/resume"))
    parser.add_argument("--after", type=int, default=3, help="finished jobs before the kill")
    args = parser.parse_args()
    command = [
        *(
            sys.executable,
            "-m",
            "ice_lightning.run",
            "-m",
            "task=explain",
            "local=false",
            f"classifier={','.join(CLASSIFIERS)}",
        ),
        *(f"criterion={','.join(CRITERIONS)}", f"explain.people={args.people}", f"hydra.sweep.dir={args.folder}"),
    ]

    def finished() -> dict[str, float]:
        return {file.parent.name: file.stat().st_mtime for file in args.folder.glob("*/metrics.json")}

    began = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and not (
        len(finished()) == args.after and list(args.folder.glob(f"{args.after}_*/people/*.safetensors"))
    ):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before, killed = finished(), time.monotonic() - began
    half = len(list(args.folder.glob(f"{args.after}_*/people/*.safetensors")))
    verdict = args.folder / "verdict.json"
    facts = {"finished before": sorted(before), "batches kept of the next": half, "verdict then": verdict.exists()}
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    judged = {each["classifier"]: each for each in json.loads(verdict.read_text())}
    facts |= {
        "searched again": [name for name, when in before.items() if finished()[name] != when],
        "said": [line for line in done.stderr.splitlines() if "done before" in line],
        "cells": {name: [part["criterion"] for part in each["subspaces"]] for name, each in judged.items()},
        "people": [part["of"] for each in judged.values() for part in each["subspaces"]],
        "sentences": [each["sentence"] for each in judged.values()],
        "seconds": [round(killed, 1), round(time.monotonic() - began, 1)],
    }
    assert {name: set(cells) for name, cells in facts["cells"].items()} == {c: set(CRITERIONS) for c in CLASSIFIERS}  # type: ignore[attr-defined]
    (HERE / "resume.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
