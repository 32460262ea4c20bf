"""BiSeNet face parser under the state-dict names of the public CelebAMask-HQ weights (`79999_iter.pth`, 512 px).

Architecture: Yu et al. 2018 (arXiv 1808.00897) on a ResNet-18 (He et al. 2016), in the variant of
zllrunning/face-parsing.PyTorch, whose file format this is: the spatial path is the ResNet's stride-8 output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.ops.sampling import resize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which the public weights were trained with."""


class ConvBNReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU.

    Args:
        c_in: channels in.
        c_out: channels out.
        kernel: taps a side, odd.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions round a shortcut (He et al. 2016, figure 2).

    Args:
        c_in: channels in.
        c_out: channels out.
        stride: of the first convolution.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(shortcut + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet18(nn.Module):
    """The trunk: features at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        for i, (a, b, stride) in enumerate(widths, 1):
            self.add_module(f"layer{i}", nn.Sequential(BasicBlock(a, b, stride), BasicBlock(b, b, 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) -> 128 channels at H / 8, 256 at H / 16, 512 at H / 32."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        feat8 = self.layer2(self.layer1(x))  # type: ignore[operator]
        feat16 = self.layer3(feat8)  # type: ignore[operator]
        return feat8, feat16, self.layer4(feat16)  # type: ignore[operator]


class AttentionRefinement(nn.Module):
    """Channel gates from the global mean (Yu et al. 2018, figure 2b).

    Args:
        c_in: channels in.
        c_out: channels out.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(c_in, c_out)
        self.conv_atten = nn.Conv2d(c_out, c_out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))).sigmoid()


class ContextPath(nn.Module):
    """Deep features with attention, brought back to stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16, self.arm32 = AttentionRefinement(256, 128), AttentionRefinement(512, 128)
        self.conv_head32, self.conv_head16 = ConvBNReLU(128, 128), ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> spatial (N, 128, H / 8, ..) and context (N, 128, H / 8, ..)."""
        feat8, feat16, feat32 = self.resnet(x)
        deep = self.arm32(feat32) + self.conv_avg(feat32.mean((2, 3), keepdim=True))
        deep = self.conv_head32(F.interpolate(deep, feat16.shape[-2:], mode="nearest"))
        deep = self.arm16(feat16) + deep
        return feat8, self.conv_head16(F.interpolate(deep, feat8.shape[-2:], mode="nearest"))


class FeatureFusion(nn.Module):
    """Spatial and context features, with channel gates (Yu et al. 2018, figure 2c).

    Args:
        c_in: channels of both together.
        c_out: channels out.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(c_in, c_out, kernel=1)
        self.conv1 = nn.Conv2d(c_out, c_out // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(c_out // 4, c_out, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Fuse the two.

        Args:
            spatial: (N, c_in / 2, H, W).
            context: (N, c_in / 2, H, W).

        Returns:
            (N, c_out, H, W).
        """
        x = self.convblk(torch.cat([spatial, context], 1))
        return x + x * self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Output(nn.Module):
    """Features to class scores.

    Args:
        c_in: channels in.
        middle: channels between the two convolutions.
        classes: how many.
    """

    def __init__(self, c_in: int, middle: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(c_in, middle)
        self.conv_out = nn.Conv2d(middle, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, classes, H, W)."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Image to scores of the 19 CelebAMask-HQ classes.

    Args:
        classes: 19 in the public weights.
        resolution: that the network works at, in pixels, a multiple of 32; 512 for the public weights.

    The auxiliary heads `conv_out16` and `conv_out32` are in the public file, and serve in training only.
    """

    def __init__(self, classes: int = 19, resolution: int = 512) -> None:
        super().__init__()
        self.resolution = resolution
        self.cp, self.ffm = ContextPath(), FeatureFusion(256, 256)
        self.conv_out = Output(256, 256, classes)
        self.conv_out16, self.conv_out32 = Output(128, 64, classes), Output(128, 64, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> logits (N, classes, H, W)."""
        mean, std = (image.new_tensor(v)[:, None, None] for v in (MEAN, STD))
        spatial, context = self.cp((resize(image, self.resolution) - mean) / std)
        logits = self.conv_out(self.ffm(spatial, context))
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=True)
