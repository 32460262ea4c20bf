"""The embedded identity network: the same person lies close under pose, light and expression."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.modules.layers import Trunk
from ice_lightning.ops.sampling import resize


class IdentityNet(nn.Module):
    """Image to a unit vector whose cosines compare people.

    Args:
        size: the resolution that the network works at, a multiple of 2^len(widths).
        widths: channels of the encoder's stages.
        dim: length of the embedding.
    """

    def __init__(self, size: int = 64, widths: tuple[int, ...] = (24, 48, 64, 96), dim: int = 64) -> None:
        super().__init__()
        self.size = size
        self.trunk = Trunk(tuple(widths))
        self.head = nn.Linear(widths[-1] * (size >> len(widths)) ** 2, dim)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, dim), unit length."""
        return F.normalize(self.head(self.trunk(resize(image, self.size))[-1].flatten(1)), dim=1)
