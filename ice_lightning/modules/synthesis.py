"""The synthesis network of StyleGAN2: styles to image.

Karras et al. 2019b (arXiv 1912.04958): modulation, skip and resnet architectures; conv_clamp: Karras et al. 2020
(2006.06676). Names follow stylegan2-ada-pytorch's checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ice_lightning.modules.mapping import FullyConnected
from ice_lightning.ops import bias_act, conv2d, conv_transpose2d, setup_filter, upfirdn2d

RESIDUAL_GAIN = math.sqrt(0.5)
"""Factor on both branches of a residual block, which keeps the second moment (Karras et al. 2019b)."""


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

    Example:
        >>> x, weight = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3)
        >>> modulated_conv(x, weight, torch.ones(1, 2), True, 2, setup_filter([1, 3, 3, 1])).shape
        torch.Size([1, 3, 8, 8])
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
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    Args:
        c_in: channels in.
        c_out: channels out.
        w_dim: width of w.
        resolution: of what comes out, in pixels.
        up: 1, or 2 where the convolution upsamples.
        taps: of the resampling filter.
        clamp: limit on activations, None for none.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        w_dim: int,
        resolution: int,
        up: int,
        taps: Sequence[float],
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.up, self.clamp, self.resolution = up, clamp, resolution
        self.resample_filter: Tensor
        self.noise_const: Tensor
        self.register_buffer("resample_filter", setup_filter(taps))
        self.affine = FullyConnected(w_dim, c_in, bias_init=1)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, s: Tensor, noise: str, gain: float = 1.0) -> Tensor:
        """Features under a style.

        Args:
            x: (N, c_in, H, W).
            s: (N, c_in).
            noise: "const", "random" or "none".
            gain: factor on what comes out, and on the clamp.

        Returns:
            (N, c_out, H * up, W * up).
        """
        x = modulated_conv(x, self.weight, s, True, self.up, self.resample_filter)
        if noise == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        elif noise == "random":
            shape = (len(x), 1, self.resolution, self.resolution)
            x = x + torch.randn(shape, device=x.device, dtype=x.dtype) * self.noise_strength
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, act="lrelu", gain=math.sqrt(2) * gain, clamp=clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to the image, without demodulation.

    Args:
        c_in: channels in.
        channels: of the image.
        w_dim: width of w.
        clamp: limit on its output, None for none.
    """

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
    """The residual branch of the resnet architecture: 1x1 convolution and upsampling, equalised, no bias.

    Args:
        c_in: channels in.
        c_out: channels out.
        taps: of the resampling filter.
    """

    def __init__(self, c_in: int, c_out: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", setup_filter(taps))
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, 2 H, 2 W)."""
        x = conv2d(x, self.weight / math.sqrt(self.weight.shape[1]))
        return upsample(x, self.resample_filter) * RESIDUAL_GAIN


def upsample(x: Tensor, f: Tensor) -> Tensor:
    """An image of twice the resolution: zeros between the pixels, filtered.

    Args:
        x: (N, C, H, W).
        f: (k, k), sum 1.

    Returns:
        (N, C, 2 H, 2 W).

    Example:
        >>> upsample(torch.ones(1, 3, 4, 4), setup_filter([1, 3, 3, 1])).shape
        torch.Size([1, 3, 8, 8])
    """
    k = f.shape[-1]
    return upfirdn2d(x, f, up=2, padding=((k + 1) // 2, (k - 2) // 2) * 2, gain=4)


class Design(NamedTuple):
    """What all blocks of a synthesis network have in common; see Generator.

    Attributes:
        w_dim: width of w.
        img_channels: of the image.
        architecture: "skip", "resnet" or "orig".
        taps: of the resampling filter.
        clamp: limit on activations, None for none.
    """

    w_dim: int
    img_channels: int
    architecture: str
    taps: Sequence[float]
    clamp: float | None


class SynthesisBlock(nn.Module):
    """The layers of one resolution.

    Args:
        c_in: channels of the block before, 0 for the first.
        c_out: channels of this one.
        resolution: in pixels.
        design: what all blocks have in common.
        last: whether it is the one of the full image, which has a torgb in every architecture.
    """

    def __init__(self, c_in: int, c_out: int, resolution: int, design: Design, last: bool) -> None:
        super().__init__()
        self.resolution = resolution
        w_dim, taps, clamp = design.w_dim, design.taps, design.clamp
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", setup_filter(taps))
        if c_in == 0:
            self.const = nn.Parameter(torch.randn(c_out, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(c_in, c_out, w_dim, resolution, 2, taps, clamp)
        # It doesn't resample, but published checkpoints hold this filter there, whatever the others are.
        self.conv1 = SynthesisLayer(c_out, c_out, w_dim, resolution, 1, (1, 3, 3, 1), clamp)
        if last or design.architecture == "skip":
            self.torgb = ToRGB(c_out, design.img_channels, w_dim, clamp)
        if c_in and design.architecture == "resnet":
            self.skip = SkipConv(c_in, c_out, taps)

    def styled(self) -> Iterator[SynthesisLayer | ToRGB]:
        """The layers that take a style, in the order of S."""
        return (getattr(self, name) for name in ("conv0", "conv1", "torgb") if hasattr(self, name))

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: list[Tensor], noise: str
    ) -> tuple[Tensor, Tensor | None]:
        """The next features, and the image with what this block adds to it.

        Args:
            x: (N, c_in, H, W), features of the block before; None in the first.
            image: (N, channels, H, W), the image so far; None where there is none yet.
            styles: those of this block and the next ones; its own are taken off the front.
            noise: "const", "random" or "none".

        Returns:
            (N, c_out, 2 H, 2 W) and (N, channels, 2 H, 2 W); in the first block of H and W as they are.
        """
        if x is None:
            first = styles[0]
            x = self.const.to(first.dtype).expand(len(first), *self.const.shape)
            x = self.conv1(x, styles.pop(0), noise)
        elif hasattr(self, "skip"):
            shortcut = self.skip(x)
            x = self.conv0(x, styles.pop(0), noise)
            x = shortcut + self.conv1(x, styles.pop(0), noise, gain=RESIDUAL_GAIN)
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
    """Styles to image.

    Args:
        channels: of each block, from 4 px on.
        design: what all blocks have in common.
    """

    def __init__(self, channels: Sequence[int], design: Design) -> None:
        super().__init__()
        self.block_resolutions = [4 * 2**i for i in range(len(channels))]
        for c_in, c_out, resolution in zip((0, *channels[:-1]), channels, self.block_resolutions, strict=True):
            last = resolution == self.block_resolutions[-1]
            self.add_module(f"b{resolution}", SynthesisBlock(c_in, c_out, resolution, design, last))

    def blocks(self) -> Iterator[SynthesisBlock]:
        """Coarse to fine."""
        return (getattr(self, f"b{resolution}") for resolution in self.block_resolutions)

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

    def resolutions(self) -> list[int]:
        """The resolution at which each styled layer works, in the order of S."""
        return [block.resolution for block in self.blocks() for _ in block.styled()]

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
