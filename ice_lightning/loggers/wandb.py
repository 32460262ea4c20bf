"""What is recorded of a run at Weights & Biases: settings, numbers, pictures, tables, artifacts that know their inputs.

A run writes an offline record and never waits for a server. With `mode=online` a second process uploads the record
while the run goes on (upload.py), so that a dead or slow server costs the run nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from ice_lightning.checks import one_of, problem
from ice_lightning.loggers.upload import CLOSED, LOG, UPLOAD_LOG

PICTURED, TOGETHER = 32, 8
"""At most so many rows of a table have pictures, which are drawn so many people at a time."""


class Tracker(WandbLogger):
    """Lightning's logger, which writes offline and may have its record uploaded.

    Args:
        mode: offline, or online, which needs an account (`wandb login`).
        save_dir: folder of the run; the record goes into its `wandb`.
        settings: of `wandb.init`: project, entity, group, job_type, tags, name.

    Raises:
        IceError: for another mode, or online without an account.
    """

    def __init__(self, mode: str = "offline", save_dir: str = ".", **settings: Any) -> None:
        one_of("logger.mode", mode, ("offline", "online"))
        if mode == "online" and not account():
            raise problem("a Weights & Biases account", "none", "run `wandb login` first, or set logger.mode=offline")
        self.online = mode == "online"
        self.data_dir: str | None = None
        super().__init__(save_dir=save_dir, offline=True, **settings)
        del self._wandb_init["anonymous"]  # which wandb warns about, whatever it is

    def begin(self, config: dict[Any, Any]) -> None:
        """Open the record, with the settings of the run, and upload it from now on."""
        self.log_hyperparams(config)
        record = Path(self.experiment.dir).parent.resolve()
        # Else what artifacts hold is left in the home folder, and a record that is carried elsewhere comes without.
        self.data_dir = os.environ.get("WANDB_DATA_DIR")
        os.environ["WANDB_DATA_DIR"] = self.data_dir or str(record)
        if not self.online:
            return
        command = [sys.executable, "-m", "ice_lightning.loggers.upload", str(record), str(os.getpid())]
        # Lightning leaves a mode, wandb its service, which ends with this process.
        left = ("WANDB_MODE", "WANDB_SERVICE")
        environment = {name: value for name, value in os.environ.items() if name not in left}
        with (record / UPLOAD_LOG).open("w") as log:
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        LOG.info(f"uploading to Weights & Biases meanwhile; what it says is in {record / UPLOAD_LOG}")

    def end(self, failed: bool = False) -> None:
        """Close the record, so that the next job of a sweep opens its own."""
        if self._experiment is not None:
            record = Path(self.experiment.dir).parent
            self.experiment.finish(exit_code=int(failed))
            (record / CLOSED).touch()
            if self.data_dir is None:
                os.environ.pop("WANDB_DATA_DIR", None)

    def pictures(self, files: Iterable[Path]) -> None:
        """Pictures under their files' names, those that are there."""
        for file in files:
            if file.exists():
                self.log_image(file.stem, [str(file)])

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table, as table/NAME.

        Args:
            name: of the table.
            rows: values by column; images, (3, H, W) in 0..1 or (H, W, 3) uint8, are shown in it.
        """
        import wandb

        def cell(value: Any) -> Any:
            if isinstance(value, Tensor):
                value = (255 * value.clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
            return wandb.Image(value) if hasattr(value, "ndim") else value

        columns: list[str | int] = list(dict.fromkeys(column for row in rows for column in row))
        data = [[cell(row.get(str(column))) for column in columns] for row in rows]
        self.experiment.log({f"table/{name}": wandb.Table(columns=columns, data=data, allow_mixed_types=True)})

    def artifact(self, name: str, kind: str, file: Path | None, facts: Mapping[str, Any], taken: bool = False) -> None:
        """A file, or facts alone, as an artifact that this run made, or took.

        The server tells artifacts by their content: one that is there already is taken, not stored again.
        `Run.use_artifact` refuses to work offline; what it does with a draft is what is done here.

        Args:
            name: of `artifact_name`.
            kind: subspace, generator, explanation or verdict.
            file: that is uploaded; None for the facts alone.
            facts: as JSON has them.
            taken: whether the run took it instead of making it.
        """
        import wandb

        artifact = wandb.Artifact(name, kind, metadata=dict(facts))
        if file is None:
            with artifact.new_file("facts.json") as written:
                written.write(json.dumps(facts, sort_keys=True))
        else:
            artifact.add_file(str(file))
        if taken:
            self.experiment._log_artifact(artifact, aliases=["latest"], is_user_created=True, use_after_commit=True)
        else:
            self.experiment.log_artifact(artifact, aliases=["latest"])


def account() -> bool:
    """Whether there is a key of Weights & Biases, as `wandb login` leaves it; the server isn't asked."""
    import wandb

    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(wandb.setup().settings.base_url).hostname or ""
    try:
        return netrc(os.environ.get("NETRC", Path.home() / ".netrc")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


def artifact_name(*parts: str) -> str:
    """Parts as a name of W&B, which allows letters, digits, dashes, underscores and dots.

    Example:
        >>> artifact_name("subspace", "skin color")
        'subspace-skin_color'
    """
    return "-".join("".join(c if c.isalnum() or c in "-_." else "_" for c in part) for part in parts)


def generator_artifact(fingerprint: str, name: str) -> tuple[str, str, None, dict[str, Any]]:
    """Arguments of `Tracker.artifact` for a generator, which is named and not uploaded.

    Args:
        fingerprint: SHA-256 of its file.
        name: its path.
    """
    return artifact_name("generator", fingerprint[:12]), "generator", None, {"sha256": fingerprint, "name": name}


def trackers(loggers: Iterable[Any]) -> list[Tracker]:
    """Those loggers that are W&B's."""
    return [each for each in loggers if isinstance(each, Tracker)]


class Track(pl.Callback):
    """Opens and closes the record of a run, whose resolved settings are `config`."""

    def __init__(self, config: dict[Any, Any]) -> None:
        self.config = config

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Open it."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.begin(self.config) if isinstance(logger, Tracker) else logger.log_hyperparams(self.config)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close it, as one of a run that failed."""
        if trainer.is_global_zero:
            for logger in trackers(trainer.loggers):
                logger.end(failed=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close it."""
        if trainer.is_global_zero:
            for logger in trackers(trainer.loggers):
                logger.end()
