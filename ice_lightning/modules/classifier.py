"""The embedded attribute classifiers: one image, one logit."""

from __future__ import annotations

from torch import Tensor, nn

from ice_lightning.checkpoints import ASSETS, load_network
from ice_lightning.checks import one_of
from ice_lightning.modules.layers import Trunk, resize

EMBEDDED = ("smiling", "smiling_biased", "narrow_eyes", "glasses")


class Classifier(nn.Module):
    """Image to a binary logit.

    Args:
        size: the side that the network works at.
        widths: channels of the encoder's stages.
    """

    def __init__(self, size: int = 64, widths: tuple[int, ...] = (16, 32, 48, 64)) -> None:
        super().__init__()
        self.size = size
        self.trunk = Trunk(tuple(widths))
        self.head = nn.Linear(widths[-1] * (size >> len(widths)) ** 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,) logits; positive means that the attribute is there."""
        return self.head(self.trunk(resize(image, self.size))[-1].flatten(1))[:, 0]


def embedded(name: str) -> Classifier:
    """A classifier that ships with the package.

    Args:
        name: smiling, narrow_eyes, glasses, or smiling_biased: trained where 95 % of the smiling have dark hair.
    """
    one_of("classifier", name, EMBEDDED)
    network = load_network(ASSETS / f"{name}.safetensors", name, Classifier)
    assert isinstance(network, Classifier)
    return network
