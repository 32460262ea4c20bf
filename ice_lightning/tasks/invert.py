"""task=invert: latents of pictures."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from ice_lightning.checks import problem
from ice_lightning.tasks.base import Result, writable
from ice_lightning.tasks.build import generator_from


def invert(cfg: DictConfig) -> Result:
    """Find latents whose images are the given pictures, and write them where explain and discover read them."""
    from ice_lightning.faces.embedded import perceptual
    from ice_lightning.inversion import KINDS, invert_pictures, read_pictures
    from ice_lightning.progress import steps
    from ice_lightning.reports.inversion import write_inversion

    folder = writable(Path(cfg.run_dir))
    if cfg.image is None:
        raise problem(f"a picture or a folder of pictures ({', '.join(KINDS)})", "none", "set image=PATH")
    generator = generator_from(cfg)
    names, pictures = read_pictures(cfg.image, generator.resolution)
    with steps("step", cfg.invert.steps) as progress:
        found = invert_pictures(
            generator, pictures, cfg.space, perceptual(), cfg.invert.steps, cfg.invert.rate,
            on_step=lambda step, loss: progress.at(step + 1, f"distance {loss:.4f}"),
        )  # fmt: skip
    metrics = write_inversion(folder, names, pictures, found, cfg.space, generator.fingerprint)
    message = f"{len(names)} pictures, PSNR {metrics.psnr_mean:.1f} dB: {folder / 'inversion.png'}"
    return Result(
        folder, metrics.to_json(), f"{message}\nexplain.latents={folder / 'latents.safetensors'} explains them"
    )
