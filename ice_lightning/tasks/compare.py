"""The end of a multirun: its verdict, or its comparison."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ice_lightning.checks import Mismatch, problem
from ice_lightning.tasks.build import generator_from
from ice_lightning.tasks.verdict import track

if TYPE_CHECKING:
    from ice_lightning.modules.generator import AnyGenerator


def job_number(file: Path) -> str:
    """By what to sort the files of a multirun's folders, which begin with the number of their job."""
    return file.parent.name.partition("_")[0].zfill(6)


def own_generator(config: DictConfig, node: Any) -> AnyGenerator:
    """The generator of a multirun's settings, if it is that of a subspace; else a folder could say what code is run.

    Args:
        config: of the multirun.
        node: the settings in the subspace's file.

    Raises:
        IceError: for other settings.
    """
    if node != OmegaConf.to_container(config.generator, resolve=True):
        fix = "compare runs of one generator, which all of them name"
        raise problem("subspaces of the generator of these settings", "one of other settings", fix, Mismatch)
    return generator_from(config)


class Comparison(Callback):
    """At the end of a multirun, its verdict or its comparison (conf: hydra.callbacks)."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Judge explanations; draw what discoveries found on the same person, by the settings that tell them apart."""
        sweep = Path(config.hydra.sweep.dir)
        if list(sweep.rglob("counterfactuals.safetensors")):
            from ice_lightning.explanation.verdict import verdicts
            from ice_lightning.reports.verdict import write_verdicts

            judged = verdicts(sweep)
            write_verdicts(sweep, judged, sweep)
            track(config, sweep, judged, sweep)
            print("\n".join([*(each.sentence for each in judged), str(sweep / "verdict.html")]))
            return
        from ice_lightning.reports.comparison import write_comparison

        overrides = {
            file.parent: list(yaml.safe_load((file.parent / ".hydra" / "overrides.yaml").read_text()))
            for file in sorted(sweep.glob("*/subspace.safetensors"), key=job_number)
        }
        if len(overrides) < 2:
            return
        shared = set.intersection(*map(set, overrides.values()))
        runs = {", ".join(s for s in settings if s not in shared): folder for folder, settings in overrides.items()}
        again = shlex.join(["python", "-m", "ice_lightning.run", "-m", *config.hydra.overrides.task])
        write_comparison(sweep, runs, ", ".join(sorted(shared)), partial(own_generator, config), again)
        print(f"{len(runs)} runs: {sweep / 'comparison.html'}")
