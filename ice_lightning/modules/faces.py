"""The face models that an analysis needs, as one bundle."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Faces(nn.Module):
    """Face models under the names that criterion terms ask for.

    Args:
        parser: (N, 3, H, W) in 0..1 -> (N, 19, H, W) logits; a class behind the 19 is of what it can't tell.
        landmarks: -> (N, 68, 2) pixels.
        identity: -> (N, d) unit vectors; None where no criterion asks for it.
    """

    def __init__(self, parser: nn.Module, landmarks: nn.Module, identity: nn.Module | None) -> None:
        super().__init__()
        self.parser, self.landmarks, self.identity = parser, landmarks, identity

    @torch.no_grad()
    def analyse(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Parse map (N, H, W) and landmarks (N, 68, 2) of images in 0..1, without gradient."""
        image = image.clamp(0, 1)
        return self.parser(image).argmax(1), self.landmarks(image)
