"""What an inversion leaves: latents that explain and discover read, a picture, and how well they fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ice_lightning.files import atomic_write
from ice_lightning.inversion import Inverted
from ice_lightning.latents import FILE, SavedLatents
from ice_lightning.reports import figures


def write_inversion(
    folder: Path, names: Sequence[str], target: Tensor, found: Inverted, space: str, fingerprint: str, shown: int = 12
) -> dict[str, Any]:
    """latents.safetensors, inversion.png and metrics.json; returns the metrics.

    Args:
        folder: of the run.
        names: of the pictures.
        target: (N, 3, H, W) in 0..1.
        found: with latents in `space`.
        space: of the latents.
        fingerprint: SHA-256 of the generator.
        shown: pictures in the picture.
    """
    SavedLatents(found.u, space, fingerprint, tuple(names)).save(folder / FILE)
    psnr = dict(zip(names, found.psnr.tolist(), strict=True))
    metrics = {"psnr": psnr, "psnr_mean": float(found.psnr.mean()), "space": space}
    with atomic_write(folder / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")
    pairs = torch.stack([target, found.images], 1)[:shown]
    labels = [f"{name}, PSNR {value:.1f} dB" for name, value in list(psnr.items())[:shown]]
    title = "Pictures and what the generator makes of them"
    figure = figures.counterfactuals(pairs, labels, title, headings=("picture", "inverted", "difference"))
    with atomic_write(folder / "inversion.png") as part:
        part.write_bytes(figures.png(figure))
    return metrics
