"""The student's architecture: a small StyleGAN2 of this package at 64 px, whose z is as wide as the DCGAN's.

3.2 M parameters, 6.4 MB as float16. A wide and shallow mapping learns faster than a deep one: at 16 px, two layers of
512 came as near to the teacher with 2,500 people as four of 256 with 3,500.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ice_lightning.modules.stylegan2 import Generator

CONFIG: dict[str, Any] = {
    "z_dim": 100,
    "w_dim": 512,
    "img_resolution": 64,
    "mapping_layers": 2,
    "lr_multiplier": 1.0,
    "channels": [256, 192, 128, 64, 32],
    "architecture": "skip",
}


def build() -> Generator:
    """The student, with random weights."""
    return Generator(**CONFIG)


def drawn(generator: Generator, z: Tensor, side: int) -> Tensor:
    """People as the blocks up to a side draw them, which is all that a first, coarse training needs.

    Args:
        generator: of the skip architecture, where every block adds to an image.
        z: (N, z_dim).
        side: of the image, 4 to that of the generator.

    Returns:
        (N, 3, side, side), about -1..1.
    """
    synthesis = generator.synthesis
    styles = synthesis.styles([generator.mapping(z)] * generator.num_ws)
    x: Tensor | None = None
    image: Tensor | None = None
    for block in synthesis.blocks():
        if block.resolution <= side:
            x, image = block(x, image, styles, "const")
    assert image is not None
    return image
