"""StyleGAN2, from the papers, with inputs in Z, W, W+ and S and the state-dict names of the ADA PyTorch checkpoints.

Karras et al. 2019a (arXiv 1812.04948: mapping and truncation), 2019b (1912.04958), 2020 (2006.06676: ADA, class
embedding). Names follow stylegan2-ada-pytorch's checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ice_lightning.checks import at_least, one_of, problem
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.modules.mapping import Mapping
from ice_lightning.modules.synthesis import Design, Synthesis
from ice_lightning.spaces import SPACES


class Generator(AnyGenerator):
    """A StyleGAN2 generator.

    Args:
        z_dim: width of z.
        w_dim: width of w.
        c_dim: number of classes, 0 for an unconditional one.
        img_resolution: pixels a side of the image, a power of two, at least 8. (The name is that of NVIDIA's
            settings, which files hold.)
        img_channels: channels of the image.
        mapping_layers: depth of the mapping network.
        lr_multiplier: learning-rate multiplier of the mapping network.
        layer_features: width of the mapping's hidden layers, None for w_dim.
        embed_features: width of the class embedding, None for w_dim.
        label_norm: "apart" scales z and the embedding to unit second moment each on their own (ADA), "joint" the two
            together (StyleGAN2 in TensorFlow).
        channel_base: channels at r px are min(channel_base // r, channel_max).
        channel_max: the most channels that any block has.
        channels: of each block from 4 px on, for generators that don't follow that rule.
        architecture: "skip", "resnet" or "orig".
        conv_clamp: limit on activations, None for none.
        resample_filter: FIR taps.

    Raises:
        IceError: for an architecture or a resolution that doesn't exist.
    """

    spaces = tuple(SPACES)
    dialect = ""
    label: int | None = None
    settings: dict[str, Any]

    def __init__(
        self,
        z_dim: int = 512,
        w_dim: int = 512,
        c_dim: int = 0,
        img_resolution: int = 1024,
        img_channels: int = 3,
        mapping_layers: int = 8,
        lr_multiplier: float = 0.01,
        layer_features: int | None = None,
        embed_features: int | None = None,
        label_norm: str = "apart",
        channel_base: int = 32768,
        channel_max: int = 512,
        channels: Sequence[int] | None = None,
        architecture: str = "skip",
        conv_clamp: float | None = None,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        one_of("architecture", architecture, ("skip", "resnet", "orig"))
        one_of("label_norm", label_norm, ("apart", "joint"))
        if img_resolution < 8 or img_resolution & (img_resolution - 1):
            raise problem("a resolution that is a power of two, at least 8", img_resolution, "choose for example 256")
        self.z_dim, self.w_dim, self.c_dim, self.resolution = z_dim, w_dim, c_dim, img_resolution
        resolutions = [2**i for i in range(2, int(math.log2(img_resolution)) + 1)]
        channels = channels or [min(channel_base // pixels, channel_max) for pixels in resolutions]
        if len(channels) != len(resolutions):
            fix = f"give a number for each of {', '.join(map(str, resolutions))} px"
            raise problem(f"channels of {len(resolutions)} blocks", len(channels), fix)
        design = Design(w_dim, img_channels, architecture, resample_filter, conv_clamp)
        hidden = [layer_features or w_dim] * (mapping_layers - 1)
        embed = embed_features or w_dim
        self.mapping = Mapping(z_dim, c_dim, w_dim, [*hidden, w_dim], lr_multiplier, embed, label_norm == "joint")
        self.synthesis = Synthesis(channels, design)
        layers = self.synthesis.layers()
        self.num_ws = 1 + max(row for _, row in layers)
        self.style_widths = [layer.affine.weight.shape[0] for layer, _ in layers]

    def widths(self, space: str) -> list[int]:
        """Widths of the layers of a latent: the rows of w+, the styled layers of s; one in z and w."""
        one_of("space", space, SPACES)
        w = self.w_dim
        return {"z": [self.z_dim], "w": [w], "w+": [w] * self.num_ws, "s": self.style_widths}[space]

    def resolutions(self, space: str) -> list[int]:
        """The resolution at which each layer of a latent works; of a row of w+, that of its convolution."""
        styled, pixels = self.synthesis.layers(), self.synthesis.resolutions()
        of_row = {row: px for (_, row), px in zip(styled, pixels, strict=True)}
        return {"s": pixels, "w+": [of_row[row] for row in range(self.num_ws)]}.get(space, [self.resolution])

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """People as z, in the weights' dtype.

        Args:
            n: how many, at least 1.
            seed: person i depends on seed + i alone, in however many parts people are drawn.

        Returns:
            (n, z_dim), standard normal.
        """
        at_least("people", n, 1)
        rows = [torch.randn(self.z_dim, generator=torch.Generator().manual_seed(seed + i)) for i in range(n)]
        weight = next(self.parameters())
        return torch.stack(rows).to(weight)

    def convert(self, u: Tensor, src: str, dst: str, c: Tensor | None = None, psi: float = 1.0) -> Tensor:
        """A latent further down the chain z -> w -> w+ -> s.

        Args:
            u: (N, dim(src)).
            src: the space that u lies in.
            dst: the wanted space, not before src.
            c: (N, c_dim) one-hot labels for a conditional mapping; None for `label`, for all of them.
            psi: truncation, applied where z becomes w.

        Returns:
            (N, dim(dst)).

        Raises:
            IceError: for an unknown space, a way up the chain, or a latent of another width.
        """
        one_of("space", src, SPACES)
        one_of("space", dst, SPACES)
        if self.spaces.index(dst) < self.spaces.index(src):
            raise problem(
                "a conversion down the chain z -> w -> w+ -> s",
                f"{src} -> {dst}",
                "start from an earlier space",
            )
        if u.ndim != 2 or u.shape[1] != self.dim(src):
            raise problem(f"latents of shape (N, {self.dim(src)}) in {src}", tuple(u.shape), "check the space")
        start, stop = self.spaces.index(src), self.spaces.index(dst)
        if start < 1 <= stop:
            if c is None and self.label is not None:
                c = one_hot(torch.full((len(u),), self.label, device=u.device), self.c_dim)
            u = self.mapping(u, c, psi)
        if start < 2 <= stop:
            u = u.repeat(1, self.num_ws)
        if start < 3 <= stop:
            u = torch.cat(self.synthesis.styles(u.split(self.w_dim, 1)), 1)
        return u

    def forward(
        self, u: Tensor, space: str = "z", noise: str = "const", c: Tensor | None = None, psi: float = 1.0
    ) -> Tensor:
        """Draw people.

        Args:
            u: (N, dim(space)).
            space: one of z, w, w+, s.
            noise: "const" (the checkpoint's own), "random" or "none".
            c: (N, c_dim) one-hot labels where space is z; None for `label`.
            psi: truncation where space is z, 1 for none.

        Returns:
            (N, 3, H, W); 0..1 is the displayable range, not clamped.
        """
        one_of("noise", noise, ("const", "random", "none"))
        s = self.convert(u, space, "s", c, psi)
        return self.draw(s.split(self.style_widths, 1), "s", noise)

    def draw(self, layers: Sequence[Tensor], space: str, noise: str = "const") -> Tensor:
        """Draw people from the layers of their latents, each on its own, so that some can be constants.

        Args:
            layers: one (N, width) for each of `widths(space)`.
            space: w+ or s.
            noise: "const", "random" or "none".

        Returns:
            (N, 3, H, W); 0..1 is the displayable range, not clamped.
        """
        styles = self.synthesis.styles(layers) if space == "w+" else layers
        return (self.synthesis(list(styles), noise) + 1) / 2
