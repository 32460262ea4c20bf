"""Latents of pictures: optimised until the generator draws them, by pixels and by features of networks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from ice_lightning.checks import NotFound, Unreadable, one_of, problem
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.ops.sampling import resize

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Extensions of the pictures that are taken from a folder."""
STARTS = 128
"""People of the generator of whom the one nearest to a picture is where its search starts."""
SQUARED = 4.0
"""Weight of squared pixels beside absolute ones in `distance`; ours, not a published one, as is the next."""
FEATURES = 0.2
"""Weight of features beside pixels in `distance`."""
FEW = 8
"""Images drawn at once where only values are wanted."""


class Inverted(NamedTuple):
    """Latents and how well they draw their pictures.

    Attributes:
        u: (N, n).
        images: (N, 3, H, W) as drawn, in 0..1.
        psnr: (N,) in dB.
    """

    u: Tensor
    images: Tensor
    psnr: Tensor


def read_pictures(path: str | Path, resolution: int) -> tuple[list[str], Tensor]:
    """A picture, or all of a folder's in the order of their names; the middle square of each.

    Args:
        path: of a file or folder.
        resolution: to which they are resized, pixels a side.

    Returns:
        Names without extensions, and images (N, 3, resolution, resolution) in 0..1.

    Raises:
        IceError: where there is no picture, or one can't be read.
    """
    path = Path(path)
    fix = "set image to a file or to a folder of them"
    missing = problem(f"pictures ({', '.join(KINDS)}) at {path}", "none", fix, NotFound)
    try:
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in KINDS) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise missing
    except OSError as error:  # a name that no file can have, or a folder that can't be read
        raise missing from error
    images = []
    for file in files:
        try:
            picture = Image.open(file).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise problem(f"a picture at {file}", "another file", "take it out of the folder", Unreadable) from error
        image = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        image = image.view(picture.height, picture.width, 3).permute(2, 0, 1)[None] / 255
        edge = min(picture.size)
        top, left = (picture.height - edge) // 2, (picture.width - edge) // 2
        images.append(resize(image[:, :, top : top + edge, left : left + edge], resolution).clamp(0, 1))
    return [file.stem for file in files], torch.cat(images)


def through(space: str, spaces: Collection[str]) -> str:
    """The space in which latents are optimised, from which they are converted: every w+ has its s, not every s a w+.

    Args:
        space: in which they are wanted.
        spaces: of the generator.

    Returns:
        w+ for s where there is w+, else `space`.

    Example:
        >>> through("s", ["z", "w", "w+", "s"]), through("w", ["z", "w"])
        ('w+', 'w')
    """
    return "w+" if space == "s" and "w+" in spaces else space


def distance(x: Tensor, other: Tensor, features: Callable[[Tensor], Sequence[Tensor]]) -> Tensor:
    """How far images are from others: absolute and squared pixels, and features.

    Features are compared by direction at each place, as LPIPS does (Zhang et al. 2018, eq. 1, unweighted).

    Args:
        x: (N, 3, H, W).
        other: (N, 3, H, W).
        features: images -> maps (N, C, h, w), of any number.

    Returns:
        (N,), 0 for the same images.

    Example:
        >>> x = torch.rand(2, 3, 4, 4)
        >>> distance(x, x, lambda image: [image])
        tensor([0., 0.])
    """
    pixels = (x - other).abs().mean((1, 2, 3)) + SQUARED * (x - other).square().mean((1, 2, 3))
    directions = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2))
        for a, b in zip(features(x), features(other), strict=True)
    ]
    return pixels + FEATURES * torch.stack(directions).mean(0)


def invert(
    draw: Callable[[Tensor], Tensor],
    target: Tensor,
    population: Tensor,
    features: Callable[[Tensor], Sequence[Tensor]],
    steps: int = 200,
    rate: float = 0.05,
    near: float = 1e-3,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Inverted:
    """Latents whose images are the target's, by Adam from the nearest of a population.

    Coordinates move in units of the population's deviations, and those far from its mean cost a little.

    Args:
        draw: latents (N, n) -> images (N, 3, H, W).
        target: (N, 3, H, W) in 0..1.
        population: (P, n), among whom each search begins with whoever is nearest.
        features: images -> maps (N, C, h, w), of any number.
        steps: of Adam.
        rate: of Adam (its learning rate), in deviations, falling to 0 by a cosine.
        near: weight of the mean square of coordinates, in deviations from the mean.
        on_step: called with each step's number and mean loss.

    Returns:
        Latents, their images and how near these are.

    Raises:
        IceError: where a rate so high has led to NaN or infinity.
    """
    mean, deviation = population.mean(0), population.std(0).clamp_min(1e-6)
    with torch.no_grad():
        drawn = torch.cat([draw(part) for part in population.split(FEW)]).clamp(0, 1)
        start = torch.stack([distance(drawn, one.expand_as(drawn), features).argmin() for one in target[:, None]])
    p = ((population[start] - mean) / deviation).requires_grad_()
    optimiser = torch.optim.Adam([p], rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        losses = distance(draw(mean + deviation * p), target, features) + near * p.square().mean(1)
        losses.sum().backward()
        optimiser.step()
        schedule.step()
        on_step(step, float(losses.detach().mean()))
    with torch.no_grad():
        u = mean + deviation * p
        images = draw(u).clamp(0, 1)
        psnr = -10 * (images - target).square().mean((1, 2, 3)).clamp_min(1e-10).log10()
    if not (u.isfinite().all() and images.isfinite().all()):
        raise problem("latents that stay finite", f"NaN or infinity after {steps} steps", f"lower the rate from {rate}")
    return Inverted(u, images, psnr)


def invert_pictures(
    generator: AnyGenerator,
    pictures: Tensor,
    space: str,
    features: Callable[[Tensor], Sequence[Tensor]],
    steps: int = 200,
    rate: float = 0.05,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Inverted:
    """Latents of a generator whose images are the pictures, by `invert` from the nearest of its own people.

    Args:
        generator: frozen.
        pictures: (N, 3, H, W) in 0..1, at the generator's resolution.
        space: of the latents that are returned, one of the generator's.
        features: images -> maps (N, C, h, w), of any number.
        steps: gradients, at least 1.
        rate: of Adam, in standard deviations of the population, above 0.
        on_step: called with each step's number and mean loss.

    Returns:
        Latents (N, n) in `space`, and how well they draw their pictures.

    Raises:
        IceError: for a space that the generator doesn't have.
    """
    one_of("space", space, generator.spaces)
    between = through(space, generator.spaces)
    with torch.no_grad():
        population = generator.people(STARTS, 0, between)
    found = invert(lambda v: generator(v, between), pictures, population, features, steps, rate, on_step=on_step)
    return found._replace(u=generator.convert(found.u, between, space)) if between != space else found
