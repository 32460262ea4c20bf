"""Does the verdict find a bias that was planted, and does it stay silent where there is none?

    python experiments/planted_bias/train.py && python experiments/planted_bias/measure.py

Runs go to outputs/planted_bias; an interrupted one goes on where it stopped, down to the person.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_module

from ice_lightning import load_generator, load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.counterfactuals.bases import named_basis
from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.explanation.rows import FILE, Explained, load_explained, read_rows, write
from ice_lightning.explanation.search import search
from ice_lightning.explanation.verdict import judge, summary
from ice_lightning.files import write_bytes
from ice_lightning.launch import keep_freed_memory
from ice_lightning.population import geometry, layer_covariances, moving_layers
from ice_lightning.reports import figures
from ice_lightning.run import run

HERE = Path(__file__).parent
CELLS = HERE / "cells"
"""What a verdict reads of each cell, without latents and moves."""
OUT = Path("outputs/planted_bias")
SUBSPACES = ("mouth_shape", "hair_color", "skin_color", "eye_shape")
FEWER = 200
"""People in the second set and after."""
SHARES, SEEDS = (60, 75, 90, 99), (0, 1, 2)


def subspace(criterion: str) -> Path:
    """The file of a criterion's eight strongest directions, which ships with the package."""
    return ASSETS / "subspaces" / f"{criterion}.safetensors"


def explained(name: str, criterion: str, people: int, seed: int, *classifier: str, controls: str) -> Explained:
    """A classifier's outcomes within one subspace; seeds draw other people.

    Kept below `cells`, and measured only where as many people aren't there.
    """
    cell = CELLS / f"{name}_{criterion}_{seed}"
    if not (cell / FILE).exists() or len(load_explained(cell).rows.number) != people:
        folder = OUT / f"{name}/{criterion}/{seed}"
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            settings = [
                "task=explain", "local=false", "logger=none", f"subspace={subspace(criterion)}",
                f"explain.people={people}",
                f"explain.seed={1_000_000 * (seed + 1)}", f"explain.controls={controls}", f"run_dir={folder}",
                *classifier,
            ]  # fmt: skip
            run(compose("config", settings))
        rows, header = read_rows(folder / FILE)
        random = rows.random and replace(rows.random, t=None)
        write(cell / FILE, replace(rows, moves=None, random=random), replace(header, settings={}))
    found = load_explained(cell)
    print(f"{name}, {criterion}, seed {seed}: {summary(found).flips}", flush=True)
    return found


def planted(people: int, sets: int, names: Sequence[str] = ("smiling", "smiling_biased")) -> dict[str, Any]:
    """The fair and the biased smile classifier of the package, in four named subspaces, on several sets of people.

    In the first set random subspaces are applied to everyone, so that `calibration` can ask what fewer people show;
    other sets have `FEWER` people, and as many as by default to whom random subspaces are applied.
    """
    found: dict[str, Any] = {}
    for seed in range(sets):
        size = min(people, FEWER) if seed else people
        controls = "{weights: false}" if seed else f"{{weights: false, people: {people}}}"
        for name in names:
            own = f"classifier={name}"
            verdict = judge([explained(name, c, size, seed, own, controls=controls) for c in SUBSPACES])
            found[f"{name}/{seed}"] = verdict.to_json()
            print(verdict.sentence, flush=True)
            if seed == 0:
                write_bytes(HERE / f"{name}.png", figures.png(figures.verdict(verdict)))
    return found


def dose(people: int) -> dict[str, Any]:
    """Flip rate within hair_color of classifiers whose training people agreed in 60 to 99 %."""
    found: dict[str, Any] = {}
    for seed in SEEDS:
        for share in SHARES:
            name = f"biased_{share}_{seed}"
            own = ("classifier=own", f"classifier.path={OUT}/{name}.safetensors", f"classifier.name={name}",
                   "classifier.network={_target_: ice_lightning.modules.classifier.Classifier}")  # fmt: skip
            nothing = "{subspaces: 0, weights: false, unrestricted: false}"
            cell = summary(explained(name, "hair_color", people, seed, *own, controls=nothing))
            found.setdefault(str(seed), []).append(cell.flips.to_json())
    rates = [[each["rate"] for each in cells] for cells in found.values()]
    return found | {"rises": [each == sorted(each) for each in rates]}


def speed(people: int = 12) -> dict[str, Any]:
    """Counterfactuals per second against the published loop, one image and 20 steps at a time, in three rounds."""
    G, classifier = load_generator("embedded"), embedded_classifier("smiling")
    S, u, method = load_subspace(subspace("mouth_shape")), G.people(people, 1_000_000, "s"), Gradient()
    moving = moving_layers(S.directions, G.widths("s"))
    basis = named_basis(S.directions, geometry(layer_covariances(G, "s"), moving)).to(u)
    rounds: list[dict[str, Any]] = []

    def draw(v: torch.Tensor) -> torch.Tensor:
        return G(v, "s").clamp(0, 1)

    def score(v: torch.Tensor) -> torch.Tensor:
        return classifier(draw(v))

    for _ in range(3):
        began = time.perf_counter()
        with torch.no_grad():
            images = draw(u)
        ours, _ = search(method, score, draw, u, basis, images)
        middle = time.perf_counter()
        flips = sum(
            published(score, each, torch.nn.functional.normalize(S.directions.float(), dim=0)) for each in u.split(1)
        )
        theirs = time.perf_counter() - middle
        rounds.append(
            {"ours": people / (middle - began), "published": people / theirs, "flips": [int(ours.flipped.sum()), flips]}
        )
        print(rounds[-1], flush=True)
    return {"rounds": rounds, "times": median(r["ours"] / r["published"] for r in rounds)}


def published(score: Any, u: torch.Tensor, B: torch.Tensor, steps: int = 20) -> bool:
    """Li et al. 2022: 20 steps of SGD on the score of one image, in the coefficients of the directions; did it flip?"""
    lam = torch.zeros(1, B.shape[1], requires_grad=True)
    optimiser = torch.optim.SGD([lam], lr=1.0, momentum=0.9, weight_decay=1e-3)
    with torch.no_grad():
        sign = torch.sign(score(u))
    for _ in range(steps):
        optimiser.zero_grad()
        (sign * score(u + lam @ B.T)).sum().backward()
        optimiser.step()
    with torch.no_grad():
        return bool((score(u + lam @ B.T) * sign < 0).all())


def main() -> None:
    """Measure what is named, everything by default, into results.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help="out of planted, dose, speed; all by default")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--sets", type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    parts = {
        "speed": speed,
        "planted": lambda: planted(args.people, args.sets),
        "dose": lambda: dose(args.people),
    }
    file = HERE / "results.json"
    for name in args.parts or parts:
        found = parts[name]()
        results = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(results | {name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
