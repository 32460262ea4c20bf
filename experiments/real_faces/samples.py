"""Does the student draw faces? Its samples beside the teacher's, and how far they are from them.

    python experiments/real_faces/samples.py

Writes samples.png and samples.json: Frechet distances to 2,000 pictures of the teacher, of the student, of 2,000 other
people of the teacher (what chance does), and of the package's own generator at the same side.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from dcgan import load
from fidelity import SEED, Fidelity

from ice_lightning import load_generator
from ice_lightning.checks import IceError, problem
from ice_lightning.files import write_bytes, write_json
from ice_lightning.metrics import frechet
from ice_lightning.ops.sampling import resize
from ice_lightning.reports import figures

HERE = Path(__file__).parent
COLUMNS, SHOWN = 10, 6_000_000


@torch.no_grad()
def main() -> int:
    """Draw and measure; the exit status."""
    try:
        teacher, student = load(), load_generator(HERE / "student.safetensors")
        fidelity = Fidelity.of(teacher)
        if fidelity is None:
            raise problem("face-api's recognition network", "none", "run `make real-faces`, which fetches it")
    except IceError as error:
        print(error, file=sys.stderr)
        return 2
    z = teacher.sample(2 * COLUMNS, SHOWN).split(COLUMNS)
    pictures = [
        (name, draw(part).clamp(0, 1)) for part in z for name, draw in (("teacher", teacher), ("student", student))
    ]
    write_bytes(
        HERE / "samples.png",
        figures.png(figures.rows(pictures, "The first twenty people, drawn by each from the same z")),
    )
    distance, floor = fidelity(student)
    zoo = load_generator("embedded")
    drawn = fidelity.fitted(lambda z: resize(zoo(z), teacher.resolution), zoo.sample(fidelity.people, SEED))
    assert fidelity.true is not None
    found = {"student": distance, "teacher": floor, "embedded": float(frechet(fidelity.true, drawn))}
    write_json(HERE / "samples.json", {name: round(value, 5) for name, value in found.items()}, indent=1)
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
