"""The face models that an analysis needs, as one bundle."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Faces(nn.Module):
    """Face models under the names that criterion terms ask for.

    Args:
        parser: (N, 3, H, W) in 0..1 -> (N, 19, H, W) logits, or (N, 20, H, W), where the last class is for what the
            parser can't tell.
        landmarks: (N, 3, H, W) in 0..1 -> (N, 68, 2) pixels, (x, y).
        identity: (N, 3, H, W) in 0..1 -> (N, d) unit vectors; None where no criterion asks for it.
    """

    def __init__(self, parser: nn.Module, landmarks: nn.Module, identity: nn.Module | None) -> None:
        super().__init__()
        self.parser, self.landmarks, self.identity = parser, landmarks, identity

    @torch.no_grad()
    def analyse(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Parse maps and landmarks, without gradient.

        Args:
            image: (N, 3, H, W), clamped to 0..1.

        Returns:
            (N, H, W) int64, the likeliest class of each pixel, and (N, 68, 2) pixels.
        """
        image = image.clamp(0, 1)
        return self.parser(image).argmax(1), self.landmarks(image)
