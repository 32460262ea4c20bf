"""Do named edits hold for a person? Average, own and held directions of every preset, judged by other networks.

python experiments/local/study.py average straight held table
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from individuals import PRESETS, Individuals, come_along, judge, true_moves
from torch import Tensor

from ice_lightning import discover, load_generator, load_subspace
from ice_lightning.discovery.local import LocalDirections, LocalProblem, find_local
from ice_lightning.edits import Path as HeldPath
from ice_lightning.edits import hold
from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.files import write_json
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import map_threads
from ice_lightning.population import geometry, layer_covariances
from ice_lightning.subspace import FILE, Subspace
from ice_lightning.synthetic import FACTORS, factor_index, factors_from_z, render
from ice_lightning.tasks.build import build_criterion, composed, layers_of

HERE = Path(__file__).parent
SEARCHED = 8
"""People of the average."""
STRENGTHS = (0.5, 1.5)
"""How far the own reading is moved, in its standard deviations."""
FARTHEST = 6.0
"""Nobody goes farther, in population deviations."""
ANYWHERE = 200.0
"""The same along directions of the euclidean metric, which doesn't know how far away that is: within FARTHEST nobody's
hair moves by half a deviation."""
TRIES = 8
"""Strengths that are tried at most."""
NEAR = 0.05
"""An own reading within this share of what is wanted is there."""
FIRST = ("hair_color", "skin_color", "lip_color", "mouth_shape", "eye_shape", "background", "pose", "identity")
"""One preset of each kind, which are measured in full."""
READABLE = 0.5
"""A reading counts where it is correlated so much with the truth, over other people."""
DIRECTIONS = 2
STAGES = (0.5, 1.0, 2.0, 3.0, 4.0)
"""Strengths of a held path, by what the straight move took for STRENGTHS[0]."""


def problem_of(name: str, subspace: Subspace, G: AnyGenerator, relaxation: float | None = None) -> LocalProblem:
    """What single people's searches begin with; with another relaxation than the preset's where one is given."""
    faces = embedded_faces()
    cfg = composed(criterion=name)
    cfg.space = subspace.space
    cfg.criterion.local_relaxation = relaxation or cfg.criterion.local_relaxation
    return LocalProblem.of(G, faces, build_criterion(cfg.criterion, faces, G.resolution), subspace, layers_of(cfg, G))


@torch.no_grad()
def readable(people: int = 128, seed: int = 2_500_000) -> dict[str, float]:
    """How far a reading of generated pictures tells people apart: its correlation with that of their renders.

    Args:
        people: how many others; of a vector it is the mean over its coordinates.
        seed: of the first.
    """
    others, found = Individuals(people, seed), {}
    for name, now in others.base.items():
        true = others.true_base[name]
        seen = (now + true).isfinite().all(1)
        a, b = (each[seen] - each[seen].mean(0) for each in (now, true))
        found[name] = float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-9)).mean())
    return found


class Measured:
    """Judges moves of people by a preset's readings.

    Args:
        people: who is moved.
        name: of the preset.
        truth: what each factor moves, see `true_moves`.
        names: of the readings that count.

    Attributes:
        ideal: by target and reading (N,), how far the renderer's own edit of each person moves it.
    """

    def __init__(
        self, people: Individuals, name: str, truth: dict[str, dict[str, float]], names: Collection[str]
    ) -> None:
        own = PRESETS[name].own
        self.people, self.own = people, [each for each in own if each in names] or own
        self.ideal: dict[float, dict[str, Tensor]] = {}
        along = come_along(self.own, PRESETS[name].factors, truth)
        self.along = {each: share for each, share in along.items() if each in names and each not in own}
        G = people.G
        self.metric = geometry(layer_covariances(G, people.space))

    def at(self, v: Tensor, rows: Tensor, target: float) -> dict[str, Any]:
        """Readings of latents (M, n) of the people `rows`: own, other, how far away they are, and what moved.

        `other` is beyond what comes along on average, `beyond` as well beyond what does in the renderer's own edit of
        this person.
        """
        moved = self.people.moved_each(self.people.draw(v), rows)
        far = self.metric.to(v).length(v - self.people.u[rows])
        return self.judged(moved, rows, target) | {"far": far}

    def judged(self, moved: dict[str, Tensor], rows: Tensor, target: float) -> dict[str, Any]:
        """The same of readings (M,)."""
        judged = judge(moved, self.own, self.along)
        ideal = self.ideal.get(target, {})
        own = judged.own.nan_to_num(0)
        rest = [
            moved[name] - torch.maximum(share * own, ideal[name][rows] * own / target if ideal else 0 * own)
            for name, share in self.along.items()
        ]
        beyond = torch.stack(rest).nan_to_num(0).amax(0).clamp_min(0).masked_fill(judged.own.isnan(), 0)
        return {"own": own, "other": judged.other.nan_to_num(0), "beyond": beyond,
                "target": judged.target, "worst": judged.worst}  # fmt: skip

    def reach(
        self, place: Callable[[Tensor, Tensor], Tensor], target: float, t: Tensor, most: Tensor
    ) -> dict[str, Any]:
        """Move people until their own reading has moved by `target`.

        Args:
            place: strengths (M,) of the people (M,) -> latents (M, n).
            target: in sigmas.
            t: (N,), the first strengths, at least 0.
            most: (N,), the largest ones.

        Returns:
            For everyone the strength, whether they are there, own and other, how far away they are, and what moved.
        """
        count = len(t)
        best: dict[str, Any] = {name: torch.zeros(count) for name in ("strength", "own", "other", "beyond", "far")}
        best |= {"target": [""] * count, "worst": [""] * count}
        gap, low, high, t = torch.full((count,), torch.inf), torch.zeros(count), most.clone(), t.minimum(most)
        rows = torch.arange(count)
        for _ in range(TRIES):
            found = {"strength": t[rows]} | self.at(place(t[rows], rows), rows, target)
            own = found["own"]
            for place_in, i in enumerate(rows.tolist()):
                if (missed := abs(float(own[place_in]) - target)) < gap[i]:
                    gap[i] = missed
                    for name, column in found.items():
                        best[name][i] = column[place_in]
            beyond = own >= target
            low[rows] = torch.where(beyond, low[rows], t[rows].maximum(low[rows]))
            high[rows] = torch.where(beyond, t[rows].minimum(high[rows]), high[rows])
            guess = t[rows] * (target / own.clamp_min(1e-3)).clamp(0.3, 3)
            middle = (low[rows] + high[rows]) / 2
            inside = (guess > low[rows]) & (guess < high[rows])
            can = (gap[rows] > NEAR * target) & ((t[rows] < most[rows]) | beyond)
            t[rows] = torch.where(inside, guess, torch.where(high[rows] >= most[rows], most[rows], middle))
            rows = rows[can]
            if not len(rows):
                break
        return best | {"there": best["own"] >= (1 - NEAR) * target}

    def signed(self, v: Tensor) -> dict[str, Tensor]:
        """Changes (N, d) of the own readings of latents (N, n), with their signs, in sigmas."""
        people = self.people
        now = people.read(people.draw(v))
        return {name: (now[name] - people.base[name]) / people.sigma[name] for name in self.own if name in now}


def summary(found: dict[str, Any], target: float) -> dict[str, float]:
    """Means over people; who isn't there counts as if the other had moved in proportion, and at least as far."""
    there, own = found["there"], found["own"]
    reached = torch.where(there, own, torch.full_like(own, target))
    row = {"there": float(there.float().mean()), "far": float(found["far"].median())}
    for name, column in (("", found["other"]), (" beyond", found["beyond"])):
        lost = (column * target / own.clamp_min(0.05 * target)).clamp_min(target)
        other = torch.where(there, column, lost)
        row["ratio" + name] = float(reached.mean() / other.mean().clamp_min(1e-9))
        row["median" + name] = float((reached / other.clamp_min(1e-9)).median())
    return row


def rounded(value: Any) -> Any:
    """Numbers of a row, short."""
    if isinstance(value, Tensor):
        return [round(float(each), 4) for each in value]
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return value


def same_way(measured: Measured, latents: list[Tensor]) -> float:
    """Share of people whose own reading, the one that moves most on average, moves the way of most people.

    Args:
        measured: reads.
        latents: (N, n), after a move to either side.
    """
    shares = []
    for v in latents:
        changes = measured.signed(v)
        name = max(changes, key=lambda key: float(changes[key].nanmean(0).norm()))
        mean = changes[name].nanmean(0)
        along = (changes[name] * mean).sum(1)
        shares.append(float((along[along.isfinite()] > 0).float().mean()))
    return sum(shares) / len(shares)


class Rendered(Measured):
    """Judges the renderer's own edits, of its own portraits: the ceiling of every other one."""

    def at(self, v: Tensor, rows: Tensor, target: float) -> dict[str, Any]:
        """The same of factors (M, F)."""
        moved = self.people.moved_each(render(v, 128).image, rows, self.people.true_base)
        self.last = moved
        return self.judged(moved, rows, target) | {"far": torch.zeros(len(v))}


def ideal(
    people: Individuals, name: str, truth: dict[str, dict[str, float]], names: Collection[str]
) -> tuple[dict[str, Any], Any]:
    """The renderer's own edits of every factor that a preset's name stands for.

    Args:
        people: who is moved.
        name: of the preset.
        truth: what each factor moves.
        names: of the readings that count.

    Returns:
        A summary by factor; by target and reading (N,) the farthest that any of them moves it, either way, of those
        that reach the target in this person.
    """
    measured, factors, rows = Rendered(people, name, truth, names), factors_from_z(people.z), {}
    count, everyone = len(factors), torch.arange(len(factors))
    most = {target: dict.fromkeys(measured.along, torch.zeros(count)) for target in STRENGTHS}
    for factor in PRESETS[name].factors:
        row: dict[str, Any] = {}
        for side, sign in (("plus", 1.0), ("minus", -1.0)):
            t = torch.full((count,), 0.2)
            for target in STRENGTHS:

                def place(t: Tensor, rows: Tensor, sign: float = sign, factor: str = factor) -> Tensor:
                    x = factors[rows].clone()
                    x[:, factor_index(factor)] += sign * t
                    return x

                found = measured.reach(place, target, t, torch.full((count,), 2.0))
                row[f"{side} {target}"] = summary(found, target)
                t = found["strength"] * STRENGTHS[1] / STRENGTHS[0]
                measured.at(place(found["strength"], everyone), everyone, target)
                for reading, farthest in most[target].items():
                    moved = torch.where(found["there"], measured.last[reading].nan_to_num(0), 0.0)
                    most[target] = most[target] | {reading: farthest.maximum(moved)}
        rows[factor] = row
    return rows, most


def straight(
    measured: Measured, V: Tensor, local: LocalDirections | None, directions: int, farthest: float = FARTHEST
) -> dict[str, Any]:
    """Straight moves along directions, either way, at every strength.

    Args:
        measured: judges.
        V: (N, n, k).
        local: whose directions these are; None for the average's.
        directions: how many of them.
        farthest: see FARTHEST.
    """
    u, rows = measured.people.u, {}
    unit = [measured.metric.to(u).length(V[:, :, k]).clamp_min(1e-9) for k in range(V.shape[2])]
    for k in range(min(directions, V.shape[2])):
        row: dict[str, Any] = {}
        ends = []
        for side, sign in (("plus", 1.0), ("minus", -1.0)):
            t = 0.5 / unit[k]
            for target in STRENGTHS:

                def place(t: Tensor, rows: Tensor, sign: float = sign, k: int = k) -> Tensor:
                    return u[rows] + sign * t[:, None] * V[rows, :, k]

                found = measured.reach(place, target, t, farthest / unit[k])
                row[f"{side} {target}"] = summary(found, target) | {"people": rounded(found)}
                t = found["strength"] * STRENGTHS[1] / STRENGTHS[0]
                if target == STRENGTHS[0]:
                    ends.append(place(found["strength"], torch.arange(len(u))))
        row["same way"] = same_way(measured, ends)
        if local is not None:
            row["clean"], row["agreement"] = rounded(local.clean[:, k]), rounded(local.agreement[:, k])
        rows[str(k)] = row
    return rows


def held(measured: Measured, problem: LocalProblem, local: LocalDirections, row: dict[str, Any], count: int) -> Any:
    """Held moves of the first people along their first direction, read at every strength of one path each way.

    Args:
        measured: judges.
        problem: the criterion.
        local: people's directions.
        row: of `straight`, of the first direction, which says how far the paths go.
        count: people.
    """
    u, found_rows = measured.people.u, {}
    for side, sign in (("plus", 1.0), ("minus", -1.0)):
        first = row[f"{side} {STRENGTHS[0]}"]["people"]["strength"]
        began = time.perf_counter()

        def path(i: int, sign: float = sign, first: list[float] = first) -> HeldPath | None:
            features, found = problem.look_at(u[i : i + 1]), local.found[i]
            if found is None:
                return None
            top = FARTHEST / max(first[i], 1e-3)
            stages = sorted({min(stage, top) for stage in STAGES})
            strengths = [sign * first[i] * s for s in stages]
            return hold(problem, features, found, 0, strengths, farthest=FARTHEST)  # type: ignore[arg-type]

        paths = map_threads(path, list(range(count)), torch.get_num_threads())
        seconds = (time.perf_counter() - began) / count
        most = torch.tensor([abs(p.moves[-1].asked) if p else 0.0 for p in paths])
        t = torch.tensor(first[:count])

        def place(t: Tensor, rows: Tensor, sign: float = sign, paths: list[HeldPath | None] = paths) -> Tensor:
            places = []
            for i, strength in zip(rows.tolist(), t.tolist(), strict=True):
                each = paths[i]
                x = each.at(sign * strength) if each else None
                d = 0 if x is None else problem.coordinates.directions(x[:, None].cpu())[:, 0].to(u)
                places.append(u[i] + d)
            return torch.stack(places)

        for target in STRENGTHS:
            found = measured.reach(place, target, t, most)
            found_rows[f"{side} {target}"] = summary(found, target) | {"people": rounded(found)}
            t = found["strength"] * STRENGTHS[1] / STRENGTHS[0]
        found_rows[f"{side} paths"] = {
            "seconds": round(seconds, 1),
            "held up to": [round(p.held_up_to, 3) if p else 0.0 for p in paths],
            "stopped by": [p.stopped_by if p else "no direction" for p in paths],
            "products": [sum(m.products for m in p.moves) if p else 0 for p in paths],
        }
    return found_rows


def main() -> None:
    """Every stage that is asked for, each of them going on where it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=["average", "straight", "held"])
    parser.add_argument("--presets", nargs="*", default=list(FIRST))
    parser.add_argument("--geometry", default="population", choices=["population", "euclidean"])
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--searched", type=int, default=SEARCHED, help="people behind the average")
    parser.add_argument("--held", type=int, default=16, help="people whose moves are held")
    parser.add_argument("--seed", type=int, default=3_000_000)
    parser.add_argument("--work", type=Path, default=Path("outputs/local"))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    folder = args.geometry if args.searched == SEARCHED else f"{args.geometry}_{args.searched}"
    work, farthest = args.work / folder, FARTHEST if args.geometry == "population" else ANYWHERE
    people, truth, names = None, None, list[str]()
    for name in args.presets:
        if "average" in args.stages and not (work / name / FILE).exists():
            began = time.perf_counter()
            G = people.G if people else load_generator("embedded")
            discover(G, name, args.searched, geometry=args.geometry).save(work / name / FILE)
            print(f"{name}: average in {time.perf_counter() - began:.0f} s", flush=True)
        if not {"straight", "held"} & set(args.stages):
            continue
        if people is None:
            people = Individuals(args.people, args.seed)
            truth = true_moves(people, FACTORS)
            file = args.out / "readable.json"
            if not file.exists():
                write_json(file, rounded(readable()))
            names = [name for name, r in json.loads(file.read_text()).items() if r >= READABLE]
        measured, subspace = Measured(people, name, truth, names), load_subspace(work / name)  # type: ignore[arg-type]
        problem = problem_of(name, subspace, people.G)
        file = args.out / folder / f"{name}.json"
        results = json.loads(file.read_text()) if file.exists() else {}
        if set(args.stages) - {"average"} <= set(results):
            continue
        if "ideal" not in results:
            results["ideal"], most = ideal(people, name, truth, names)  # type: ignore[arg-type]
            torch.save(most, work / name / "ideal.pt")
            report(name, {"ideal": results["ideal"]})
            write_json(file, results, indent=None)
        measured.ideal = torch.load(work / name / "ideal.pt", weights_only=True)
        began = time.perf_counter()
        local = find_local(problem, people.u, DIRECTIONS)
        seconds = (time.perf_counter() - began) / len(people.u)
        if "straight" in args.stages and "straight" not in results:
            average = subspace.directions.to(people.u).expand(len(people.u), -1, -1)
            results["search"] = {
                "seconds": round(seconds, 2),
                "products": rounded(local.products.float()),
                "residual": rounded(local.residual),
                "own": int(local.own.sum()),
                "of": len(people.u),
                "threads": torch.get_num_threads(),
                "average rank": subspace.directions.shape[1],
            }
            results["straight"] = {
                "average": straight(measured, average[:, :, :DIRECTIONS], None, DIRECTIONS, farthest),
                "local": straight(measured, local.directions, local, DIRECTIONS, farthest),
            }
            write_json(file, results, indent=None)
            report(name, results["straight"])
        if "held" in args.stages and "held" not in results:
            results["held"] = held(measured, problem, local, results["straight"]["local"]["0"], args.held)
            write_json(file, results, indent=None)
            report(name, {"held": {"0": results["held"]}})


def report(name: str, rows: dict[str, Any]) -> None:
    """Print the ratios of a preset, beyond what comes along on average, and in each person's own ideal edit."""
    for kind, directions in rows.items():
        for k, row in directions.items():
            line = [kind, k]
            for side in (f"{side} {t}" for side in ("plus", "minus") for t in STRENGTHS):
                cell = row[side]
                line.append(f"{side}: {cell['ratio']:.1f} / {cell['ratio beyond']:.1f} ({cell['there']:.0%})")
            print(name, *line, f"same way {row.get('same way', 0):.2f}", flush=True)


if __name__ == "__main__":
    main()
