"""Does the verdict find a bias that was planted, and does it stay silent where there is none?

    python experiments/planted_bias/train.py && python experiments/planted_bias/measure.py

Runs go to outputs/planted_bias; an interrupted one goes on where it stopped, down to the person.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from hydra import compose, initialize_config_module

from ice_lightning import load_generator, load_subspace, report
from ice_lightning.checkpoints import ASSETS
from ice_lightning.counterfactual import Gradient
from ice_lightning.files import whole
from ice_lightning.modules.classifier import Classifier, embedded, reinitialised
from ice_lightning.modules.explanation import search
from ice_lightning.run import keep_freed_memory, run
from ice_lightning.spreads import deviations, matching_factor, named, random_bases
from ice_lightning.verdict import interval, load_explained, rank, summary

HERE = Path(__file__).parent
CELLS = HERE / "cells.json"
OUT = Path("outputs/planted_bias")
SUBSPACES = ("mouth_shape", "hair_color", "skin_color", "eye_shape")
SHARES, SEEDS = (60, 75, 90, 99), (0, 1, 2)


def subspace(criterion: str) -> Path:
    """The file of a criterion's eight strongest directions, which ships with the package."""
    return ASSETS / "subspaces" / f"{criterion}.safetensors"


def measured() -> dict[str, dict[str, Any]]:
    """The cells of the study that were measured before."""
    found: dict[str, dict[str, Any]] = json.loads(CELLS.read_text()) if CELLS.exists() else {}
    return found


def explained(
    name: str, criterion: str, people: int, seed: int, *classifier: str, controls: str = "[random]"
) -> dict[str, Any]:
    """What a verdict says of a classifier within one subspace, and who flips; seeds draw other people.

    Kept in cells.json, and measured only where it isn't there.
    """
    cell = f"{name}/{criterion}/{seed}"
    cells = measured()
    if cell not in cells or len(cells[cell]["flipped"]) != people:
        folder = OUT / cell
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            settings = [
                "task=explain", f"subspace={subspace(criterion)}", f"explain.people={people}", "logger=none",
                f"explain.seed={1_000_000 * (seed + 1)}", f"explain.controls={controls}", f"run_dir={folder}",
                *classifier,
            ]  # fmt: skip
            run(compose("config", settings))
        done = load_explained(folder)
        found = {key: value for key, value in summary(done).items() if key != "slices"}
        flipped = "".join("01"[int(each)] for each in done.rows["flipped"])
        cells = measured() | {cell: found | {"flipped": flipped}}  # another process may have added some meanwhile
        with whole(CELLS) as part:
            part.write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in sorted(cells.items())) + "\n}\n")
    found = cells[cell]
    by_chance = {control: round(each["rate"], 3) for control, each in found["controls"].items()}
    print(f"{name}, {criterion}, seed {seed}: {found['rate']:.3f}", by_chance, flush=True)
    return found


def planted(people: int) -> dict[str, Any]:
    """The fair and the biased smile classifier of the package, in four named subspaces, on three sets of people."""
    names = ("smiling", "smiling_biased")
    cells = {
        (name, criterion, seed): explained(name, criterion, people, seed, f"classifier={name}")
        for criterion in SUBSPACES
        for seed in SEEDS
        for name in names
    }
    found: dict[str, Any] = {}
    for seed in SEEDS:
        for name in names:
            parts = [cells[name, criterion, seed] for criterion in SUBSPACES]
            flipped = torch.tensor([[each == "1" for each in part["flipped"]] for part in parts]).T
            verdict = rank(name, parts, flipped)
            found[f"{name}/{seed}"] = {
                "order": [part["criterion"] for part in verdict["subspaces"]],
                "counts": [part["criterion"] for part in verdict["subspaces"] if part["counts"]],
                "sufficiency": verdict["sufficiency"],
                "sentence": verdict["sentence"],
            }
            if seed == 0:
                with whole(HERE / f"{name}.png") as part:
                    part.write_bytes(report.png(report.verdict(verdict)))
    found["hair_color, biased to fair"] = [
        cells["smiling_biased", "hair_color", seed]["rate"]
        / max(cells["smiling", "hair_color", seed]["rate"], 1 / people)
        for seed in SEEDS
    ]
    return found


def dose(people: int) -> dict[str, Any]:
    """Flip rate within hair_color of classifiers whose training people agreed in 60 to 99 %."""
    found: dict[str, Any] = {}
    for seed in SEEDS:
        for share in SHARES:
            name = f"biased_{share}_{seed}"
            own = ("classifier=own", f"classifier.path={OUT}/{name}.safetensors", f"classifier.name={name}",
                   "classifier.network={_target_: ice_lightning.modules.classifier.Classifier}")  # fmt: skip
            cell = explained(name, "hair_color", people, seed, *own, controls="[]")
            found.setdefault(str(seed), []).append(cell["rate"])
    return found | {"rises": [rates == sorted(rates) for rates in found.values()]}


def false_alarms(draws: int, people: int = 16) -> dict[str, Any]:
    """How often a classifier with random weights, positive for half of the people, is said to look there.

    Every other one is explained within hair_color, the others within mouth_shape.
    """
    G, truth, method = load_generator("embedded"), embedded("smiling"), Gradient()
    U = G.convert(G.sample(512, 7_000_000), "z", "s")
    deviation, u = deviations(U), U[:people]

    def draw(v: torch.Tensor) -> torch.Tensor:
        return G(v, "s").clamp(0, 1)

    with torch.no_grad():
        seen = torch.cat([draw(part) for part in U[:64].split(16)])
        width, images = truth(seen).std(), seen[:people]
    file = OUT / "false_alarms.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    seeds = {"hair_color": range(0, draws, 2), "mouth_shape": range(1, draws, 2)}
    for criterion in seeds:
        S = load_subspace(subspace(criterion))
        spread = named(S.directions, U)
        factor = matching_factor(draw, u, spread, random_bases(spread, deviation, range(people), 1), method.bound)
        for seed in seeds[criterion]:
            if f"{criterion}_{seed}" in found:
                continue
            net = reinitialised(truth, seed)
            assert isinstance(net, Classifier)
            with torch.no_grad():
                theirs = net(seen)

            def score(v: torch.Tensor, net: Classifier = net, theirs: torch.Tensor = theirs) -> torch.Tensor:
                return (net(draw(v)) - theirs.median()) * width / theirs.std()

            moves, change = search(method, score, draw, u, spread, images)
            bases = random_bases(spread, deviation, range(people), 10 + seed) * factor
            chance, chance_change = search(method, score, draw, u, bases, images)
            by_chance = chance.flipped & (chance_change <= change)
            alarm = interval(moves.flipped)[0] > interval(by_chance)[1]
            found[f"{criterion}_{seed}"] = [
                float(moves.flipped.double().mean()),
                float(by_chance.double().mean()),
                alarm,
            ]
            print(criterion, seed, found[f"{criterion}_{seed}"], flush=True)
            with whole(file) as part:
                part.write_text(json.dumps(found))
    told = {criterion: [found[f"{criterion}_{seed}"] for seed in seeds[criterion]] for criterion in seeds}
    return {
        criterion: {
            "draws": len(each),
            "people": people,
            "alarms": sum(alarm for _, _, alarm in each),
            "rate": fmean(rate for rate, _, _ in each),
            "chance": fmean(chance for _, chance, _ in each),
        }
        for criterion, each in told.items()
    }


def speed(people: int = 12) -> dict[str, Any]:
    """Counterfactuals per second against the published loop, one image and 20 steps at a time, in three rounds."""
    G, classifier = load_generator("embedded"), embedded("smiling")
    U = G.convert(G.sample(512, 1_000_000), "z", "s")
    S = load_subspace(subspace("mouth_shape"))
    spread, u, method = named(S.directions, U), U[:people], Gradient()
    rounds: list[dict[str, Any]] = []

    def draw(v: torch.Tensor) -> torch.Tensor:
        return G(v, "s").clamp(0, 1)

    def score(v: torch.Tensor) -> torch.Tensor:
        return classifier(draw(v))

    for _ in range(3):
        began = time.perf_counter()
        with torch.no_grad():
            images = draw(u)
        ours, _ = search(method, score, draw, u, spread, images)
        middle = time.perf_counter()
        flips = sum(published(score, each, S.directions.float()) for each in u.split(1))
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
    parser.add_argument("parts", nargs="*", help="out of planted, dose, false_alarms, speed; all by default")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    keep_freed_memory()
    parts = {
        "speed": speed,
        "planted": lambda: planted(args.people),
        "dose": lambda: dose(args.people),
        "false_alarms": lambda: false_alarms(args.draws),
    }
    file = HERE / "results.json"
    for name in args.parts or parts:
        found = parts[name]()
        results = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(results | {name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
