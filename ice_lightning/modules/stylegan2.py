"""StyleGAN2, from the papers, with inputs in Z, W, W+ and S and the state-dict names of the ADA PyTorch checkpoints.

Karras et al. 2019a (arXiv 1812.04948, mapping and truncation), 2019b (1912.04958: modulation, skip and resnet
synthesis), 2020 (2006.06676: ADA, class embedding, conv_clamp). Names follow stylegan2-ada-pytorch's checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ice_lightning.checks import at_least, one_of, problem
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.modules.mapping import FullyConnected, Mapping
from ice_lightning.ops import bias_act, conv2d, conv_transpose2d, setup_filter, upfirdn2d

SPACES = ("z", "w", "w+", "s")


def modulated_conv(x: Tensor, weight: Tensor, s: Tensor, demodulate: bool, up: int, f: Tensor) -> Tensor:
    """The modulated convolution of StyleGAN2 with one weight for the whole batch.

    Per-sample weights w[i, j] * s[j] / norm_i are the same as scaling the input by s and the output by 1 / norm_i
    (Karras et al. 2019b, section 2.2), and then a derivative in s costs one convolution.

    Args:
        x: (N, I, H, W).
        weight: (O, I, 3, 3).
        s: (N, I) styles.
        demodulate: scale each output channel to the expected unit norm.
        up: 1 or 2.
        f: resampling filter for up = 2.

    Returns:
        (N, O, H * up, W * up).
    """
    pad = weight.shape[-1] // 2
    x = x * s[:, :, None, None]
    if up == 1:
        x = conv2d(x, weight, padding=pad)
    else:
        # The transposed convolution inserts the zeros itself; what is left of upfirdn2d is the filter.
        k = f.shape[-1]
        before, after = (k + 1) // 2 - 1, (k - 2) // 2
        x = conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = upfirdn2d(x, f, padding=(before, after, before, after), gain=4)
    if demodulate:
        norm = (s.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
        x = x * norm[:, :, None, None]
    return x


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        w_dim: int,
        size: int,
        up: int,
        taps: Sequence[float],
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.up, self.clamp, self.size = up, clamp, size
        self.resample_filter: Tensor
        self.noise_const: Tensor
        self.register_buffer("resample_filter", setup_filter(taps))
        self.affine = FullyConnected(w_dim, c_in, bias_init=1)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, s: Tensor, noise: str, gain: float = 1.0) -> Tensor:
        """x (N, c_in, H, W), s (N, c_in) -> (N, c_out, H * up, W * up)."""
        x = modulated_conv(x, self.weight, s, True, self.up, self.resample_filter)
        if noise == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        elif noise == "random":
            x = x + torch.randn(len(x), 1, self.size, self.size, device=x.device, dtype=x.dtype) * self.noise_strength
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, act="lrelu", gain=math.sqrt(2) * gain, clamp=clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the image, without demodulation."""

    def __init__(self, c_in: int, channels: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, c_in, bias_init=1)
        self.weight = nn.Parameter(torch.randn(channels, c_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x (N, c_in, H, W), s (N, c_in) -> (N, channels, H, W)."""
        x = conv2d(x * (s / math.sqrt(s.shape[1]))[:, :, None, None], self.weight)
        return bias_act(x, self.bias, clamp=self.clamp)


class SkipConv(nn.Module):
    """The residual branch of the resnet architecture: 1x1 convolution and upsampling, equalised, no bias."""

    def __init__(self, c_in: int, c_out: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", setup_filter(taps))
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, 2 H, 2 W)."""
        x = conv2d(x, self.weight / math.sqrt(self.weight.shape[1]))
        return upsample(x, self.resample_filter) * math.sqrt(0.5)


def upsample(x: Tensor, f: Tensor) -> Tensor:
    """Twofold, filtered by f: (N, C, H, W) -> (N, C, 2 H, 2 W)."""
    k = f.shape[-1]
    return upfirdn2d(x, f, up=2, padding=((k + 1) // 2, (k - 2) // 2) * 2, gain=4)


class SynthesisBlock(nn.Module):
    """The layers of one image side."""

    def __init__(self, c_in: int, c_out: int, w_dim: int, size: int, cfg: dict, last: bool) -> None:
        super().__init__()
        self.size, self.architecture = size, cfg["architecture"]
        taps, clamp = cfg["resample_filter"], cfg["conv_clamp"]
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", setup_filter(taps))
        if c_in == 0:
            self.const = nn.Parameter(torch.randn(c_out, size, size))
        else:
            self.conv0 = SynthesisLayer(c_in, c_out, w_dim, size, 2, taps, clamp)
        # Unused there, but published checkpoints hold this one, whatever the others are.
        self.conv1 = SynthesisLayer(c_out, c_out, w_dim, size, 1, (1, 3, 3, 1), clamp)
        if last or self.architecture == "skip":
            self.torgb = ToRGB(c_out, cfg["img_channels"], w_dim, clamp)
        if c_in and self.architecture == "resnet":
            self.skip = SkipConv(c_in, c_out, taps)

    def styled(self) -> Iterator[SynthesisLayer | ToRGB]:
        """The layers that take a style, in the order of S."""
        return (getattr(self, name) for name in ("conv0", "conv1", "torgb") if hasattr(self, name))

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: list[Tensor], noise: str
    ) -> tuple[Tensor, Tensor | None]:
        """Features and image of the block before -> those of this one; takes its styles off the list's front."""
        if x is None:
            first = styles[0]
            x = self.const.to(first.dtype).expand(len(first), *self.const.shape)
            x = self.conv1(x, styles.pop(0), noise)
        elif hasattr(self, "skip"):
            side = self.skip(x)
            x = self.conv0(x, styles.pop(0), noise)
            x = side + self.conv1(x, styles.pop(0), noise, gain=math.sqrt(0.5))
        else:
            x = self.conv0(x, styles.pop(0), noise)
            x = self.conv1(x, styles.pop(0), noise)
        if image is not None:
            image = upsample(image, self.resample_filter)
        if hasattr(self, "torgb"):
            y = self.torgb(x, styles.pop(0))
            image = y if image is None else image + y
        return x, image


class Synthesis(nn.Module):
    """Styles to image."""

    def __init__(self, w_dim: int, cfg: dict) -> None:
        super().__init__()
        self.w_dim = w_dim
        self.sizes = [2**i for i in range(2, int(math.log2(cfg["img_resolution"])) + 1)]
        width = dict(zip(self.sizes, cfg["channels"], strict=True))
        for size in self.sizes:
            c_in = 0 if size == 4 else width[size // 2]
            block = SynthesisBlock(c_in, width[size], w_dim, size, cfg, last=size == self.sizes[-1])
            self.add_module(f"b{size}", block)

    def blocks(self) -> Iterator[SynthesisBlock]:
        """Coarse to fine."""
        return (getattr(self, f"b{size}") for size in self.sizes)

    def layers(self) -> list[tuple[SynthesisLayer | ToRGB, int]]:
        """Styled layers in the order of S, each with the row of w+ that feeds it.

        A block's torgb shares its row with the next block's first convolution.
        """
        pairs, row = [], 0
        for block in self.blocks():
            for layer in block.styled():
                pairs.append((layer, row))
                row += not isinstance(layer, ToRGB)
        return pairs

    def sides(self) -> list[int]:
        """The image side at which each styled layer works, in the order of S."""
        return [size for size in self.sizes for _ in getattr(self, f"b{size}").styled()]

    def styles(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The num_ws rows (N, w_dim) of w+ -> the affine outputs, one (N, c_in) per styled layer."""
        return [layer.affine(rows[row]) for layer, row in self.layers()]

    def forward(self, styles: list[Tensor], noise: str = "const") -> Tensor:
        """Affine outputs -> raw image (N, channels, H, W), about -1..1."""
        x, image, left = None, None, list(styles)
        for block in self.blocks():
            x, image = block(x, image, left, noise)
        assert image is not None
        return image


class Generator(AnyGenerator):
    """A StyleGAN2 generator.

    Args:
        z_dim: width of z.
        w_dim: width of w.
        c_dim: number of classes, 0 for an unconditional one.
        img_resolution: side of the image, a power of two, at least 8.
        img_channels: channels of the image.
        mapping_layers: depth of the mapping network.
        lr_multiplier: learning-rate multiplier of the mapping network.
        layer_features: width of the mapping's hidden layers, None for w_dim.
        embed_features: width of the class embedding, None for w_dim.
        label_norm: "apart" scales z and the embedding to unit second moment each on their own (ADA), "joint" the two
            together (StyleGAN2 in TensorFlow).
        channel_base: channels at side r are min(channel_base // r, channel_max).
        channel_max: see channel_base.
        channels: channels at each side from 4 px on, for generators that don't follow that rule.
        architecture: "skip", "resnet" or "orig".
        conv_clamp: limit on activations, None for none.
        resample_filter: FIR taps.

    Raises:
        IceError: for an architecture or a side that doesn't exist.
    """

    spaces = SPACES
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
            raise problem("an image side that is a power of two, at least 8", img_resolution, "choose for example 256")
        self.z_dim, self.w_dim, self.c_dim, self.img_resolution = z_dim, w_dim, c_dim, img_resolution
        sides = [2**i for i in range(2, int(math.log2(img_resolution)) + 1)]
        cfg = {
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "channels": channels or [min(channel_base // side, channel_max) for side in sides],
            "architecture": architecture,
            "conv_clamp": conv_clamp,
            "resample_filter": resample_filter,
        }
        hidden = [layer_features or w_dim] * (mapping_layers - 1)
        embed = embed_features or w_dim
        self.mapping = Mapping(z_dim, c_dim, w_dim, [*hidden, w_dim], lr_multiplier, embed, label_norm == "joint")
        self.synthesis = Synthesis(w_dim, cfg)
        layers = self.synthesis.layers()
        self.num_ws = 1 + max(row for _, row in layers)
        self.style_widths = [layer.affine.weight.shape[0] for layer, _ in layers]

    def widths(self, space: str) -> list[int]:
        """Widths of the layers of a latent: the rows of w+, the styled layers of s; one in z and w."""
        one_of("space", space, SPACES)
        w = self.w_dim
        return {"z": [self.z_dim], "w": [w], "w+": [w] * self.num_ws, "s": self.style_widths}[space]

    def sides(self, space: str) -> list[int]:
        """The image side at which each layer of a latent works; of a row of w+, that of its convolution."""
        styled, sides = self.synthesis.layers(), self.synthesis.sides()
        row_side = {row: side for (_, row), side in zip(styled, sides, strict=True)}
        return {"s": sides, "w+": [row_side[row] for row in range(self.num_ws)]}.get(space, [self.img_resolution])

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n people as z (n, z_dim) in the weights' dtype; person i depends on seed + i alone at any sharding."""
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
            c: (N, c_dim) labels for a conditional mapping; `label` for all of them where none are given.
            psi: truncation, applied where z becomes w.

        Returns:
            (N, dim(dst)).

        Raises:
            IceError: for an unknown space, a way up the chain, or a latent of another width.
        """
        one_of("space", src, SPACES)
        one_of("space", dst, SPACES)
        if SPACES.index(dst) < SPACES.index(src):
            raise problem(
                "a conversion down the chain z -> w -> w+ -> s",
                f"{src} -> {dst}",
                "start from an earlier space",
            )
        if u.ndim != 2 or u.shape[1] != self.dim(src):
            raise problem(f"latents of shape (N, {self.dim(src)}) in {src}", tuple(u.shape), "check the space")
        start, stop = SPACES.index(src), SPACES.index(dst)
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
            c: labels, see convert.
            psi: truncation, see convert.

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
            noise: see forward.

        Returns:
            (N, 3, H, W), see forward.
        """
        styles = self.synthesis.styles(layers) if space == "w+" else layers
        return (self.synthesis(list(styles), noise) + 1) / 2
