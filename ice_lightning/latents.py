"""The people that a run looks at: seeds to latents, the same set at any number of processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ice_lightning.checks import Mismatch, NotFound, Unreadable, at_least, one_of, problem
from ice_lightning.modules.generator import AnyGenerator

PADDING = -1
"""The number of a person who isn't one."""


class People(Dataset):
    """Latents by person number.

    Args:
        latents: (count, n).
    """

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents

    def __len__(self) -> int:
        """Number of people."""
        return len(self.latents)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """{"index": (), "u": (n,)}; of PADDING the latent is anyone's."""
        return {"index": torch.tensor(index), "u": self.latents[index]}


class LatentDataModule(pl.LightningDataModule):
    """Seeded people in one latent space.

    Args:
        generator: draws and converts.
        space: z, w, w+ or s.
        count: number of people, at least 1.
        seed: person i is drawn from seed + i.
        batch: people per step.
        file: of latents by task=invert, whose people are taken instead, all of them.
    """

    def __init__(
        self, generator: AnyGenerator, space: str, count: int, seed: int = 0, batch: int = 8, file: str | None = None
    ) -> None:
        super().__init__()
        one_of("space", space, generator.spaces)
        at_least("latents.count", count, 1)
        self.batch = at_least("latents.batch", batch, 1)
        if file is None:
            check_room(count, generator.dim(space))
            with torch.no_grad():
                self.latents = generator.people(count, seed, space).cpu()
            return
        self.latents, facts = read_latents(file)
        if (facts["space"], facts["generator_sha256"]) != (space, generator.fingerprint):
            got = f"latents in {facts['space']} of {facts['generator_sha256'][:12]}"
            fix = "invert the pictures again with this generator and space"
            raise problem(f"latents in {space} of this generator ({generator.fingerprint[:12]})", got, fix, Mismatch)

    def train_dataloader(self) -> DataLoader:
        """In order, each rank its own share, no person twice; shares that would be shorter end with nobody."""
        ranks, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)
        return DataLoader(share_of(People(self.latents), ranks, rank), self.batch)

    def test_dataloader(self) -> DataLoader:
        """The same."""
        return self.train_dataloader()


def check_room(people: int, numbers: int) -> None:
    """Refuse people whose latents, of so many numbers each, would fill more than half of this machine's memory."""
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (2 * 4 * numbers)
    if people > most:
        raise problem(f"at most {most} people, whose latents half of the memory holds", people, "draw fewer")


def read_latents(path: str | Path) -> tuple[Tensor, dict[str, Any]]:
    """Latents (N, n) of a file by task=invert, and its facts: space, generator_sha256, names.

    Raises:
        IceError: for a missing or broken file.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("u"), json.loads((file.metadata() or {})["latents"])
    except (SafetensorError, OSError, KeyError) as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else Unreadable
        fix = "write them by task=invert image=DIR"
        raise problem(f"latents at {path}", type(error).__name__, fix, kind) from error


def share_of(people: People, ranks: int, rank: int) -> Dataset:
    """Every ranks-th person from rank on; PADDING where the others have one more, since ranks count their steps."""
    own = list(range(rank, len(people), ranks))
    short = -len(people) % ranks
    return Subset(people, own + [PADDING] * (short > 0 and rank >= ranks - short))
