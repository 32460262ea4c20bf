"""The face recognition network of face-api: 128 numbers that lie close for pictures of one person.

Architecture and weights: vladmandic/face-api, src/faceRecognitionNet, after dlib's
dlib_face_recognition_resnet_model_v1 (King 2017) and He et al. 2016; names as in `ice_lightning.checkpoints.face_api`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.labels import LEFT_EYE, MOUTH, RIGHT_EYE
from ice_lightning.modules.cropping import AlignedIdentity
from ice_lightning.modules.face_api import normalised
from ice_lightning.ops.sampling import resize, sample_bilinear

EYES_TO_MOUTH = 0.45
"""How much of the square's side lies between eyes and mouth (face-api's src/classes/FaceLandmarks.ts, alignDlib)."""
MIDDLE = (0.5, 0.43)
"""Where in the square the middle of eyes and mouth is, across and down, fractions of its side (there)."""


class Scale(nn.Module):
    """A factor and a shift for each channel, to which dlib reduces a batch norm after training.

    Args:
        channels: how many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class ScaledConv(nn.Module):
    """A convolution and its scale.

    Args:
        c_in: channels in.
        c_out: channels out.
        kernel: taps a side, odd.
        stride: one above 1 has no padding, as in dlib.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2 if stride == 1 else 0)
        self.scale = Scale(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ...)."""
        return self.scale(self.conv(x))


class Residual(nn.Module):
    """Two convolutions added to what came in, or to its 2x2 means where `down` halves the side.

    Where the convolutions give a row and a column less than the means, or the means fewer channels, zeros follow.

    Args:
        c_in: channels in.
        c_out: channels out.
        down: whether the side is halved.
    """

    def __init__(self, c_in: int, c_out: int, down: bool = False) -> None:
        super().__init__()
        self.down = down
        self.conv1, self.conv2 = ScaledConv(c_in, c_out, 3, 2 if down else 1), ScaledConv(c_out, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W), or half of the side."""
        y = self.conv2(self.conv1(x).relu())
        if self.down:
            x = F.avg_pool2d(x, 2)
            y = F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return (x + y).relu()


BLOCKS = {
    "conv32_1": (32, 32), "conv32_2": (32, 32), "conv32_3": (32, 32),
    "conv64_down": (32, 64), "conv64_1": (64, 64), "conv64_2": (64, 64), "conv64_3": (64, 64),
    "conv128_down": (64, 128), "conv128_1": (128, 128), "conv128_2": (128, 128),
    "conv256_down": (128, 256), "conv256_1": (256, 256), "conv256_2": (256, 256), "conv256_down_out": (256, 256),
}  # fmt: skip
"""Residual blocks in their order, with channels in and out."""


class Recognition(nn.Module):
    """A face as 128 numbers, of no particular length.

    face-api compares people by the Euclidean distance of these, below 0.6 for the same one; `SquaredIdentity` makes
    them unit vectors, whose cosines compare.
    """

    resolution = 150

    def __init__(self) -> None:
        super().__init__()
        self.conv32_down = ScaledConv(3, 32, 7, 2)
        for name, (c_in, c_out) in BLOCKS.items():
            self.add_module(name, Residual(c_in, c_out, "_down" in name))
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square, a face that fills it -> (N, 128)."""
        x = F.max_pool2d(self.conv32_down(normalised(image, self.resolution)).relu(), 3, 2)
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


def face_square(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """The upright square in which the network wants a face: its left upper corner (N, 2) and its side (N,).

    Args:
        landmarks: (N, 68, 2) in any unit, in which the square is given as well.

    Example:
        >>> landmarks = torch.zeros(1, 68, 2)
        >>> landmarks[:, LEFT_EYE], landmarks[:, RIGHT_EYE] = torch.tensor([-27.0, 0]), torch.tensor([27.0, 0])
        >>> landmarks[:, MOUTH] = torch.tensor([0.0, 36])
        >>> corner, side = face_square(landmarks)
        >>> corner.round(), side.round()
        (tensor([[-50., -31.]]), tensor([100.]))
    """
    left, right, mouth = (landmarks[:, part].mean(1) for part in (LEFT_EYE, RIGHT_EYE, MOUTH))
    apart = ((mouth - left).square().sum(1).sqrt() + (mouth - right).square().sum(1).sqrt()) / 2
    side = apart / EYES_TO_MOUTH
    return (left + right + mouth) / 3 - side[:, None] * side.new_tensor(MIDDLE), side


class SquaredIdentity(AlignedIdentity):
    """Recognition behind its crop, the square by eyes and mouth, which is part of the graph; unit vectors.

    Beyond the picture its border is repeated. face-api rounds the square to whole pixels and cuts it off instead.

    Args:
        net: (N, 3, 150, 150) in 0..1 -> (N, d).
        landmarks: image -> (N, 68, 2) pixels.
        resolution: to which images are reduced before the crop is sampled, so that it isn't aliased.
    """

    def crop(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, 150, 150)."""
        corner, side = face_square((self.landmarks(image) + 0.5) / image.shape[-1])
        wanted = Recognition.resolution
        axis = (torch.arange(wanted, dtype=image.dtype, device=image.device) + 0.5) / wanted
        grid = torch.cartesian_prod(axis, axis).flip(1)
        points = corner[:, None] + grid * side[:, None, None]
        return sample_bilinear(resize(image, self.resolution), points).unflatten(2, (wanted, wanted))
