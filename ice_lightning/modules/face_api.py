"""Small face networks of face-api: 68 landmarks, expression, age and gender; smooth enough for a Jacobian.

Architecture and weights: vladmandic/face-api, src/faceFeatureExtractor, src/xception, src/ageGenderNet and
src/faceExpressionNet, after Huang et al. 2017 (DenseNet) and Chollet 2017 (Xception). State-dict names are those of its
manifests, see `ice_lightning.checkpoints.face_api`. Each network scales and normalises images by itself. All were
trained on crops by a face detector, and say little of a face that is small in its picture: `crop` says where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checks import one_of
from ice_lightning.labels import LANDMARKS
from ice_lightning.modules.cropping import box
from ice_lightning.ops.sampling import resize

MEAN = (122.782, 117.001, 104.298)
"""Of red, green and blue in 0..255, subtracted before the division by 255 (`meanRgb` of its processors)."""
WHOLE = (0, 0, 1, 1)
"""The crop that is the picture: left, top, right, bottom, fractions of the image's resolution."""
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""Outputs of Expression, in face-api's order (`FACE_EXPRESSION_LABELS`)."""
GENDERS = ("male", "female")
"""Outputs of AgeGender's gender, in face-api's order."""


def normalised(image: Tensor, resolution: int, crop: Sequence[float] = WHOLE) -> Tensor:
    """A face as these networks take it.

    Args:
        image: (N, 3, H, H) in 0..1.
        resolution: that the network works at, in pixels.
        crop: left, top, right, bottom of the face, fractions of H.

    Returns:
        (N, 3, resolution, resolution), the crop less MEAN / 255.

    Example:
        >>> import torch
        >>> normalised(torch.ones(1, 3, 8, 8), 4).shape
        torch.Size([1, 3, 4, 4])
    """
    left, top, right, bottom = box(crop, image.shape[-1])
    return resize(image[:, :, top:bottom, left:right], resolution) - image.new_tensor(MEAN).view(-1, 1, 1) / 255


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """How much TensorFlow's padding "same" puts before and behind an axis: what is odd goes behind.

    Args:
        length: of the axis, in pixels.
        kernel: taps of the convolution along it.
        stride: of the convolution along it.

    Returns:
        Pixels before and behind.

    Example:
        >>> same_padding(112, 3, 2), same_padding(7, 3, 1)
        ((0, 1), (1, 1))
    """
    total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def padded(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """An image with padding "same" round it.

    Args:
        x: (N, C, H, W).
        kernel: taps of the convolution along either axis.
        stride: of the convolution.
        value: what the padding consists of.

    Returns:
        (N, C, H + pads, W + pads).

    Example:
        >>> import torch
        >>> padded(torch.ones(1, 1, 4, 4), 3, 2).shape
        torch.Size([1, 1, 5, 5])
    """
    top, bottom = same_padding(x.shape[-2], kernel, stride)
    left, right = same_padding(x.shape[-1], kernel, stride)
    return F.pad(x, (left, right, top, bottom), value=value)


class Conv(nn.Conv2d):
    """A convolution with padding "same", with a bias unless it is a grouped one.

    Args:
        c_in: channels in.
        c_out: channels out.
        kernel: taps a side.
        stride: pixels from one output to the next.
        groups: of channels.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, groups=groups, bias=groups == 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ceil(H / stride), ceil(W / stride))."""
        return super().forward(padded(x, self.kernel_size[0], self.stride[0]))


class Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 convolution over them (Chollet 2017).

    Args:
        c_in: channels in.
        c_out: channels out.
        stride: of the first convolution.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = Conv(c_in, c_in, 3, stride, c_in)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ceil(H / stride), ceil(W / stride))."""
        return self.pointwise(self.depthwise(x))


class Dense(nn.Module):
    """A convolution that halves height and width, then three more, each of the sum so far and added to it.

    Args:
        c_in: channels in.
        c_out: channels out.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv0 = Conv(c_in, c_out, 3, 2) if c_in == 3 else Separable(c_in, c_out, 2)
        self.conv1, self.conv2, self.conv3 = (Separable(c_out, c_out) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / 2, W / 2)."""
        total = self.conv0(x).relu()
        for conv in (self.conv1, self.conv2, self.conv3):
            total = total + conv(total.relu())
        return total.relu()


class DenseNet(nn.Module):
    """Four dense blocks, the mean over their 7x7 positions, and a matrix.

    Args:
        outputs: how many numbers.
        crop: left, top, right, bottom of the face, fractions of the image's resolution.
    """

    resolution = 112

    def __init__(self, outputs: int, crop: Sequence[float]) -> None:
        super().__init__()
        self.crop = tuple(crop)
        self.dense0, self.dense1, self.dense2, self.dense3 = (
            Dense(3, 32),
            Dense(32, 64),
            Dense(64, 128),
            Dense(128, 256),
        )
        self.fc = nn.Linear(256, outputs)

    def numbers(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> (N, outputs)."""
        x = normalised(image, self.resolution, self.crop)
        for block in (self.dense0, self.dense1, self.dense2, self.dense3):
            x = block(x)
        return self.fc(x.mean((2, 3)))


class Expression(DenseNet):
    """The face's expression, as logits in the order of EXPRESSIONS; face-api shows their softmax.

    Args:
        crop: left, top, right, bottom of the face, fractions of the image's resolution.
    """

    def __init__(self, crop: Sequence[float] = WHOLE) -> None:
        super().__init__(len(EXPRESSIONS), crop)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> (N, 7)."""
        return self.numbers(image)


class LandmarkNet68(DenseNet):
    """The 68 iBUG points by regression: it has no heatmaps.

    Args:
        crop: left, top, right, bottom of the face, fractions of the image's resolution.
    """

    def __init__(self, crop: Sequence[float] = WHOLE) -> None:
        super().__init__(2 * LANDMARKS, crop)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> (N, 68, 2) in pixels of the image, (x, y), integers at pixel centres.

        face-api gives positions on a canvas, where a pixel's centre lies at (i + 0.5).
        """
        left, top, right, _ = box(self.crop, image.shape[-1])
        points = self.numbers(image).unflatten(1, (LANDMARKS, 2))
        return points * (right - left) + points.new_tensor([left, top]) - 0.5


class Reduction(nn.Module):
    """Two separable convolutions and a maximum over every second 3x3 window, beside a 1x1 convolution.

    Args:
        c_in: channels in.
        c_out: channels out.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.separable_conv0, self.separable_conv1 = Separable(c_in, c_out), Separable(c_out, c_out)
        self.expansion_conv = Conv(c_in, c_out, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / 2, W / 2)."""
        y = self.separable_conv1(self.separable_conv0(x.relu()).relu())
        return F.max_pool2d(padded(y, 3, 2, -math.inf), 3, 2) + self.expansion_conv(x)


class Middle(nn.Module):
    """Three separable convolutions, added to what came in.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.separable_conv0, self.separable_conv1, self.separable_conv2 = (
            Separable(channels, channels) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        y = x
        for conv in (self.separable_conv0, self.separable_conv1, self.separable_conv2):
            y = conv(y.relu())
        return x + y


class AgeGender(nn.Module):
    """Age or gender: one file holds both heads.

    Args:
        says: gender, two logits in the order of GENDERS (of which face-api shows the softmax), or age, in years.
        crop: left, top, right, bottom of the face, fractions of the image's resolution.
    """

    resolution = 112

    def __init__(self, says: str = "gender", crop: Sequence[float] = WHOLE) -> None:
        super().__init__()
        self.crop = tuple(crop)
        self.says = one_of("output of AgeGender", says, ("age", "gender"))
        self.entry_flow = nn.ModuleDict(
            {
                "conv_in": Conv(3, 32, 3, 2),
                "reduction_block_0": Reduction(32, 64),
                "reduction_block_1": Reduction(64, 128),
            }
        )
        self.middle_flow = nn.ModuleDict({"main_block_0": Middle(128), "main_block_1": Middle(128)})
        self.exit_flow = nn.ModuleDict({"reduction_block": Reduction(128, 256), "separable_conv": Separable(256, 512)})
        self.fc = nn.ModuleDict({"age": nn.Linear(512, 1), "gender": nn.Linear(512, len(GENDERS))})

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> (N, 2) logits, or (N, 1) years."""
        entry, ending = self.entry_flow, self.exit_flow
        x = entry["conv_in"](normalised(image, self.resolution, self.crop)).relu()
        x = entry["reduction_block_1"](entry["reduction_block_0"](x))
        for block in self.middle_flow.values():
            x = block(x)
        x = ending["separable_conv"](ending["reduction_block"](x)).relu()
        return self.fc[self.says](x.mean((2, 3)))
