"""The verdict: what a classifier looks at, from the counterfactuals of one population in several named subspaces."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.metrics import Sufficiency

FILE = "counterfactuals.safetensors"
DRAWS = 4000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Explained:
    """A finished explanation.

    Attributes:
        folder: of the run.
        classifier: its name.
        criterion: the name of the subspace.
        directions: how many it has.
        rows: by name, a row for each person in the order of their numbers; see modules/explanation.py.
        slices: names of the oracles.
    """

    folder: Path
    classifier: str
    criterion: str
    directions: int
    rows: dict[str, Tensor]
    slices: tuple[str, ...]


def read_rows(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Rows of some people and what made them; raises SafetensorError or KeyError for a broken or foreign file."""
    with safe_open(path, "pt") as file:
        facts = json.loads((file.metadata() or {})["explanation"])
        return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (not a dict)


def load_explained(folder: str | Path) -> Explained:
    """An explanation from its run folder.

    Raises:
        IceError: for a missing or broken file.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise problem(f"counterfactuals at {path}", "none", "run task=explain into this folder")
    try:
        rows, facts = read_rows(path)
    except (SafetensorError, KeyError) as error:
        raise problem(f"a whole file at {path}", str(error), "run the explanation again") from error
    return Explained(
        Path(folder), facts["classifier"], facts["criterion"], facts["directions"], rows, tuple(facts["oracles"])
    )


def interval(values: Tensor, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of values (N,) over people.

    Where everyone has the same value a bootstrap says nothing; then Wilson's bounds for 0 of N and N of N are taken.
    """
    n = len(values)
    if n == 0:
        return float("nan"), float("nan")
    values = values.double()
    if bool((values == values[0]).all()) and float(values[0]) in (0.0, 1.0):
        edge = 3.8416 / (n + 3.8416)
        return (0.0, edge) if values[0] == 0 else (1 - edge, 1.0)
    draw = torch.Generator().manual_seed(seed)
    means = torch.cat(
        [values[torch.randint(n, (100, n), generator=draw)].mean(1) for _ in range(DRAWS // 100)]
    ).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(means[0]), float(means[1])


def rate(flipped: Tensor) -> dict[str, Any]:
    """Share, interval and denominator of flips (N,) bool."""
    low, high = interval(flipped)
    share = float(flipped.double().mean()) if len(flipped) else float("nan")
    return {"rate": share, "interval": [low, high], "of": len(flipped)}


def summary(run: Explained) -> dict[str, Any]:
    """What one explanation says: flip rates of the subspace and of its controls, effort, slices, and whether it counts.

    A subspace counts when the whole interval of its flip rate lies above that of random subspaces of the same size.
    """
    rows = run.rows
    known = rows["before"].isfinite()
    flipped = rows["flipped"].bool()
    effort = rows["effort"][flipped & known]
    controls = {
        name: rate(rows[f"{name}_flipped"].bool()[known])
        for name in ("random", "weights", "unrestricted")
        if f"{name}_flipped" in rows
    }
    positive = rows["before"] >= 0
    groups = {"called positive": positive, "called negative": ~positive}
    for name, logit in zip(run.slices, rows["oracles"].unbind(1), strict=True):
        groups |= {name: logit > 0, f"not {name}": logit <= 0}
    own = rate(flipped[known])
    return {
        "criterion": run.criterion,
        "directions": run.directions,
        **own,
        "effort": float(effort.median()) if len(effort) else None,
        "controls": controls,
        "counts": "random" in controls and own["interval"][0] > controls["random"]["interval"][1],
        "slices": {name: rate(flipped[group & known]) for name, group in groups.items()},
    }


def judge(runs: Sequence[Explained]) -> dict[str, Any]:
    """A classifier's verdict: subspaces in the order of their flip rates above chance, and what they reach together.

    Raises:
        IceError: when the runs looked at different people.
    """
    first = runs[0]
    for run in runs:
        if not torch.equal(run.rows["number"], first.rows["number"]):
            fix = "give all runs the same explain.people and explain.seed"
            raise problem(f"the people of {first.folder.name} in {run.folder.name}", "others", fix)

    return rank(
        first.classifier, [summary(run) for run in runs], torch.stack([run.rows["flipped"].bool() for run in runs], 1)
    )


def rank(classifier: str, summaries: Sequence[dict[str, Any]], flipped: Tensor) -> dict[str, Any]:
    """The verdict on a classifier, from the `summary` of each subspace and who flipped within it (N, K) bool."""

    def above_chance(k: int) -> float:
        return summaries[k]["rate"] - summaries[k]["controls"].get("random", {"rate": 0.0})["rate"]

    order = sorted(range(len(summaries)), key=above_chance, reverse=True)
    together = Sufficiency(len(order))
    together.update(flipped[:, order])
    verdict = {
        "classifier": classifier,
        "people": len(flipped),
        "subspaces": [summaries[k] for k in order],
        "sufficiency": together.compute().reshape(-1).tolist(),
    }
    return verdict | {"sentence": sentence(verdict)}


def percent(share: float) -> str:
    """Whole percents."""
    return f"{100 * share:.0f}"


def sentence(verdict: dict[str, Any]) -> str:
    """The verdict in plain words."""
    counting = [each for each in verdict["subspaces"] if each["counts"]]
    name, people = verdict["classifier"], verdict["people"]
    if not any("random" in each["controls"] for each in verdict["subspaces"]):
        why = "no random subspaces were tried"
        return f"Whether {name} flips more often than by chance is open: {why}, in {people} people."
    if not counting:
        return f"{name} flips with nothing that was named more often than with random subspaces, in {people} people."
    parts = []
    for each in counting[:3]:
        low, high = each["interval"]
        chance = percent(each["controls"]["random"]["rate"])
        parts.append(
            f"with {each['criterion'].replace('_', ' ')} for {percent(each['rate'])} % "
            f"({percent(low)}-{percent(high)} %) of {each['of']} people, "
            f"where a random subspace with as much image change flips {chance} %"
        )
    return f"{name} flips {'; '.join(parts)}."


def verdicts(folder: str | Path) -> list[dict[str, Any]]:
    """A verdict for each classifier among the explanations below a folder.

    Raises:
        IceError: when there are none.
    """
    by_classifier: defaultdict[str, list[Explained]] = defaultdict(list)
    for file in sorted(Path(folder).rglob(FILE)):
        run = load_explained(file.parent)
        by_classifier[run.classifier].append(run)
    if not by_classifier:
        raise problem(f"finished explanations below {folder}", "none", "set runs to the folder of their sweep")
    return [judge(runs) for runs in by_classifier.values()]
