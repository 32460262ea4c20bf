"""The embedded 68-point landmark network: heatmaps and the mean position under each, so that a Jacobian exists."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ice_lightning.labels import LANDMARKS
from ice_lightning.modules.layers import Decoder, Trunk
from ice_lightning.ops.sampling import resize


def expected_position(p: Tensor) -> Tensor:
    """Mean position under each map (Sun et al. 2018, Integral Human Pose, eq. 2).

    Args:
        p: (N, K, H, W), sums of 1.

    Returns:
        (N, K, 2), (x, y) as fractions of the maps' width and height, pixel centres at (i + 0.5) / W and (i + 0.5) / H.

    Example:
        >>> p = torch.zeros(1, 1, 4, 4)
        >>> p[..., 1, 2] = 1
        >>> expected_position(p)
        tensor([[[0.6250, 0.3750]]])
    """
    h, w = p.shape[-2:]
    xs = (torch.arange(w, dtype=p.dtype, device=p.device) + 0.5) / w
    ys = (torch.arange(h, dtype=p.dtype, device=p.device) + 0.5) / h
    return torch.stack([(p.sum(2) * xs).sum(-1), (p.sum(3) * ys).sum(-1)], -1)


class LandmarkNet(nn.Module):
    """Image to the 68 iBUG points.

    Args:
        size: the resolution that the network works at; its heatmaps have half of it.
        widths: channels of the encoder's stages.
    """

    def __init__(self, size: int = 64, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.size = size
        self.trunk, self.decoder = Trunk(tuple(widths)), Decoder(tuple(widths))
        self.head = nn.Conv2d(widths[0], LANDMARKS, 1)

    def heatmaps(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> (N, 68, size / 2, size / 2), softmax of the logits: sums of 1."""
        logits = self.head(self.decoder(self.trunk(resize(image, self.size))))
        return logits.flatten(2).softmax(-1).view_as(logits)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> (N, 68, 2) in pixels of the image, (x, y), integers at pixel centres."""
        return expected_position(self.heatmaps(image)) * image.shape[-1] - 0.5
