"""task=invert: latents of pictures."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from ice_lightning.checks import one_of, problem
from ice_lightning.tasks.base import Result, writable
from ice_lightning.tasks.build import generator_from


def invert(cfg: DictConfig) -> Result:
    """Find latents whose images are the given pictures, and write them where explain and discover read them."""
    import torch

    from ice_lightning.faces.embedded import perceptual
    from ice_lightning.inversion import KINDS, invert, read_pictures, through
    from ice_lightning.population import POPULATION
    from ice_lightning.progress import steps
    from ice_lightning.reports.inversion import write_inversion

    folder = writable(Path(cfg.run_dir))
    if cfg.image is None:
        raise problem(f"a picture or a folder of pictures ({', '.join(KINDS)})", "none", "set image=PATH")
    generator = generator_from(cfg)
    names, target = read_pictures(cfg.image, generator.resolution)
    one_of("space", cfg.space, generator.spaces)
    between = through(cfg.space, generator.spaces)
    with torch.no_grad():
        population = generator.people(POPULATION // 4, 0, between)

    with steps("step", cfg.invert.steps) as shown:
        found = invert(
            lambda v: generator(v, between), target, population, perceptual(), cfg.invert.steps, cfg.invert.rate,
            tell=lambda step, loss: shown.at(step + 1, f"distance {loss:.4f}"),
        )  # fmt: skip
    u = generator.convert(found.u, between, cfg.space) if between != cfg.space else found.u
    metrics = write_inversion(folder, names, target, found._replace(u=u), cfg.space, generator.fingerprint)
    said = f"{len(names)} pictures, PSNR {metrics.psnr_mean:.1f} dB: {folder / 'inversion.png'}"
    return Result(folder, metrics.to_json(), f"{said}\nexplain.latents={folder / 'latents.safetensors'} explains them")
