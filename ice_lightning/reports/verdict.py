"""What a verdict leaves in its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ice_lightning.explanation.rows import FILE, load_explained
from ice_lightning.explanation.verdict import ClassifierVerdict
from ice_lightning.files import write_bytes, write_json, write_text
from ice_lightning.loggers.wandb import Tracker
from ice_lightning.reports import figures, pages
from ice_lightning.reports.explanation import explanation_artifact


def write_verdicts(folder: Path, judged: Sequence[ClassifierVerdict], runs: Path) -> None:
    """verdict.json, verdict.html, and a picture for each classifier.

    Args:
        folder: where to.
        judged: a verdict for each classifier.
        runs: the folder of the explanations, whose pictures the page shows.
    """
    pictures: dict[str, bytes] = {}
    for each in judged:
        pictures[each.classifier] = figures.png(figures.verdict(each))
        name = re.sub(r"[^\w.-]", "_", each.classifier)  # of a file that may come from anybody
        write_bytes(folder / f"verdict_{name}.png", pictures[each.classifier])
    people: dict[tuple[str, str], bytes] = {}
    for file in sorted(runs.rglob("counterfactuals.png")):
        if (file.parent / "metrics.json").is_file():
            facts = json.loads((file.parent / "metrics.json").read_text())
            people[facts["classifier"], facts["criterion"]] = file.read_bytes()
    command = f"python -m ice_lightning.run task=verdict runs={runs}"
    write_text(folder / "verdict.html", pages.verdict_page(judged, pictures, people, command))
    write_json(folder / "verdict.json", [each.to_json() for each in judged])


def track_verdicts(
    logger: Tracker, config: dict[str, Any], folder: Path, judged: Sequence[ClassifierVerdict], runs: Path
) -> None:
    """A record of a verdict: a row for each classifier and subspace, the pictures, and what it was made of.

    Args:
        logger: W&B's.
        config: the resolved settings.
        folder: where `write_verdicts` wrote.
        judged: a verdict for each classifier.
        runs: the folder of the explanations.
    """
    logger.begin(config)
    rows = []
    for each in judged:
        for part in each.subspaces:
            facts: dict[str, Any] = {
                "classifier": each.classifier,
                "criterion": part.criterion,
                "counts": part.counts,
                "flip_rate": part.flips.rate,
                "low": part.flips.low,
                "high": part.flips.high,
                "people": part.flips.of,
                "effort": part.effort,
                "p": part.p,
            }
            if (found := part.significance) is not None:
                facts |= {"score": found.score, "rank": found.rank, "control/random": found.random_rate}
                facts |= {"difference": found.difference, "detectable": found.detectable}
            rows.append(facts | {f"control/{name}": control.rate for name, control in part.controls.items()})
    logger.table("verdict", rows)
    logger.log_image("verdict", [str(file) for file in sorted(folder.glob("verdict_*.png"))])
    for file in sorted(runs.rglob(FILE)):
        run = load_explained(file.parent)
        name = explanation_artifact(run.classifier, run.criterion)
        logger.artifact(name, "explanation", file, {}, taken=True)
    logger.artifact("verdict", "verdict", folder / "verdict.json", {"sentences": [each.sentence for each in judged]})
    logger.end()
