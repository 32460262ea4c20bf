"""How often does a verdict say that a random subspace counts, and how small a difference does it see?

    python experiments/calibration/measure.py [toy embedded student power]

Parts go to results.json; outcomes of generators are kept beside it, a file for each classifier and dimension, and an
interrupted part goes on with the subspace at which it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ice_lightning import load_generator
from ice_lightning.classifiers import embedded_classifier, load_classifier
from ice_lightning.counterfactuals.bases import random_bases
from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.explanation.outcomes import only_flips
from ice_lightning.explanation.rows import load_explained
from ice_lightning.explanation.search import search
from ice_lightning.explanation.significance import compare, holm
from ice_lightning.files import atomic_write, cached, write_json
from ice_lightning.launch import keep_freed_memory
from ice_lightning.metrics import proportion
from ice_lightning.modules import face_api
from ice_lightning.population import geometry, layer_covariances, radius

HERE = Path(__file__).parent
LEVEL, CONTROLS, TOGETHER = 0.05, 20, 4
"""Of p; random subspaces that a verdict is judged against; subspaces of one classifier that are judged together."""
DIM, PIXELS = 64, 300
"""Of the toy: coordinates and pixels."""


class Outcomes(NamedTuple):
    """What several whole random subspaces do to the same people.

    Attributes:
        flipped: (N, M) bool.
        change: (N, M) of the image at the flip.
    """

    flipped: Tensor
    change: Tensor


class Toy:
    """A linear classifier and a linear image of people who are normal in DIM coordinates.

    Args:
        seed: of everything.
        hard: how many times farther the boundary lies.
        strong: share of random subspaces that hold three times as much of the gradient as others.
    """

    def __init__(self, seed: int, hard: float = 1.0, strong: float = 0.0) -> None:
        self.hard, self.strong = hard, strong
        self.draw = torch.Generator().manual_seed(seed)
        self.image = self.normal(PIXELS, DIM) / PIXELS**0.5
        self.w = torch.nn.functional.normalize(self.normal(DIM), dim=0)

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers in double precision."""
        return torch.randn(*shape, generator=self.draw, dtype=torch.float64)

    def reached(self, k: int, count: int) -> tuple[Tensor, Tensor]:
        """How much of the gradient random subspaces hold (count,), and by how much a unit move there changes the image.

        The gradient's projection P w has the squared length Beta(k / 2, (DIM - k) / 2), and what of it isn't along w
        points anywhere.
        """
        inside = self.normal(count, k).square().sum(1)
        size = (inside / (inside + self.normal(count, DIM - k).square().sum(1))).sqrt()
        if self.strong:
            chosen = torch.rand(count, generator=self.draw, dtype=torch.float64) < self.strong
            size = torch.where(chosen, 3 * size, size).clamp(max=1)
        aside = self.normal(count, DIM)
        aside = torch.nn.functional.normalize(aside - (aside @ self.w)[:, None] * self.w, dim=1)
        move = size[:, None] * self.w + (1 - size.square()).sqrt()[:, None] * aside
        return size, (move @ self.image.T).square().mean(1).sqrt()

    def outcomes(self, k: int, people: int, subspaces: int) -> Outcomes:
        """Each subspace applied to everyone."""
        score = self.hard * (self.normal(people, DIM) @ self.w).abs()
        size, change = self.reached(k, subspaces)
        need = score[:, None] / size
        return Outcomes(need <= radius(k), need * change)

    def redrawn(self, k: int, people: int) -> Outcomes:
        """A named subspace, and one that is redrawn for every person: (N, 2)."""
        score = self.hard * (self.normal(people, DIM) @ self.w).abs()
        one, other = self.reached(k, 1), self.reached(k, people)
        need = torch.stack([score / one[0], score / other[0]], 1)
        return Outcomes(need <= radius(k), need * torch.stack([one[1].expand(people), other[1]], 1))


def judged(found: Outcomes, named: list[int], controls: list[int]) -> list[float]:
    """p-values of some subspaces against others; 1 for one that isn't among the best, as in a verdict."""
    flipped, change = found.flipped[:, controls], found.change[:, controls]
    against = [compare(found.flipped[:, i], found.change[:, i], flipped, change) for i in named]
    return [each.p if each.leads else 1.0 for each in against]


def filtered(found: Outcomes) -> bool:
    """Whether a one-sided filter says that the first counts: a flip of the second counts only with no more change."""
    first = found.flipped[:, 0]
    budget = torch.where(first, found.change[:, 0], torch.inf)
    second = found.flipped[:, 1] & (found.change[:, 1] <= budget)
    return proportion(first).low > proportion(second).high


def summary(p: list[list[float]], alarms: list[bool]) -> dict[str, Any]:
    """False alarms of single verdicts, of the four of a classifier after Holm, and of the filter."""
    single = torch.tensor([each[0] <= LEVEL for each in p])
    family = torch.tensor([min(holm(each)) <= LEVEL for each in p])
    return {
        "single": proportion(single).to_json(),
        "any of four after Holm": proportion(family).to_json(),
        **({"filter": proportion(torch.tensor(alarms)).to_json()} if alarms else {}),
    }


def toy(verdicts: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whole random subspaces of the toy in place of named ones; last, two kinds that are hard on the test."""
    cases = [(f"k {k}, {people} people", k, people, 1.0, 0.0) for k in (2, 8, 32) for people in (48, 200, 500)]
    cases += [("k 2, 64 people, few flip", 2, 64, 6.0, 0.0), ("k 2, 64 people, one in ten is strong", 2, 64, 2.0, 0.1)]
    for name, k, people, hard, strong in cases:
        p, alarms = [], []
        for seed in range(verdicts):
            t = Toy(1_000_000 + seed, hard, strong)
            found = t.outcomes(k, people, TOGETHER + CONTROLS)
            p.append(judged(found, list(range(TOGETHER)), list(range(TOGETHER, TOGETHER + CONTROLS))))
            alarms.append(filtered(t.redrawn(k, people)))
        yield name, summary(p, alarms)


def outcomes(name: str, k: int, people: int, subspaces: int) -> Outcomes:
    """Of random subspaces of a generator, kept in the study's folder."""
    file = HERE / f"{name}_{k}.safetensors"
    flipped, change = torch.zeros(people, 0, dtype=torch.bool), torch.zeros(people, 0)
    if file.exists() and len((rows := load_file(file))["flipped"]) == people:
        flipped, change = rows["flipped"], rows["change"]
    if flipped.shape[1] < subspaces:
        if name == "smiling":
            G, space, classifier = load_generator("embedded"), "s", embedded_classifier("smiling")
        else:
            G, space = load_generator("experiments/real_faces/student.safetensors"), "z"
            weights = str(cached("age_gender.safetensors"))
            classifier = load_classifier(weights, face_api.AgeGender(), kind="multiclass", target=0)  # type: ignore[assignment]
        bases = random_bases(geometry(layer_covariances(G, space)), k, subspaces, seed=1)
        U = G.people(people, 30_000_000, space)

        def draw(v: Tensor) -> Tensor:
            return G(v, space).clamp(0, 1)

        with torch.no_grad():
            images = torch.cat([draw(part) for part in U.split(8)])
        for basis in bases[flipped.shape[1] :]:
            moves, changed = search(Gradient(), lambda v: classifier(draw(v)), draw, U, basis.to(U), images)
            flipped = torch.cat([flipped, moves.flipped[:, None]], 1)
            change = torch.cat([change, only_flips(changed, moves.flipped)[:, None]], 1)
            with atomic_write(file) as part:
                save_file({"flipped": flipped, "change": change}, part)
            print(
                f"{name}, k {k}: {flipped.shape[1]} of {subspaces}, {float(moves.flipped.double().mean()):.2f}",
                flush=True,
            )
    return Outcomes(flipped[:, :subspaces], change[:, :subspaces])


def generator(name: str, people: int, subspaces: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each random subspace of a generator judged against twenty of the others, four at a time."""
    for k in (8, 2):
        found, draw = outcomes(name, k, people, subspaces), torch.Generator().manual_seed(0)
        p, filters = [], []
        for first in range(subspaces):
            order = torch.randperm(subspaces, generator=draw).tolist()
            named = [first, *(i for i in order if i != first)][:TOGETHER]
            p.append(judged(found, named, [i for i in order if i not in named][:CONTROLS]))
            filters.append(filtered(Outcomes(found.flipped[:, named[:2]], found.change[:, named[:2]])))
        told = summary(p, filters) | {
            "flip rates": [round(each, 3) for each in found.flipped.double().mean(0).tolist()]
        }
        yield f"k {k}, {people} people", told


def power() -> Iterator[tuple[str, dict[str, Any]]]:
    """The two classifiers of planted_bias in their subspaces, on fewer people: how often does each count after Holm?"""
    cells = HERE.parent / "planted_bias" / "cells"
    for name in ("smiling", "smiling_biased"):
        runs = [load_explained(folder) for folder in sorted(cells.glob(f"{name}_*_0")) if folder.name.count("_") >= 2]
        runs = [run for run in runs if run.classifier == name]
        draw = torch.Generator().manual_seed(0)
        known = torch.stack([run.known & run.rows.random.applied for run in runs]).all(0).nonzero()[:, 0]
        for people in (32, 64, 128, 500):
            if people > len(known):
                break
            counts = torch.zeros(len(runs))
            draws = 1 if people == len(known) else 200
            for _ in range(draws):
                some = known[torch.randperm(len(known), generator=draw)[:people]]
                rows = [run.rows.select(some) for run in runs]
                against = [
                    compare(each.named.flipped, each.named.change, each.random.flipped, each.random.change)
                    for each in rows
                ]
                counts += torch.tensor(holm([each.p if each.leads else 1.0 for each in against])) <= LEVEL
            yield (
                f"{name}, {people} people",
                dict(zip((run.criterion for run in runs), (counts / draws).tolist(), strict=True)),
            )


def main() -> None:
    """Measure what is named, everything by default, into results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="out of toy, embedded, student, power; all by default")
    parser.add_argument("--verdicts", type=int, default=2000, help="of the toy, for each size")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--subspaces", type=int, default=40)
    args = parser.parse_args()
    keep_freed_memory()
    parts = {
        "toy": lambda: toy(args.verdicts),
        "embedded": lambda: generator("smiling", args.people, args.subspaces),
        "student": lambda: generator("male", args.people, args.subspaces),
        "power": power,
    }
    file = HERE / "results.json"
    for part in args.parts or parts:
        for name, found in parts[part]():
            print(part, name, json.dumps(found), flush=True)
            results = json.loads(file.read_text()) if file.exists() else {}
            results.setdefault(part, {})[name] = found
            write_json(file, results, indent=1)


if __name__ == "__main__":
    main()
