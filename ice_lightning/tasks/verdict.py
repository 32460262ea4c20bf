"""task=verdict: which subspaces a classifier looks at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig

from ice_lightning.checks import problem
from ice_lightning.tasks.base import Result, writable
from ice_lightning.tasks.build import tracked

if TYPE_CHECKING:
    from ice_lightning.explanation.verdict import ClassifierVerdict


def judge(cfg: DictConfig) -> Result:
    """Rank the named subspaces of a folder's explanations, for each classifier."""
    from ice_lightning.explanation.verdict import verdicts
    from ice_lightning.reports.verdict import write_verdicts

    if cfg.runs is None:
        raise problem("the folder of a sweep of explanations", "none", "set runs=DIR")
    folder = writable(Path(cfg.run_dir))
    judged = verdicts(cfg.runs)
    write_verdicts(folder, judged, Path(cfg.runs))
    track(cfg, folder, judged, Path(cfg.runs))
    sentences = "\n".join(each.sentence for each in judged)
    return Result(folder, {"verdicts": [each.to_json() for each in judged]}, f"{sentences}\n{folder / 'verdict.html'}")


def track(cfg: DictConfig, folder: Path, judged: list[ClassifierVerdict], runs: Path) -> None:
    """Record a verdict at W&B, where runs are recorded there.

    Args:
        cfg: all settings.
        folder: of the verdict's files.
        judged: a verdict for each classifier.
        runs: the folder of the explanations.
    """
    if not tracked(cfg):
        return
    from ice_lightning.reports.verdict import track_verdicts

    names = {"save_dir": str(folder), "name": "verdict", "job_type": "verdict", "group": cfg.logger.group or runs.name}
    logger = instantiate(cfg.logger, **names, tags=cfg.logger.tags or [each.classifier for each in judged])
    track_verdicts(logger, {"runs": str(runs)}, folder, judged, runs)
