"""A DCGAN as a generator of this package, with the spaces z and s, the channel scales of its layers.

Radford et al. 2015 (arXiv 1511.06434): transposed convolutions with batch normalisation and ReLU between, tanh at the
end. Names are those of the package gan_face_generate (PyPI): `main.0.weight`, `main.1.running_mean`, ...

A StyleGAN2 scales the channels of each layer by styles (Karras et al. 2019b, arXiv 1912.04958, section 2.2:
modulation, and demodulation by the expected norm). A DCGAN has no styles, but each person's layers have scales all the
same: the root mean square of a channel over its pixels. Drawn from s, each channel is divided by the scale that it has
and multiplied by the one that the latent says. Scales of a person that nobody moved give the picture of z again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ice_lightning.checkpoints import sha256
from ice_lightning.checks import at_least, one_of, problem
from ice_lightning.faces.pretrained import load_pretrained
from ice_lightning.files import cached

WHAT = "a DCGAN (keys main.0.weight ... main.12.weight)"


class DCGAN(nn.Module):
    """z (N, nz) to images of side 4 * 2^(hidden layers).

    Args:
        channels: nz, those of each hidden layer from 4 px on, and those of the image.
    """

    spaces = ("z", "s")
    fingerprint = ""
    name = ""

    def __init__(self, channels: Sequence[int] = (100, 512, 256, 128, 64, 3)) -> None:
        super().__init__()
        *hidden, last = pairwise(channels)
        layers: list[nn.Module] = []
        for i, (c_in, c_out) in enumerate(hidden):
            stride, padding = (2, 1) if i else (1, 0)
            layers += [
                nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(),
            ]
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(*last, 4, 2, 1, bias=False), nn.Tanh())
        self.channels = list(channels)
        self.z_dim, self.resolution = channels[0], 2 ** len(channels)

    def widths(self, space: str) -> list[int]:
        """Widths of the layers of a latent: z, and in s the channels of each hidden layer after it."""
        return self.channels[: {"z": 1, "s": -1}[one_of("space", space, self.spaces)]]

    def resolutions(self, space: str) -> list[int]:
        """The pixels a side at which each of them works."""
        return [1, *(4 * 2**i for i in range(len(self.channels) - 2))][: len(self.widths(space))]

    def dim(self, space: str) -> int:
        """Number of coordinates of a latent in `space`."""
        return sum(self.widths(space))

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n people as z (n, nz) in the weights' dtype; person i depends on seed + i alone at any sharding."""
        at_least("people", n, 1)
        rows = [torch.randn(self.z_dim, generator=torch.Generator().manual_seed(seed + i)) for i in range(n)]
        return torch.stack(rows).to(next(self.parameters()))

    def convert(self, u: Tensor, src: str, dst: str) -> Tensor:
        """A latent (N, dim(src)) further down the chain z -> s: (N, dim(dst)).

        Raises:
            IceError: for an unknown space, a way up the chain, or a latent of another width.
        """
        one_of("space", src, self.spaces)
        one_of("space", dst, self.spaces)
        if self.spaces.index(dst) < self.spaces.index(src):
            raise problem("a conversion down the chain z -> s", f"{src} -> {dst}", "start from z")
        if u.ndim != 2 or u.shape[1] != self.dim(src):
            raise problem(f"latents of shape (N, {self.dim(src)}) in {src}", tuple(u.shape), "check the space")
        if src == dst:
            return u
        scales, h = [], u[:, :, None, None]
        for layer in self.hidden():
            h = layer(h)
            scales.append(scale(h))
        return torch.cat([u, *scales], 1)

    def forward(self, u: Tensor, space: str = "z") -> Tensor:
        """Draw people: u (N, dim(space)) -> (N, 3, H, W) in 0..1."""
        self.convert(u, space, space)
        return self.draw(u.split(self.widths(space), 1), space)

    def draw(self, layers: Sequence[Tensor], space: str) -> Tensor:
        """Draw people from the layers of their latents, each on its own, so that some can be constants.

        Args:
            layers: one (N, width) for each of `widths(space)`.
            space: z or s.

        Returns:
            (N, 3, H, W) in 0..1.
        """
        z, *scales = layers
        h = z[:, :, None, None]
        if space == "z":
            return (self.main(h) + 1) / 2
        for layer, wanted in zip(self.hidden(), scales, strict=True):
            h = layer(h)
            h = h * (wanted / scale(h))[:, :, None, None]
        return (self.main[-2:](h) + 1) / 2

    def hidden(self) -> Iterator[nn.Sequential]:
        """The hidden layers, coarse to fine: transposed convolution, batch normalisation, ReLU."""
        layers = list(self.main)
        return (nn.Sequential(*layers[i : i + 3]) for i in range(0, len(layers) - 2, 3))


def scale(h: Tensor) -> Tensor:
    """Root mean square over pixels: (N, C, H, W) -> (N, C).

    The constant keeps it smooth, and above 0, where a channel is dead: that one stays dead at any scale, and one that
    is nearly dead is not blown up without limit. It cancels where a scale isn't moved.
    """
    return (h.square().mean((2, 3)) + 1e-8).sqrt()


def sizes(state: dict[str, Tensor]) -> list[int]:
    """The channels that a state dict's transposed convolutions (C_in, C_out, 4, 4) have."""
    named = ((re.fullmatch(r"main\.(\d+)\.weight", name), tensor) for name, tensor in state.items())
    filters = {int(match[1]): tensor for match, tensor in named if match and tensor.ndim == 4}
    if len(filters) < 2:
        raise KeyError("main.0.weight")
    shapes = [filters[number].shape for number in sorted(filters)]
    return [*(shape[0] for shape in shapes), shapes[-1][1]]


def load(path: str | Path | None = None) -> DCGAN:
    """A DCGAN in eval mode, frozen; its `fingerprint` is the SHA-256 of the file.

    Args:
        path: safetensors under the names above; None for what get.py has written.

    Raises:
        IceError: for a missing, broken or foreign file.
    """
    path = Path(path or cached("dcgan.safetensors"))
    if not path.exists():
        raise problem(f"{WHAT} at {path}", "none", "run `make real-faces`, which fetches it")
    net = load_pretrained(path, WHAT, lambda state: DCGAN(sizes(state)))
    assert isinstance(net, DCGAN)
    net.fingerprint, net.name = sha256(path), str(path)
    return net
