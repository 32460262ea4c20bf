"""Face models that want a face cut out in their own way, between an image and a published network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checks import problem
from ice_lightning.labels import LEFT_EYE, LEFT_MOUTH_CORNER, NOSE_TIP, RIGHT_EYE, RIGHT_MOUTH_CORNER
from ice_lightning.modules.landmarks import expected_position
from ice_lightning.ops.sampling import resize, sample_bilinear

TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""(5, 2) where ArcFace wants eyes, nose and mouth corners in its crop of 112 px, in pixels (`arcface_dst` in
deepinsight/insightface, python-package/insightface/utils/face_align.py)."""
ALIGNED = 112
"""Resolution of that crop."""
FAN_INPUT = 256
"""Resolution at which FAN was trained (1adrianb/face-alignment)."""
NEAR_PEAK = 4
"""How far round its maximum a map of FAN is read, in pixels of 64: a point is a Gaussian of one or two pixels."""
BACKGROUND_LOGIT = 20.0
"""What CroppedParser says for background outside of the crop: a probability of 1 in float32."""


class CroppedParser(nn.Module):
    """A parser for the part of the image where the face is; all around it is background.

    Args:
        net: (N, 3, h, w) in 0..1 -> (N, 19, h, w) logits.
        crop: left, top, right, bottom, fractions of the image's resolution.
    """

    def __init__(self, net: nn.Module, crop: Sequence[float]) -> None:
        super().__init__()
        self.net, self.crop = net, tuple(crop)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 19, H, W)."""
        resolution = image.shape[-1]
        left, top, right, bottom = box(self.crop, resolution)
        logits = self.net(image[:, :, top:bottom, left:right])
        outside = torch.zeros(logits.shape[1], dtype=logits.dtype, device=logits.device)
        outside[0] = BACKGROUND_LOGIT
        margins = (left, resolution - right, top, resolution - bottom)
        cover = F.pad(torch.ones_like(logits[:1, :1]), margins)
        return F.pad(logits, margins) + (1 - cover) * outside[:, None, None]


def box(crop: Sequence[float], resolution: int) -> tuple[int, int, int, int]:
    """A crop in pixels.

    Args:
        crop: left, top, right, bottom, fractions of the resolution.
        resolution: of the image, in pixels.

    Returns:
        left, top, right, bottom, rounded; right and bottom are the first pixels beyond it.

    Raises:
        IceError: for a crop that isn't a square inside the image.

    Example:
        >>> box((0.25, 0.5, 0.75, 1), 64)
        (16, 32, 48, 64)
    """
    left, top, right, bottom = (round(each * resolution) for each in crop)
    inside = 0 <= left < right <= resolution and 0 <= top < bottom <= resolution
    if not (inside and right - left == bottom - top):
        raise problem("a square face crop (left, top, right, bottom) within 0..1", tuple(crop), "set faces.crop")
    return left, top, right, bottom


def near_peak(maps: Tensor) -> Tensor:
    """Heatmaps of Gaussians as probabilities of a point, however faint a map is and whatever else lies in it.

    Within a window round its maximum, the square of the map's positive part over its sum. The mean of a squared
    Gaussian is that of the Gaussian and moves with it between pixels too, where an exponential sharp enough to
    outweigh a whole map stands still on one pixel and leaps to the next. Background noise of a thirtieth of the peak,
    which over a whole map outweighs it, is a thousandth of it in squares.

    Args:
        maps: (N, K, H, W).

    Returns:
        (N, K, H, W), 0 or more, sums of 1; even over the window where a map is nowhere above 0.
    """
    w = maps.shape[-1]
    peak = maps.flatten(2).argmax(-1)[..., None]
    rows, columns = (torch.arange(length, device=maps.device) for length in maps.shape[-2:])
    near_row = (rows - peak // w).abs() <= NEAR_PEAK
    near_column = (columns - peak % w).abs() <= NEAR_PEAK
    p = (maps.clamp_min(0).square() + 1e-12) * (near_row[..., None] & near_column[..., None, :])
    return p / p.sum((2, 3), keepdim=True)


class FaceAlignment(nn.Module):
    """A FAN (Bulat & Tzimiropoulos 2017) whose points are means under its heatmaps instead of their maxima.

    Args:
        net: (N, 3, 256, 256) in 0..1 -> list of heatmaps (N, 68, 64, 64), up to 1 at a point and about 0 elsewhere.
        crop: left, top, right, bottom of the face, fractions of the image's resolution.
        whole_maps: take means under the whole maps over their sums, as Li et al. 2022 do, instead of under what is near
            their maxima; noise all over a map draws such a mean to the map's middle.
    """

    def __init__(self, net: nn.Module, crop: Sequence[float] = (0, 0, 1, 1), whole_maps: bool = False) -> None:
        super().__init__()
        self.net, self.crop, self.whole_maps = net, tuple(crop), whole_maps

    def heatmaps(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 68, 64, 64) over the crop, sums of 1."""
        left, top, right, bottom = box(self.crop, image.shape[-1])
        maps = self.net(resize(image[:, :, top:bottom, left:right], FAN_INPUT))[-1]
        return maps / maps.sum((2, 3), keepdim=True) if self.whole_maps else near_peak(maps)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 68, 2) pixels of the image, (x, y)."""
        left, top, right, _ = box(self.crop, image.shape[-1])
        return expected_position(self.heatmaps(image)) * (right - left) + image.new_tensor([left, top]) - 0.5


def five_points(landmarks: Tensor) -> Tensor:
    """Eyes' centres, nose tip and mouth corners of 68 landmarks: (N, 68, 2) -> (N, 5, 2)."""
    eyes = [landmarks[:, eye].mean(1) for eye in (LEFT_EYE, RIGHT_EYE)]
    others = [landmarks[:, point] for point in (NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER)]
    return torch.stack([*eyes, *others], 1)


def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation, scale and shift that take source points nearest to target points (least squares, Umeyama 1991).

    Args:
        source: (N, K, 2).
        target: (N, K, 2).

    Returns:
        A (N, 2, 2) and b (N, 2) with target ~ source A^T + b; smooth in both, as in the plane no SVD is needed.

    Example:
        >>> source = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
        >>> A, b = similarity(source, 2 * source + 3)
        >>> A[0].diagonal(), b
        (tensor([2., 2.]), tensor([[3., 3.]]))
    """
    from_mean, to_mean = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    p, q = source - from_mean, target - to_mean
    spread = p.square().sum((1, 2))
    cosine = (p * q).sum((1, 2)) / spread
    sine = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / spread
    A = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    return A, (to_mean - from_mean @ A.transpose(1, 2))[:, 0]


class AlignedIdentity(nn.Module):
    """An identity network behind its aligned crop; the alignment is part of the graph.

    Args:
        net: (N, 3, 112, 112) in 0..1 -> (N, d).
        landmarks: image -> (N, 68, 2) pixels.
        resolution: to which images are reduced before the crop is sampled, so that it isn't aliased.
    """

    def __init__(self, net: nn.Module, landmarks: nn.Module, resolution: int = 256) -> None:
        super().__init__()
        self.net, self.landmarks, self.resolution = net, landmarks, resolution

    def crop(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, 112, 112)."""
        points = (five_points(self.landmarks(image)) + 0.5) / image.shape[-1]
        template = (TEMPLATE.to(points) + 0.5).expand(len(points), -1, -1)
        A, b = similarity(template, points)
        axis = torch.arange(ALIGNED, dtype=points.dtype, device=points.device) + 0.5
        grid = torch.cartesian_prod(axis, axis).flip(1)
        pixels = sample_bilinear(resize(image, self.resolution), grid @ A.transpose(1, 2) + b[:, None])
        return pixels.unflatten(2, (ALIGNED, ALIGNED))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, d), unit length."""
        return F.normalize(self.net(self.crop(image)), dim=1)
