"""The people that a run looks at: from seeds or from a file, the same set at any number of processes.

A file of latents is safetensors with the tensor `u` (N, n) and, under `latents` in its metadata, JSON: `space`,
`generator_sha256` and `names`, one for each person.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ice_lightning.checks import Mismatch, NotFound, Unreadable, at_least, one_of, problem
from ice_lightning.files import write_bytes
from ice_lightning.modules.generator import AnyGenerator

FILE = "latents.safetensors"
"""In a run folder of task=invert, and in what the explorer saves."""
PADDING = -1
"""The index of an entry that only makes the ranks' shards equally long."""


@dataclass(frozen=True, eq=False)
class SavedLatents:
    """People in one space of one generator, as a file holds them.

    Attributes:
        u: (N, n).
        space: z, w, w+ or s.
        generator_sha256: fingerprint of the generator.
        names: of the N people.
    """

    u: Tensor
    space: str
    generator_sha256: str
    names: tuple[str, ...]

    def belongs_to(self, generator_sha256: str, space: str) -> bool:
        """Whether these are latents of the generator with this fingerprint, in this space."""
        return (self.generator_sha256, self.space) == (generator_sha256, space)

    def to_bytes(self) -> bytes:
        """The content of a file."""
        facts = {"space": self.space, "generator_sha256": self.generator_sha256, "names": list(self.names)}
        return save({"u": self.u.cpu().contiguous()}, metadata={"latents": json.dumps(facts)})

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_bytes(path, self.to_bytes())


def read_latents(path: str | Path) -> SavedLatents:
    """A file by task=invert or by the explorer.

    Raises:
        IceError: for a missing or broken file.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["latents"])
            return SavedLatents(file.get_tensor("u"), facts["space"], facts["generator_sha256"], tuple(facts["names"]))
    except (SafetensorError, OSError, KeyError) as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else Unreadable
        fix = "write them by task=invert image=DIR"
        raise problem(f"latents at {path}", type(error).__name__, fix, kind) from error


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
        """{"index": (), "u": (n,)}; the latent of PADDING means nothing."""
        return {"index": torch.tensor(index), "u": self.latents[index]}


class LatentDataModule(pl.LightningDataModule):
    """Seeded people in one latent space.

    Args:
        generator: draws and converts.
        space: z, w, w+ or s.
        count: number of people, at least 1.
        seed: person i is drawn from seed + i.
        batch: people per step, at least 1.
        file: of latents, whose people are taken instead, all of them.

    Raises:
        IceError: for an unknown space, more people than memory holds, or a file of another generator or space.
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
        saved = read_latents(file)
        if not saved.belongs_to(generator.fingerprint, space):
            got = f"latents in {saved.space} of {saved.generator_sha256[:12]}"
            fix = "invert the pictures again with this generator and space"
            raise problem(f"latents in {space} of this generator ({generator.fingerprint[:12]})", got, fix, Mismatch)
        self.latents = saved.u

    def train_dataloader(self) -> DataLoader:
        """In order, each rank its own shard, no person twice; shards that would be shorter end with PADDING."""
        ranks, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)
        return DataLoader(shard(People(self.latents), ranks, rank), self.batch)

    def test_dataloader(self) -> DataLoader:
        """The same people in the same order as in training."""
        return self.train_dataloader()


def check_room(people: int, dim: int) -> None:
    """Refuse people whose latents would fill more than half of this machine's memory.

    Args:
        people: how many.
        dim: float32 numbers of each.

    Raises:
        IceError: for too many.
    """
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (2 * 4 * dim)
    if people > most:
        raise problem(f"at most {most} people, whose latents half of the memory holds", people, "draw fewer")


def shard(people: People, ranks: int, rank: int) -> Dataset:
    """A rank's people: every ranks-th one from rank on.

    All shards are equally long, since ranks wait for one another at every step: the shorter ones end with PADDING.

    Args:
        people: all of them.
        ranks: number of processes.
        rank: of this process, from 0.

    Returns:
        As many entries as the longest shard has.

    Example:
        >>> [[int(each["index"]) for each in shard(People(torch.zeros(5, 3)), 2, rank)] for rank in range(2)]
        [[0, 2, 4], [1, 3, -1]]
    """
    indices = list(range(rank, len(people), ranks))
    short = -len(people) % ranks
    return Subset(people, indices + [PADDING] * (short > 0 and rank >= ranks - short))
