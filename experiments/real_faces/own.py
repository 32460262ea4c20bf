"""Are a person's own directions cleaner than the average ones on photographic faces? By networks that didn't search.

    python experiments/real_faces/own.py choose measure draw [--generators student_w] [--presets mouth_shape]

`choose` tries ratios on other people, for average and own directions alike; `measure` moves held-out people with the
best; `draw` shows six of them. Results go to own/GENERATOR.json as they come, pictures beside them.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from dense import Rows, average, keys, mean_rows, own, rows_of
from hydra.utils import instantiate
from second import FOLDER, second_readers
from sitters import Sitters, image_jacobian, term_rows
from subspaces import DCGAN, MOST, PRESETS, STUDENT, Meaning, composed, painted, small
from torch import Tensor
from torch.nn.functional import normalize

from ice_lightning import discover
from ice_lightning.criterions import Analysis, Criterion, Term
from ice_lightning.discovery.features import MovingCoordinates
from ice_lightning.discovery.local import LocalDirections, LocalProblem, find_local
from ice_lightning.files import atomic_write, write_json
from ice_lightning.population import geometry, layer_covariances
from ice_lightning.reports import figures
from ice_lightning.tasks.build import build_criterion, generator_from

sys.path.insert(0, str(Path(__file__).parents[1] / "local"))
from study import FARTHEST, READABLE, STRENGTHS, Measured, rounded, straight

HERE = Path(__file__).parent
OUT = HERE / "own"
GENERATORS = {
    "student_w": (*STUDENT, "space=w"),
    "student_z": (*STUDENT, "space=z"),
    "student_s": (*STUDENT, "space=s", "criterion.layers=null"),
    "dcgan_z": (*DCGAN, "space=z"),
    "dcgan_s": (*DCGAN, "space=s", "criterion.layers=null"),
}
LOOSER = (1, 10, 100)
"""How many times the ratios of a preset's suppressed terms are taken, in turn."""
SEARCHED, CHOOSING, PEOPLE, SHOWN = 8, 8, 24, 6
CHOOSING_SEED, SEED = 2_700_000, 3_000_000
RANDOM, RMS, BOOTSTRAPS = 20, 0.03, 4000
MOST_DENSE = 1600
"""Up to so many coordinates everything follows from whole Jacobians."""


class Photographs(Sitters):
    """Held-out people, read by the second networks.

    Args:
        generator: draws them.
        space: of their latents.
        people: how many.
        seed: of the first.
        outlines: whose landmarks outline the regions whose colours are read: the first, of face-api, which searched and
            are the better ones, or the second.
    """

    def __init__(self, generator: Any, space: str, people: int, seed: int, outlines: str = "first") -> None:
        super().__init__(generator, second_readers(outlines), space, people, seed)

    @property
    def widths(self) -> list[int]:
        """How many numbers each reading is."""
        return [value.shape[1] for value in self.base.values()]

    def reading_rows(self, coordinates: MovingCoordinates) -> list[Tensor]:
        """Of everyone the Jacobian (m, n) of all readings, in sigmas for each population deviation."""
        units = torch.cat([self.sigma[name].expand(value.shape[1]) for name, value in self.base.items()])
        whitened, found = coordinates.directions(torch.eye(len(coordinates.index)).to(self.u)), []
        for u, image, parse in zip(self.u.split(1), self.images.split(1), self.parse.split(1), strict=True):

            def readings(image: Tensor, _: Analysis, parse: Tensor = parse) -> Tensor:
                return torch.cat([each.nan_to_num(0) for each in self.read(image, parse).values()], 1) / units

            moved = image_jacobian(self.G, self.space, u, image)
            found.append(term_rows(readings, image, Analysis(parse, None), moved) @ whitened)  # type: ignore[arg-type]
        return found

    def of(self, places: Tensor) -> Photographs:
        """Some of the people, by their places."""
        some = copy.copy(self)
        some.u, some.images, some.parse = self.u[places], self.images[places], self.parse[places]
        some.base = {name: value[places] for name, value in self.base.items()}
        return some

    def with_own(self, meaning: Meaning) -> Tensor:
        """Places of the people in whom all of a preset's own readings can be taken."""
        own = torch.cat([self.base[name] for name in meaning.own], 1)
        return own.isfinite().all(1).nonzero()[:, 0]

    def moved_each(self, image: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """How far every reading of the people `rows` is from where it was, each (N,), in sigmas."""
        now = self.read(image, self.parse[rows])
        return {name: (now[name] - was[rows]).norm(dim=1) / self.sigma[name] for name, was in self.base.items()}


class Photographed(Measured):
    """Judges moves of people by a preset's readings; colours beyond an edit of nothing else.

    Args:
        people: who is moved.
        meaning: the own readings, and those that can't but move with them.
    """

    def __init__(self, people: Photographs, meaning: Meaning) -> None:
        named = json.loads((FOLDER / "second.json").read_text())["held_out"]["correlation_with_face_api"]
        noise = [name for name, correlation in named.items() if correlation < READABLE]
        self.people, self.regions = people, painted(meaning)
        self.own = [name for name in meaning.own if name not in noise]
        others = [name for name in people.base if name not in (*meaning.own, *meaning.free, *noise)]
        self.along, self.ideal = dict.fromkeys(others, 0.0), {}
        self.metric = geometry(layer_covariances(people.G, people.space))

    @torch.no_grad()
    def at(self, v: Tensor, rows: Tensor, target: float) -> dict[str, Any]:
        """Readings of latents (M, n) of the people `rows`."""
        image = self.people.draw(v)
        moved = self.people.moved_each(image, rows)
        found = self.judged(moved, rows, target) | {"far": self.metric.to(v).length(v - self.people.u[rows])}
        if self.regions:
            ideal = self.people.moved_each(self.people.repaint(image, rows, self.regions), rows)
            rest = torch.stack([moved[name] - ideal[name] for name in self.along])
            found["beyond"] = rest.nan_to_num(0).amax(0).clamp_min(0)
        return found

    def clearest(self, rows: list[Tensor]) -> Tensor:
        """Each person's direction (N, n, 1) that the readings themselves would choose: about what is there to be found.

        To first order it moves the own readings most beside all others, within what FARTHEST deviations allow.

        Args:
            rows: of everyone, of all readings together, (m, n) in sigmas for each population deviation.
        """
        found = []
        for R in rows:
            parts = dict(zip(self.people.base, R.double().split(self.people.widths), strict=True))
            A = torch.cat([parts[name] for name in self.own]).nan_to_num(0)
            B = torch.cat([parts[name] for name in self.along]).nan_to_num(0)
            charged = B.T @ B + (STRENGTHS[0] / FARTHEST) ** 2 * torch.eye(B.shape[1])
            L = torch.linalg.cholesky(charged)
            _, _, Vh = torch.linalg.svd(torch.linalg.solve_triangular(L, A.T, upper=False).T, full_matrices=False)
            x = torch.linalg.solve_triangular(L.T, Vh[:1].T, upper=True)
            found.append(normalize(x, dim=0).T)
        return self.metric.displacement(torch.cat(found)).float()[:, :, None]

    @torch.no_grad()
    def signed(self, v: Tensor) -> dict[str, Tensor]:
        """Changes (N, d) of the own readings of latents (N, n), with their signs, in sigmas."""
        people = self.people
        now = people.read(people.draw(v), people.parse)
        return {name: (now[name] - people.base[name]) / people.sigma[name] for name in self.own}


@dataclass(frozen=True)
class Preset:
    """A preset with ratios so many times looser.

    Attributes:
        names: `keys` of its terms.
        directions: (n, k), the average's.
        local: what single people's searches begin with.
    """

    names: list[str]
    directions: Tensor
    local: LocalProblem

    def find(self, kind: str, u: Tensor, rows: list[Rows]) -> tuple[Tensor, LocalDirections | None]:
        """Average or own directions (N, n, 2) of people u (N, n) with these rows."""
        if kind == "average":
            return self.directions[:, :2].to(u).expand(len(u), -1, -1), None
        found = own(self.local, u, rows, self.names, 2)
        return found.directions, found


@dataclass(frozen=True)
class Searched(Preset):
    """The same where whole Jacobians are too large: searched by products, as the package does."""

    def find(self, kind: str, u: Tensor, rows: list[Rows]) -> tuple[Tensor, LocalDirections | None]:
        """Average or own directions (N, n, 2) of people u (N, n); rows aren't looked at."""
        if kind == "average":
            return super().find(kind, u, rows)
        found = find_local(self.local, u, 2)
        return found.directions, found


class Generator:
    """A generator in a space, every preset's average, and whoever was looked at."""

    def __init__(self, name: str, presets: Sequence[str]) -> None:
        cfg = composed(name, "skin_color", generators=GENERATORS)
        self.G, self.faces, self.space = generator_from(cfg).requires_grad_(False), instantiate(cfg.faces), cfg.space
        self.faces.requires_grad_(False)
        self.coordinates = MovingCoordinates.of(self.G, self.G, self.space, None, "population")
        self.terms: dict[str, Term] = {}
        criterions: dict[tuple[str, str], tuple[Criterion, list[str]]] = {}
        for preset in presets:
            suppressed = composed(name, preset, generators=GENERATORS).criterion.suppress
            ratios = {key: each.ratio for key, each in suppressed.items()}
            for looser in LOOSER:
                more = [f"criterion.suppress.{k}.ratio={min(MOST, looser * r):g}" for k, r in ratios.items()]
                more.append("criterion.local_relaxation=1")  # what a person is charged is what is tried here
                cfg = composed(name, preset, *more, generators=GENERATORS)
                criterion = build_criterion(cfg.criterion, self.faces, self.G.resolution)
                weighted = [*criterion.activate.values(), *criterion.suppress.values()]
                names = keys(cfg)
                self.terms |= dict(zip(names, (each.term for each in weighted), strict=True))
                criterions[preset, str(looser)] = criterion, names
        self.dense = len(self.coordinates.index) <= MOST_DENSE
        if not self.dense:
            self.presets = {key: self.searched(*each) for key, each in criterions.items()}
            return
        mean = mean_rows(self.rows(self.G.people(SEARCHED, 0, self.space), "searched"))
        self.presets = {
            key: Preset(names, *average(self.G, self.faces, self.space, criterion, names, mean, SEARCHED))
            for key, (criterion, names) in criterions.items()
        }

    def searched(self, criterion: Criterion, names: list[str]) -> Searched:
        """A criterion's average, by products."""
        found = discover(self.G, criterion, SEARCHED, space=self.space, geometry="population", faces=self.faces)
        local = LocalProblem.of(self.G, self.faces, criterion, found.subspace, None)
        print(f"{criterion.name}: average found", flush=True)
        return Searched(names, found.subspace.directions, local)

    def rows(self, u: Tensor, what: str) -> list[Rows]:
        """The rows of every term in people u (N, n); none where whole Jacobians are too large."""
        found: list[Rows] = []
        if not self.dense:
            return [{} for _ in u]
        for i, each in enumerate(u.split(1)):
            began = time.process_time()
            found.append(rows_of(self.G, self.faces, self.coordinates, each, self.terms))
            print(f"{what} {i + 1} of {len(u)}: {time.process_time() - began:.0f} s", flush=True)
        return found


def sides(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its people."""
    return {name: {key: x for key, x in cell.items() if key != "people"} for name, cell in row.items()
            if isinstance(cell, dict)}  # fmt: skip


def random_ratios(people: Photographs, meaning: Meaning) -> list[float]:
    """Ratios along random directions, even in the population metric, that change the image by RMS, sorted."""
    draw, found = torch.Generator().manual_seed(0), []
    measured = Photographed(people, meaning)
    rows = torch.arange(len(people.u))
    for _ in range(RANDOM):
        x = normalize(torch.randn(people.u.shape[1], generator=draw), dim=0)
        v = measured.metric.to(x).displacement(x[None])[0]
        t = 1.0
        for _ in range(8):
            with torch.no_grad():
                rms = (people.draw(people.u + t * v) - people.images).square().mean().sqrt().item()
            t *= min(5.0, max(0.2, RMS / max(rms, 1e-9)))
        cell = measured.at(people.u + t * v, rows, STRENGTHS[0])
        beside = cell["beyond" if measured.regions else "other"]
        found.append(float(cell["own"].mean() / beside.mean().clamp_min(1e-9)))
    return sorted(found)


def main() -> None:
    """Choose, measure and draw; every cell that isn't there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=["choose", "measure", "draw"])
    parser.add_argument("--generators", nargs="*", default=list(GENERATORS))
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--people", type=int, default=PEOPLE)
    args = parser.parse_args()
    for name in args.generators:
        file = OUT / f"{name}.json"
        results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        todo = [each for each in args.presets if "measured" not in results.get(each, {}) or "draw" in args.stages]
        if not todo:
            continue
        generator = Generator(name, todo)
        if "choose" in args.stages and any("chosen" not in results.get(each, {}) for each in todo):
            others = Photographs(generator.G, generator.space, CHOOSING, CHOOSING_SEED)
            rows = generator.rows(others.u, "choosing")
            for preset in todo:
                results.setdefault(preset, {}).update(choose(generator, preset, others, rows))
                write_json(file, results, indent=1)
                print(name, preset, results[preset], flush=True)
        people = Photographs(generator.G, generator.space, args.people, SEED)
        again: Photographs | None = None
        rows = generator.rows(people.u, "measured")
        seen = people.reading_rows(generator.coordinates) if generator.dense else None
        for preset in todo:
            row = results[preset]
            if "measure" in args.stages:
                row |= rounded(measure(generator, preset, people, rows, seen, row["chosen"]))
                if painted(PRESETS[preset]):
                    again = again or Photographs(generator.G, generator.space, args.people, SEED, "second")
                    row["second outlines"] = rounded(by_second_outlines(generator, preset, again, rows, row["chosen"]))
                write_json(file, results, indent=1)
                print(name, preset, [row["measured"][kind]["0"] for kind in row["chosen"]], flush=True)
            if "draw" in args.stages:
                draw(generator, name, preset, row["chosen"], people, rows)


def choose(generator: Generator, preset: str, people: Photographs, rows: list[Rows]) -> dict[str, Any]:
    """The worse side's ratio of average and own directions with each looseness, and the best of each."""
    meaning, tried = PRESETS[preset], {"average": {}, "own": {}}
    places = people.with_own(meaning)
    people, rows = people.of(places), [rows[i] for i in places.tolist()]
    key = "ratio beyond" if painted(meaning) else "ratio"
    for kind, looser in product(tried, map(str, LOOSER)):
        V, local = generator.presets[preset, looser].find(kind, people.u, rows)
        judged = straight(Photographed(people, meaning), V[:, :, :1], local, 1)["0"]
        tried[kind][looser] = round(min(judged[f"{side} {STRENGTHS[0]}"][key] for side in ("plus", "minus")), 2)
    return {"tried": tried, "chosen": {kind: max(each, key=each.__getitem__) for kind, each in tried.items()}}


def measure(
    generator: Generator,
    preset: str,
    people: Photographs,
    rows: list[Rows],
    seen: list[Tensor] | None,
    chosen: dict[str, str],
) -> dict[str, Any]:
    """Two directions of either kind in held-out people, and what random directions and the readings' own choice reach.

    Args:
        generator: which.
        preset: which.
        people: the held-out ones.
        rows: theirs, of all terms.
        seen: theirs, of all readings; None where these are too large.
        chosen: the looseness of either kind.
    """
    meaning, found = PRESETS[preset], {}
    places = people.with_own(meaning)
    people = people.of(places)
    rows = [rows[i] for i in places.tolist()]
    judge, singly = Photographed(people, meaning), {}
    for kind, looser in chosen.items():
        V, local = generator.presets[preset, looser].find(kind, people.u, rows)
        judged = straight(judge, V, local, 2)
        found[kind] = {k: sides(each) | {"same way": each["same way"]} for k, each in judged.items()}
        found[kind]["worst"], singly[kind] = worst(judged["0"]), judged["0"]
        if local is not None:
            found["search"] = {
                "products": float(local.products.float().mean()), "own": int(local.own.sum()), "of": len(people.u),
                "agreement": float(local.agreement[:, 0].nanmedian()),
            }  # fmt: skip
            found["another's"] = sides(straight(judge, V[:, :, :1].roll(1, 0), None, 1)["0"])
    found["own by average"] = {
        f"{side} {t}": times(singly["own"][f"{side} {t}"], singly["average"][f"{side} {t}"], t, judge.regions)
        for side in ("plus", "minus") for t in STRENGTHS
    }  # fmt: skip
    measured = {"measured": found, "random": random_ratios(people, meaning)}
    if seen is None:
        return measured
    best = straight(judge, judge.clearest([seen[i] for i in places.tolist()]), None, 1)["0"]
    return measured | {"clearest": sides(best)}


def counted(cell: dict[str, Any], target: float, colours: bool) -> tuple[Tensor, Tensor]:
    """What each person of a cell counts in its ratio: own and other readings, see `study.summary`."""
    people = {key: torch.tensor(cell["people"][key]) for key in ("own", "beyond" if colours else "other", "there")}
    own, other = people["own"], people["beyond" if colours else "other"]
    there = people["there"].bool()
    lost = (other * target / own.clamp_min(0.05 * target)).clamp_min(target)
    return torch.where(there, own, torch.full_like(own, target)), torch.where(there, other, lost)


def times(own: dict[str, Any], average: dict[str, Any], target: float, colours: list[str]) -> list[float]:
    """How many times the average's ratio the own one is, with its 95 % interval over people (by bootstrap)."""
    columns = torch.stack([*counted(own, target, bool(colours)), *counted(average, target, bool(colours))])
    some = torch.randint(columns.shape[1], (BOOTSTRAPS, columns.shape[1]), generator=torch.Generator().manual_seed(0))
    whole, drawn = columns.mean(1), columns[:, some].mean(2)
    ratio, ratios = (x[0] / x[1] * x[3] / x[2] for x in (whole, drawn))
    return [float(ratio), *ratios.quantile(torch.tensor([0.025, 0.975])).tolist()]


def by_second_outlines(
    generator: Generator, preset: str, people: Photographs, rows: list[Rows], chosen: dict[str, str]
) -> dict[str, Any]:
    """Average and own directions of colours, read under outlines that no search has used."""
    meaning, found = PRESETS[preset], {}
    places = people.with_own(meaning)
    people, rows = people.of(places), [rows[i] for i in places.tolist()]
    for kind, looser in chosen.items():
        V, _ = generator.presets[preset, looser].find(kind, people.u, rows)
        found[kind] = sides(straight(Photographed(people, meaning), V[:, :, :1], None, 1)["0"])
    return found


def worst(row: dict[str, Any]) -> dict[str, int]:
    """In how many people each other reading was the worst, at the first strength."""
    names = [name for side in ("plus", "minus") for name in row[f"{side} {STRENGTHS[0]}"]["people"]["worst"]]
    return dict(sorted(((name, names.count(name)) for name in set(names)), key=lambda item: -item[1])[:3])


def draw(
    generator: Generator, name: str, preset: str, chosen: dict[str, str], people: Photographs, rows: list[Rows]
) -> None:
    """Six people along their own first direction, by both strengths; who doesn't get there is marked."""
    measured, middle = Photographed(people, PRESETS[preset]), [people.images[:SHOWN]]
    V, _ = generator.presets[preset, chosen["own"]].find("own", people.u, rows)
    v = V[:, :, 0]
    unit = measured.metric.to(v).length(v).clamp_min(1e-9)
    sides: dict[float, list[Tensor]] = {-1.0: [], 1.0: []}
    marks: dict[float, list[list[str]]] = {-1.0: [], 1.0: []}
    for sign, pictures in sides.items():
        t = 0.5 / unit
        for target in STRENGTHS:

            def place(t: Tensor, rows: Tensor, sign: float = sign, v: Tensor = v) -> Tensor:
                return people.u[rows] + sign * t[:, None] * v[rows]

            found = measured.reach(place, target, t, FARTHEST / unit)
            t = found["strength"] * STRENGTHS[1] / STRENGTHS[0]
            with torch.no_grad():
                pictures.append(people.draw(place(found["strength"], torch.arange(len(v))))[:SHOWN])
            there = found["there"].tolist()
            marks[sign].append(
                ["" if each else f"{own:.1f} sd" for each, own in zip(there, found["own"].tolist(), strict=True)]
            )
    columns = [*reversed(sides[-1.0]), *middle, *sides[1.0]]
    words = [*reversed(marks[-1.0]), [""] * len(v), *marks[1.0]]
    less, more = ([f"{sign}{t:g} sd" for t in STRENGTHS] for sign in ("-", "+"))
    headings = [*reversed(less), "original", *more]
    title = f"{preset} of {name}, along each person's own direction"
    marked = list(zip(*words, strict=True))[:SHOWN]
    with atomic_write(OUT / f"{name}_{preset}.png") as part:
        small(figures.png(figures.traversal(torch.stack(columns, 1), headings, title, (), marked))).save(part)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
