"""solver=krylov against solver=exact under hard projections; the command is in the README.

Every cell (a criterion, so many people) is written to exactness.json as soon as it is done, and left alone by the next
call; the table in the README is written anew from all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module

from ice_lightning import load_subspace
from ice_lightning.run import run
from ice_lightning.subspace import Subspace, principal_angles

HERE = Path(__file__).parent
RESULTS, README = HERE / "exactness.json", HERE / "README.md"
RUNS = Path("outputs/exactness")
CONF = HERE.parents[1] / "conf" / "criterion"
ALONE = 0.1
"""An eigenvalue stands alone where the next is lower by this share of it; others make a cluster."""


def criterions() -> list[str]:
    """Those whose projection isn't soft."""
    names = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
    return [name for name in names if composed(name, 1, "exact").criterion.projection != "soft"]


def composed(criterion: str, people: int, solver: str) -> Any:
    """Settings of a discovery in s."""
    folder = RUNS / f"{criterion.replace('/', '_')}_{people}_{solver}"
    settings = [f"criterion={criterion}", f"latents.count={people}", f"solver={solver}", f"run_dir={folder}"]
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        common = ["task=discover", "geometry=euclidean", "logger=none", "space=s", "criterion.rank=null"]
        return compose("config", [*common, *settings])


def cluster(values: list[float]) -> int:
    """How many of the first eigenvalues, descending, are not told apart."""
    for k, (one, following) in enumerate(pairwise(values), 1):
        if 1 - following / one > ALONE:
            return k
    return len(values)


def compare(one: Subspace, truth: Subspace) -> dict[str, Any]:
    """Ranks, and the largest angle between the exact first cluster and the directions that have its place."""
    k = cluster(truth.eigenvalues.tolist())
    # A cluster of the exact ones may be found in any rotation, and is compared with as many first directions.
    angle = principal_angles(one.directions[:, :k], truth.directions[:, :k]).max()
    return {
        "rank": [one.directions.shape[1], truth.directions.shape[1]],
        "cluster": k,
        "degrees": math.degrees(float(angle)),
        "first_value": float(one.eigenvalues[0] / truth.eigenvalues[0] - 1),
    }


def measure(criterion: str, people: int) -> dict[str, Any]:
    """A row."""
    found, metrics = {}, {}
    for solver in ("krylov", "exact"):
        cfg = composed(criterion, people, solver)
        metrics[solver] = run(cfg).metrics
        found[solver] = load_subspace(cfg.run_dir)
    ours, exact = metrics["krylov"], metrics["exact"]
    return {
        "projection": cfg.criterion.projection,
        **compare(found["krylov"], found["exact"]),
        "suppressed_rank": [ours["suppressed_rank"], exact["suppressed_rank"]],
        "products": [ours["products_per_person"], exact["products_per_person"]],
        "residual": ours["residual"],
        "stopped_early": ours["stopped_early"],
    }


def good(row: dict[str, Any]) -> bool:
    """Whether a search found what it should, or said that it didn't."""
    ranks = row["rank"]
    return bool(row["stopped_early"]) or (row["degrees"] <= 2 and abs(ranks[0] - ranks[1]) <= 1)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """In Markdown."""
    lines = [
        "| criterion | people | projection | rank, exact | bad directions, exact | first, degrees | residual "
        "| products, exact | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items()):
        criterion, people = name.rsplit(" ", 1)
        first = f"{row['degrees']:.2f}" + (f" (cluster of {row['cluster']})" if row["cluster"] > 1 else "")
        pairs = (", ".join(map(str, row[key])) for key in ("rank", "suppressed_rank", "products"))
        rank, bad, products = pairs
        said = f"stopped early: {row['stopped_early']}" if row["stopped_early"] else ("" if good(row) else "**wrong**")
        lines.append(
            f"| `{criterion}` | {people} | {row['projection']} | {rank} | {bad} | {first} | {row['residual']:.2g} "
            f"| {products} | {said} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what isn't there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--only", nargs="*", help="criterions")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for people in args.people:
        for criterion in args.only or criterions():
            if (cell := f"{criterion} {people}") in rows:
                continue
            rows[cell] = measure(criterion, people)
            print(cell, rows[cell], flush=True)
            RESULTS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    marks = r"(<!-- exactness -->\n)(?:.*?\n)?(<!-- end -->)"
    README.write_text(re.sub(marks, lambda m: f"{m[1]}{table(rows)}\n{m[2]}", README.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
