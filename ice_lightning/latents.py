"""The people that a run looks at: seeds to latents, the same set at any number of processes."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ice_lightning.checks import at_least, one_of
from ice_lightning.modules.stylegan2 import Generator


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
        """{"index": (), "u": (n,)}."""
        return {"index": torch.tensor(index), "u": self.latents[index]}


class LatentDataModule(pl.LightningDataModule):
    """Seeded people in one latent space.

    Args:
        generator: draws and converts.
        space: z, w, w+ or s.
        count: number of people, at least 1.
        seed: person i is drawn from seed + i.
        batch: people per step.
    """

    def __init__(self, generator: Generator, space: str, count: int, seed: int = 0, batch: int = 1) -> None:
        super().__init__()
        one_of("space", space, generator.spaces)
        at_least("latents.count", count, 1)
        self.batch = at_least("latents.batch", batch, 1)
        with torch.no_grad():
            self.latents = generator.convert(generator.sample(count, seed), "z", space).cpu()

    def train_dataloader(self) -> DataLoader:
        """In order, each rank its own share; no person twice."""
        people = People(self.latents)
        trainer = self.trainer
        if trainer is not None and trainer.world_size > 1:
            ranks, rank = trainer.world_size, trainer.global_rank
            share = torch.utils.data.Subset(people, range(rank, len(people), ranks))
            return DataLoader(share, self.batch)
        return DataLoader(people, self.batch)
