"""How many products a search takes under other settings, and what it finds then, counted on whole Jacobians.

    python experiments/solver/counts.py skin_color mouth_shape

Whole Jacobians of people whom no figure is of are taken once (six minutes a preset); a search is then a matter of
seconds. The rows are in counts.json: products, how many of each state, the smallest cosine between the subspace and the
exact one.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from measure import HERE, RUNS, a_person

from ice_lightning.criterions import Analysis
from ice_lightning.files import write_json
from ice_lightning.parallel import map_threads
from ice_lightning.solvers import largest, probes, soft
from ice_lightning.solvers import problem as problems
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.solvers.problem import Problem
from ice_lightning.subspace import principal_angles

sys.path.insert(0, str(HERE.parents[1] / "tests"))
SEED, PEOPLE, GROUPS = 3_000_000, 16, 4
ROWS = Problem.sketch_rows
VARIANTS: dict[str, list[tuple[Any, str, Any]]] = {
    "as it is": [],
    "two vectors for largest eigenvalues": [(largest, "FIRST_VECTORS", 2)],
    "one": [(largest, "FIRST_VECTORS", 1)],
    "small terms by products": [(problems, "SMALL_TERM", 8)],
    "two quiet passes": [(probes, "QUIET", 2)],
    "rows dealt out alike": [(soft, "dealt", lambda problem, rows: alike(problem, rows))],
    **{
        f"{share} times the rows": [
            (Problem, "sketch_rows", lambda self, most, share=share: max(4, round(share * ROWS(self, most))))
        ]
        for share in (0.4, 0.6, 0.8, 1.3)
    },
}


def alike(problem: Problem, rows: int) -> list[int]:
    """As many random rows for each term with many features."""
    many = [i for i in problem.suppressed if i not in problem.small_terms]
    return [max(4, rows // len(many)) for _ in many]


@contextmanager
def changed(places: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Within the block other values stand in some places."""
    before = [getattr(where, name) for where, name, _ in places]
    for where, name, value in places:
        setattr(where, name, value)
    try:
        yield
    finally:
        for (where, name, _), value in zip(places, before, strict=True):
            setattr(where, name, value)


def whole(preset: str, file: Path) -> dict[str, Any]:
    """The problem of a preset, and a factor of every term's energy of every person, kept in a file."""
    if not file.exists():
        module, _ = a_person(f"criterion={preset}")
        G = module.generator
        U = G.convert(G.sample(PEOPLE, SEED), "z", "s")

        def rows(person: int) -> list[torch.Tensor] | None:
            u = U[person : person + 1]
            seen = module.analyse(u)
            if not isinstance(seen, Analysis):
                return None
            module.analyses[person] = seen
            J = module.features(person, u, list(range(len(module.terms)))).jacobian()
            parts = J.split(J.matmat(torch.eye(J.shape[1])).double())
            print(preset, person, flush=True)
            return [torch.linalg.qr(R, mode="r").R if len(R) > R.shape[1] else R for R in parts]

        found = [each for each in map_threads(rows, list(range(PEOPLE)), torch.get_num_threads()) if each]
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"problem": tuple(module.problem._replace(people=len(found))), "people": found}, file)
    return torch.load(file, weights_only=True)


def exact(problem: Problem, people: list[list[torch.Tensor]]) -> torch.Tensor:
    """The eigenvectors of the pencil by dense matrices, strongest first."""
    G = [sum(person[i].T @ person[i] for person in people) / len(people) for i in range(len(problem.sizes))]
    A = sum(weight * G[i] for i, weight in problem.activated.items())
    B = torch.eye(problem.n, dtype=torch.float64)
    for i, ratio in problem.suppressed.items():
        B = B + G[i] / (ratio * torch.linalg.eigvalsh(G[i])[-1])
    L = torch.linalg.cholesky(B)
    half = torch.linalg.solve_triangular(L, A, upper=False)
    Y = torch.linalg.eigh(torch.linalg.solve_triangular(L, half.T, upper=False)).eigenvectors
    return torch.linalg.solve_triangular(L.T, Y.flip(1), upper=True)


def count(preset: str) -> dict[str, Any]:
    """A row for each variant and three seeds of random rows."""
    from reference import answer

    kept = whole(preset, RUNS / f"rows_{preset}.pt")
    problem, people = Problem(*kept["problem"]), kept["people"]
    X = exact(problem, people)
    found: dict[str, Any] = {}
    for name, places in VARIANTS.items():
        found[name] = []
        for seed in range(3):
            with changed(places):
                end, steps = answer(BlockKrylov(), problem, people, groups=GROUPS, seed=seed)
            states: Counter[str] = Counter()
            for state, replies in steps:
                states[type(state).__name__] += replies[0].num_products
            V, k = end.result.vectors, len(end.result.values)
            row = {
                "products": end.cost.products,
                "states": dict(states),
                "rank": k,
                "smallest cosine": float(principal_angles(V, X[:, :k] / X[:, :k].norm(dim=0)).max().cos()),
                "residual": end.residual,
                "stability": end.stability and end.stability.angles,
            }
            found[name].append(row)
            print(preset, name, row, flush=True)
    return found


def main() -> None:
    """Count for some presets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    with torch.no_grad():
        found = {preset: count(preset) for preset in parser.parse_args().presets}
    write_json(HERE / "counts.json", found, indent=1)


if __name__ == "__main__":
    main()
