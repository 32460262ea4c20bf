"""What an inversion leaves: latents that explain and discover read, a picture, and how well they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ice_lightning.files import write_bytes, write_json
from ice_lightning.inversion import Inverted
from ice_lightning.latents import FILE, SavedLatents
from ice_lightning.reports import figures


@dataclass(frozen=True)
class InversionMetrics:
    """What metrics.json of an inversion says.

    Attributes:
        psnr: in dB, by picture.
        psnr_mean: over pictures.
        space: of the latents.
    """

    psnr: Mapping[str, float]
    psnr_mean: float
    space: str

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        return asdict(self)


def write_inversion(
    folder: Path, names: Sequence[str], target: Tensor, found: Inverted, space: str, fingerprint: str, shown: int = 12
) -> InversionMetrics:
    """Write latents.safetensors, inversion.png and metrics.json.

    Args:
        folder: of the run.
        names: of the pictures.
        target: (N, 3, H, W) in 0..1.
        found: with latents in `space`.
        space: of the latents.
        fingerprint: SHA-256 of the generator.
        shown: at most so many in inversion.png.

    Returns:
        What metrics.json holds.
    """
    SavedLatents(found.u, space, fingerprint, tuple(names)).save(folder / FILE)
    psnr = dict(zip(names, found.psnr.tolist(), strict=True))
    metrics = InversionMetrics(psnr, float(found.psnr.mean()), space)
    write_json(folder / "metrics.json", metrics.to_json())
    pairs = torch.stack([target, found.images], 1)[:shown]
    labels = [f"{name}, PSNR {value:.1f} dB" for name, value in list(psnr.items())[:shown]]
    title = "Pictures and what the generator makes of them"
    figure = figures.counterfactuals(pairs, labels, title, headings=("picture", "inverted", "difference"))
    write_bytes(folder / "inversion.png", figures.png(figure))
    return metrics
