"""The embedded face parser: a small U-Net over the 19 CelebAMask-HQ classes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.labels import REGIONS
from ice_lightning.modules.layers import Decoder, Trunk, cat_up, conv_block
from ice_lightning.ops.sampling import resize


class Parser(nn.Module):
    """Image to class scores.

    Args:
        size: the resolution that the network works at; other images are resized to it, and the scores back.
        widths: channels of the encoder's stages.
    """

    def __init__(self, size: int = 128, widths: tuple[int, ...] = (24, 40, 64, 96)) -> None:
        super().__init__()
        self.size = size
        self.trunk, self.decoder = Trunk(tuple(widths)), Decoder(tuple(widths))
        self.full = conv_block(3, 12)
        self.head = nn.Sequential(conv_block(widths[0] + 12, 24), nn.Conv2d(24, len(REGIONS), 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> logits (N, 19, H, W)."""
        x = resize(image, self.size)
        logits = self.head(cat_up(self.decoder(self.trunk(x)), self.full(x * 2 - 1)))
        if logits.shape[-2:] == image.shape[-2:]:
            return logits
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
