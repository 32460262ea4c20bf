"""Does each preset of the zoo change what its name says, and nothing else? On 64 people that no search has seen.

python experiments/zoo/measure.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from discover import discover, presets
from readings import People, come_along, reach, true_moves, verdict
from torch import Tensor

from ice_lightning import load_generator, load_subspace
from ice_lightning.discovery.module import Discovery
from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.files import write_bytes, write_json
from ice_lightning.reports import figures
from ice_lightning.subspace import FILE, Subspace
from ice_lightning.synthetic import FACTORS
from ice_lightning.traversal import traverse

HERE = Path(__file__).parent
PASSING = (
    "yaw pitch roll light_direction smile mouth_openness eye_openness gaze_x gaze_y brow_height brow_angle "
    "background_hue background_light clothes_hue clothes_light"
).split()
"""Factors that change while the person stays the same: the identity network was trained so."""
EYES, MOUTH = ["eye width", "eye opening"], ["mouth width", "mouth opening", "smile", "lip fullness"]
MOUTH_FACTORS = ["mouth_width", "mouth_openness", "smile", "lip_fullness"]
LIPS, EYEBALLS = ["u_lip pixels", "l_lip pixels"], ["l_eye pixels", "r_eye pixels"]


class Meaning(NamedTuple):
    """What a preset's name means: its own readings, and the true factors that it may move with all they move."""

    own: list[str]
    factors: list[str]


PRESETS = {
    "background": Meaning(["background pixels"], ["background_hue", "background_light"]),
    "skin_color": Meaning([f"{r} pixels" for r in ("skin", "nose", "neck")], ["skin_tone", "skin_warmth"]),
    "skin_texture": Meaning(["texture"], ["texture"]),
    "hair_color": Meaning(["hair pixels"], ["hair_colour", "hair_warmth"]),
    "hair_photometry": Meaning(["hair pixels", "hair area"], ["hair_colour", "hair_warmth", "hair_length", "fringe"]),
    "lip_color": Meaning(LIPS, ["lip_colour"]),
    "mouth_shape": Meaning(MOUTH, MOUTH_FACTORS),
    "mouth_photometry": Meaning([*MOUTH, *LIPS, "mouth pixels"], [*MOUTH_FACTORS, "lip_colour"]),
    "nose_shape": Meaning(["nose length", "nose width"], ["nose_length", "nose_width"]),
    "nose_photometry": Meaning(["nose length", "nose width", "nose pixels"], ["nose_length", "nose_width"]),
    "eye_color": Meaning(EYEBALLS, ["iris_colour"]),
    "eye_shape": Meaning(EYES, ["eye_size", "eye_openness"]),
    "eye_photometry": Meaning(
        [*EYES, *EYEBALLS, "gaze_x", "gaze_y", "glasses"],
        ["eye_size", "eye_openness", "iris_colour", "gaze_x", "gaze_y", "glasses"],
    ),
    "gaze": Meaning(["gaze_x", "gaze_y"], ["gaze_x", "gaze_y"]),
    "brow_shape": Meaning(["brow height", "brow slant", "brow area"], ["brow_height", "brow_angle", "brow_thickness"]),
    "face_boundary": Meaning(["face width", "jaw width", "face length"], ["face_width", "face_length", "jaw"]),
    "pose": Meaning(["yaw", "pitch", "roll"], ["yaw", "pitch", "roll"]),
    "identity": Meaning(["identity"], [name for name in FACTORS if name not in PASSING]),
}
SIGMAS = 0.5
"""How far the own reading that moves most is moved, in standard deviations of the population."""
STEPS = (-1.5, -0.75, 0.0, 0.75, 1.5)
"""Strengths that are drawn, by what SIGMAS took."""
DIRECTIONS, RANDOM, SHOWN = 2, 20, 4_000_000


@torch.no_grad()
def measure(people: People, V: Tensor, own: list[str], along: dict[str, float]) -> list[dict[str, Any]]:
    """The first directions (n, k), each either way, at the strength where the own reading moves by SIGMAS."""
    rows: list[dict[str, Any]] = []
    for v in V.float().T[:DIRECTIONS]:
        strength = reach(lambda t, v=v: max(people.along(v, t)[k] for k in own), SIGMAS)  # type: ignore[misc]
        row: dict[str, Any] = {"strength": round(strength, 3)}
        for side, sign in (("plus", 1), ("minus", -1)):
            moved = people.along(v, sign * strength)
            row[side] = verdict(moved, own, along) | {"readings": {k: round(x, 3) for k, x in moved.items()}}
        rows.append(row)
    return rows


@torch.no_grad()
def random_moves(people: People, rms: float = 0.03) -> list[dict[str, float]]:
    """Readings along random directions of a given change of the whole image: the control of every preset."""
    draw, original, moves = torch.Generator().manual_seed(0), people.draw(people.u), []
    for _ in range(RANDOM):
        v = torch.nn.functional.normalize(torch.randn(people.u.shape[1], generator=draw), dim=0)

        def changed(t: float, v: Tensor = v) -> float:
            return (people.draw(people.u + t * v) - original).square().mean().sqrt().item()

        moves.append(people.along(v, reach(changed, rms)))
    return moves


def draw_directions(people: People, subspace: Subspace, name: str, strengths: list[float]) -> tuple[bytes, Tensor]:
    """Two other people along each of the first directions, as a PNG, and the first of them along the first one."""
    G, rows, labels = people.G, [], []
    u = G.convert(G.sample(24, SHOWN)[[23, 18]], "z", subspace.space)
    for index, strength in enumerate(strengths):
        steps = [strength * sigmas / SIGMAS for sigmas in STEPS]
        rows.append(traverse(G, subspace, u, steps, index))
        labels += [f"direction {index}", ""]
    images = torch.cat(rows)
    headings = [f"{sigmas:+g} sd" if sigmas else "original" for sigmas in STEPS]
    title = f"{name.replace('_', ' ')}: the first directions, on two people whom no search has seen"
    return figures.png(figures.traversal(images, headings, title, labels)), images[0][[0, 2, 4]]


def main() -> None:
    """Discover what isn't in --work yet, measure and draw all; write results.json, pictures, overview."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=list(PRESETS))
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/zoo"), help="subspaces found here aren't sought again"
    )
    args = parser.parse_args()

    def save(name: str, module: Discovery, seconds: float) -> None:
        (args.work / name).mkdir(parents=True, exist_ok=True)
        facts = {"people": module.people_used, "seconds": round(seconds, 1), "leakage": module.metrics.leakage}
        Subspace(module.result.vectors, module.result.values, module.space, facts).save(args.work / name / FILE)
        print(f"{name}: rank {module.metrics.rank}, {seconds:.0f} s", flush=True)

    if missing := [name for name in args.presets if not (args.work / name / FILE).exists()]:
        discover(load_generator("embedded"), embedded_faces(), presets(missing), save)
    people, file = People(), HERE / "results.json"
    truth, chance = true_moves(people, FACTORS), random_moves(people)
    results = json.loads(file.read_text()) if file.exists() else {}
    tiles: dict[str, Tensor] = {}
    for name in args.presets:
        subspace = load_subspace(args.work / name)
        own, factors = PRESETS[name]
        along = come_along(own, factors, truth)
        rows = measure(people, subspace.directions, own, along)
        controls = sorted(verdict(moves, own, along)["ratio"] for moves in chance)
        results[name] = {
            "rank": subspace.directions.shape[1],
            **subspace.provenance,
            "own": own,
            "come_along": {k: round(share, 3) for k, share in along.items()},
            "directions": rows,
            "random_ratio_median": controls[RANDOM // 2],
            "random_ratio_max": controls[-1],
        }
        write_json(file, results, indent=1)
        picture, tiles[name] = draw_directions(people, subspace, name, [row["strength"] for row in rows])
        write_bytes(HERE / "pictures" / f"{name}.png", picture)
        sides = [rows[0][side] for side in ("plus", "minus")]
        print(name, *((s["target"], s["ratio"], s["others"]) for s in sides), flush=True)
    if len(tiles) == len(PRESETS):
        title = "The strongest direction of every preset, at -1.5, 0 and +1.5 standard deviations"
        write_bytes(HERE / "overview.png", figures.png(figures.overview(tiles, title)))


if __name__ == "__main__":
    main()
