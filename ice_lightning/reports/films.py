"""Films of people who move along a direction: GIF, and MP4 where ffmpeg is there."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.files import atomic_write

GAP = 4
"""White pixels between people."""


def there_and_back(top: float, frames: int) -> list[float]:
    """Strengths of one round, from 0 to top, to -top and home again, as a sine: it lingers at both ends.

    Args:
        top: the largest strength.
        frames: of a round, at least 4; the last is followed by the first.

    Returns:
        (frames,) strengths.

    Raises:
        IceError: for fewer frames.

    Example:
        >>> [round(each, 6) for each in there_and_back(2.0, 4)]
        [0.0, 2.0, 0.0, -2.0]
    """
    at_least("traverse.frames", frames, 4)
    return [top * math.sin(2 * math.pi * i / frames) for i in range(frames)]


def side_by_side(images: Tensor) -> Tensor:
    """People of one frame in a row: (N, 3, H, W) in 0..1 -> (H, N W + gaps, 3) uint8, both sides even.

    >>> side_by_side(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([8, 20, 3])
    """
    n, _, h, w = images.shape
    row = torch.ones(3, h + h % 2, n * w + (n - 1) * GAP + (n * w + (n - 1) * GAP) % 2)
    for i, image in enumerate(images):
        row[:, :h, i * (w + GAP) : i * (w + GAP) + w] = image.clamp(0, 1)
    return (255 * row).round().byte().permute(1, 2, 0)


def film(draw: Callable[[float], Tensor], strengths: list[float]) -> Tensor:
    """Frames at each strength.

    Args:
        draw: strength -> (N, 3, H, W) in 0..1.
        strengths: one for each frame.

    Returns:
        (T, H, W, 3) uint8.

    Example:
        >>> film(lambda strength: torch.full((1, 3, 2, 2), strength), [0.0, 1.0])[:, 0, 0, 0]
        tensor([  0, 255], dtype=torch.uint8)
    """
    rounded = [round(strength, 9) for strength in strengths]
    drawn = {strength: side_by_side(draw(strength)) for strength in dict.fromkeys(rounded)}  # a round passes most twice
    return torch.stack([drawn[strength] for strength in rounded])


def write_gif(frames: Tensor, path: Path, rate: float) -> None:
    """A GIF that repeats for ever, each frame with 256 colours of its own.

    Args:
        frames: (T, H, W, 3) uint8.
        path: ending in .gif.
        rate: frames a second; GIF counts hundredths of a second.
    """
    pictures = [Image.fromarray(frame.numpy()).quantize(256, dither=Image.Dither.NONE) for frame in frames]
    with atomic_write(path) as part:
        pictures[0].save(part, save_all=True, append_images=pictures[1:], duration=round(1000 / rate), loop=0)


def write_mp4(frames: Tensor, path: Path, rate: float, rounds: int = 3) -> bool:
    """An H.264 film by ffmpeg, a few rounds long; False where there is no ffmpeg.

    Args:
        frames: (T, H, W, 3) uint8, both sides even.
        path: ending in .mp4.
        rate: frames a second.
        rounds: how often the frames are repeated.

    Returns:
        Whether there is a film.

    Raises:
        IceError: when ffmpeg can't make one.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return False
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "-"]
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-movflags", "+faststart"]
    with atomic_write(path) as part:
        ran = subprocess.run(
            [ffmpeg, "-y", "-loglevel", "error", *source, *codec, str(part)],
            input=frames.numpy().tobytes() * rounds,
            capture_output=True,
            check=False,
        )
        if ran.returncode:
            lines = ran.stderr.decode(errors="replace").strip().splitlines()
            got = lines[-1] if lines else f"exit status {ran.returncode}"
            raise problem("ffmpeg to write H.264", got, "install one with libx264, or take it off PATH for GIFs alone")
    return True
