"""Public face models from their own files: BiSeNet, FAN and ArcFace behind the names that criterions ask for.

    python -m ice_lightning.run faces=pretrained faces.parser=79999_iter.pth faces.landmarks=2DFAN4-11f355bf06.pth.tar

Nothing in the files is executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checkpoints import read_weights
from ice_lightning.checks import problem
from ice_lightning.modules.bisenet import BiSeNet
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.iresnet import IResNet
from ice_lightning.modules.landmarks import expected_position
from ice_lightning.modules.layers import resize
from ice_lightning.modules.sampling import sample_bilinear

PARSER = (
    "a face parser (BiSeNet on CelebAMask-HQ, usually 79999_iter.pth of zllrunning/face-parsing.PyTorch, "
    "keys cp.resnet.conv1.weight ... conv_out.conv_out.weight)"
)
LANDMARKS = (
    "a landmark network (2DFAN4 of 1adrianb/face-alignment, usually 2DFAN4-11f355bf06.pth.tar in torch's hub cache, "
    "keys conv1.weight ... l3.weight)"
)
IDENTITY = (
    "an identity network (ArcFace iResNet, usually backbone.pth of insightface's arcface_torch, "
    "keys conv1.weight, layer1.0.bn1.weight ... fc.weight, features.weight)"
)

TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""(5, 2) where ArcFace wants eyes, nose and mouth corners in its 112-px crop (insightface's arcface_dst)."""


def filled(
    path: str | Path,
    what: str,
    make: Callable[[dict[str, Tensor]], nn.Module],
    read: Callable[[str | Path, str], dict[str, Tensor]] = read_weights,
) -> nn.Module:
    """The network that `make` builds for a file's tensors by `read`, with them, in eval mode and frozen.

    Raises:
        IceError: when keys are missing, left over or of another shape.
    """
    state = read(path, what)
    try:
        network = make(state)
    except (KeyError, IndexError) as error:
        raise problem(f"{what} in {path}", f"no key {error}", "pass the path to what it holds") from error
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    for wrong, kind in (
        (own.keys() - counters - state.keys(), "without"),
        (state.keys() - own.keys(), "with a foreign"),
    ):
        if wrong:
            got = f"a file {kind} '{min(wrong)}' ({len(wrong)} such keys)"
            raise problem(f"{what} in {path}", got, "pass the path to what it holds")
    for name in own.keys() - counters:
        if own[name].shape != state[name].shape:
            got = f"{name} of shape {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            raise problem(f"{what} in {path}", got, "pass the path to what it holds")
    network.load_state_dict({name: state.get(name, own[name]) for name in own})
    return network.float().eval().requires_grad_(False)


def count(state: dict[str, Tensor], pattern: str) -> int:
    """How many numbers n make `pattern` (with one group) a prefix of a key."""
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def make_parser(state: dict[str, Tensor]) -> nn.Module:
    """BiSeNet with as many classes as the file has."""
    return BiSeNet(classes=state["conv_out.conv_out.weight"].shape[0])


def make_identity(state: dict[str, Tensor]) -> nn.Module:
    """The iResNet whose blocks the file has."""
    depths = tuple(count(state, rf"layer{i}\.(\d+)\.conv1") for i in range(1, 5))
    return IResNet(depths, dim=state["fc.weight"].shape[0])


def make_landmarks(state: dict[str, Tensor]) -> nn.Module:
    """The FAN with as many hourglasses as the file has.

    Raises:
        IceError: when face-alignment isn't installed.
    """
    try:
        from face_alignment.models import FAN
    except ImportError as error:
        fix = "pip install 'ice_lightning[face]'"
        raise problem("the package face-alignment, for faces.landmarks", "none", fix) from error
    stages = count(state, r"l(\d+)\.weight")
    if not stages:
        raise KeyError("l0.weight")
    return FAN(stages)


class CroppedParser(nn.Module):
    """A parser for the part of the image where the face is; all around it is background.

    Args:
        net: (N, 3, h, w) in 0..1 -> (N, 19, h, w) logits.
        crop: left, top, right, bottom, fractions of the side.
    """

    def __init__(self, net: nn.Module, crop: Sequence[float]) -> None:
        super().__init__()
        self.net, self.crop = net, tuple(crop)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 19, H, W)."""
        left, top, right, bottom = box(self.crop, image.shape[-1])
        logits = self.net(image[:, :, top:bottom, left:right])
        outside = torch.zeros(logits.shape[1], dtype=logits.dtype, device=logits.device)
        outside[0] = 20.0
        side = image.shape[-1]
        inside = F.pad(logits, (left, side - right, top, side - bottom))
        cover = F.pad(torch.ones_like(logits[:1, :1]), (left, side - right, top, side - bottom))
        return inside + (1 - cover) * outside[:, None, None]


def box(crop: Sequence[float], side: int) -> tuple[int, int, int, int]:
    """Pixels of a crop given in fractions of the side.

    Raises:
        IceError: for a crop that isn't a square inside the image.
    """
    left, top, right, bottom = (round(each * side) for each in crop)
    if not (0 <= left < right <= side and 0 <= top < bottom <= side and right - left == bottom - top):
        raise problem("a square face crop (left, top, right, bottom) within 0..1", tuple(crop), "set faces.crop")
    return left, top, right, bottom


NEAR_PEAK = 4
"""How far round its maximum a map of FAN is read, in pixels of 64: a point is a Gaussian of one or two pixels."""


def near_peak(maps: Tensor) -> Tensor:
    """What a regression of Gaussians says of a point, however faint and whatever lies about: a probability.

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
    rows, columns = (torch.arange(side, device=maps.device) for side in maps.shape[-2:])
    near_row = (rows - peak // w).abs() <= NEAR_PEAK
    near_column = (columns - peak % w).abs() <= NEAR_PEAK
    p = (maps.clamp_min(0).square() + 1e-12) * (near_row[..., None] & near_column[..., None, :])
    return p / p.sum((2, 3), keepdim=True)


class FaceAlignment(nn.Module):
    """A FAN (Bulat & Tzimiropoulos 2017) whose points are means under its heatmaps instead of their maxima.

    Args:
        net: (N, 3, 256, 256) in 0..1 -> list of heatmaps (N, 68, 64, 64), up to 1 at a point and about 0 elsewhere.
        crop: left, top, right, bottom of the face, fractions of the side.
        whole_maps: means under the whole maps over their sums, as Li et al. 2022 take them, which noise all over a map
            draws to its middle, instead of under what is near their maxima.
    """

    def __init__(self, net: nn.Module, crop: Sequence[float] = (0, 0, 1, 1), whole_maps: bool = False) -> None:
        super().__init__()
        self.net, self.crop, self.whole_maps = net, tuple(crop), whole_maps

    def heatmaps(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 68, 64, 64) over the crop, sums of 1."""
        left, top, right, bottom = box(self.crop, image.shape[-1])
        maps = self.net(resize(image[:, :, top:bottom, left:right], 256))[-1]
        return maps / maps.sum((2, 3), keepdim=True) if self.whole_maps else near_peak(maps)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, 68, 2) pixels of the image, (x, y)."""
        left, top, right, _ = box(self.crop, image.shape[-1])
        return expected_position(self.heatmaps(image)) * (right - left) + image.new_tensor([left, top]) - 0.5


def five_points(landmarks: Tensor) -> Tensor:
    """Eyes' centres, nose tip and mouth corners of 68 landmarks: (N, 68, 2) -> (N, 5, 2)."""
    eyes = [landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)]
    return torch.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], 1)


def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation, scale and shift that take source points nearest to target points (least squares, Umeyama 1991).

    Args:
        source: (N, K, 2).
        target: (N, K, 2).

    Returns:
        A (N, 2, 2) and b (N, 2) with target ~ source A^T + b; smooth in both, as in the plane no SVD is needed.
    """
    from_mean, to_mean = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    p, q = source - from_mean, target - to_mean
    size = p.square().sum((1, 2))
    cosine = (p * q).sum((1, 2)) / size
    sine = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / size
    A = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    return A, (to_mean - from_mean @ A.transpose(1, 2))[:, 0]


class AlignedIdentity(nn.Module):
    """An identity network behind its aligned crop; the alignment is part of the graph.

    Args:
        net: (N, 3, 112, 112) in 0..1 -> (N, d).
        landmarks: image -> (N, 68, 2) pixels.
        side: images are reduced to this side before the crop is sampled, so that it isn't aliased.
    """

    def __init__(self, net: nn.Module, landmarks: nn.Module, side: int = 256) -> None:
        super().__init__()
        self.net, self.landmarks, self.side = net, landmarks, side

    def crop(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, 112, 112)."""
        points = (five_points(self.landmarks(image)) + 0.5) / image.shape[-1]
        template = (TEMPLATE.to(points) + 0.5).expand(len(points), -1, -1)
        A, b = similarity(template, points)
        axis = torch.arange(112, dtype=points.dtype, device=points.device) + 0.5
        grid = torch.cartesian_prod(axis, axis).flip(1)
        return sample_bilinear(resize(image, self.side), grid @ A.transpose(1, 2) + b[:, None]).unflatten(2, (112, 112))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, d), unit length."""
        return F.normalize(self.net(self.crop(image)), dim=1)


def pretrained(
    parser: str | Path | None,
    landmarks: str | Path | None,
    identity: str | Path | None = None,
    crop: Sequence[float] = (0, 0, 1, 1),
    whole_maps: bool = False,
) -> Faces:
    """Face models from public files.

    Args:
        parser: BiSeNet, `79999_iter.pth`.
        landmarks: FAN, `2DFAN4-11f355bf06.pth.tar`.
        identity: ArcFace iResNet-50 or -100, `backbone.pth`; only criterions that ask for it need it.
        crop: left, top, right, bottom of the face in the generator's images, fractions of the side.
        whole_maps: see FaceAlignment.

    Raises:
        IceError: for a path that isn't given, or a file that holds something else.
    """
    for name, path, what in (("parser", parser, PARSER), ("landmarks", landmarks, LANDMARKS)):
        if path is None:
            raise problem(what, "no path", f"set faces.{name}=PATH")
    assert parser is not None and landmarks is not None
    points = FaceAlignment(filled(landmarks, LANDMARKS, make_landmarks), crop, whole_maps)
    network = None if identity is None else AlignedIdentity(filled(identity, IDENTITY, make_identity), points)
    return Faces(CroppedParser(filled(parser, PARSER, make_parser), crop), points, network)
