"""A parse map without a parser: the regions of a face as its 68 landmarks outline them.

What landmarks outline: skin, brows, eyes, nose, mouth and lips. Where hair, ears, neck and clothes would be, nothing is
claimed: a twentieth class says "unseen", and only what is plainly beside the head is background. Hair, hat, ears, neck,
clothes, jewellery and glasses have no pixel; what covers a face (a fringe, a beard, a hand, glasses) is taken for what
it covers. A forehead ends above the brows where every forehead still is one; noses have no landmarks at their sides,
brows none below, and both get the width that is usual.

Every edge is a sigmoid of the distance to it, so that areas have derivatives by the landmarks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.labels import (
    BROWS,
    CHIN,
    INNER_LIPS,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_JAW_END,
    LEFT_NOSTRIL,
    LOWER_LIP,
    NOSE_BASE,
    NOSE_BRIDGE,
    NOSE_RIDGE,
    OUTER_LIPS,
    REGIONS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_JAW_END,
    RIGHT_NOSTRIL,
    UPPER_LIP,
)
from ice_lightning.ops.sampling import resize

UNSEEN = len(REGIONS)
"""The class behind CelebAMask-HQ's 19: it belongs to no region."""

FOREHEAD = (0.06, 0.15, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.15, 0.06)
"""How far skin reaches above each brow point, in lengths from chin to bridge (0.45 in a canon of thirds)."""
BROW = 0.25
"""Thickness of a brow in its middle, in lengths of the brow; its points lie on the upper edge."""
TAPER = (0.5, 0.86, 1.0, 0.86, 0.5)
"""Thickness at each point of a brow, in thicknesses of its middle."""
NOSE_WIDTHS = (0.35, 0.44, 0.69, 1.1)
"""Half widths of the nose at the points of its ridge, in half distances of its outer nostril points."""
ASIDE = 1.5
"""Half width of what hair and ears may cover, in half widths of the head."""
ABOVE = 1.4
"""Height of what hair may cover above the jaw's ends, in lengths from chin to bridge."""
SOFT = 0.5
"""Width of an edge, in pixels of the drawing."""


def nearest_edge(corners: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Which edge of a closed polygon is nearest to each point, and whether the point lies inside (even-odd rule).

    Args:
        corners: (N, K, 2).
        grid: (2, P), x and y, in the same unit.

    Returns:
        (N, P) int64 and (N, P) bool.

    Example:
        >>> square = torch.tensor([[[0.0, 0], [4, 0], [4, 4], [0, 4]]])
        >>> nearest_edge(square, torch.tensor([[2.0, 5], [1, 2]]))
        (tensor([[0, 1]]), tensor([[ True, False]]))
    """
    a, along = corners[..., None], (corners.roll(-1, 1) - corners)[..., None]
    (dx, dy), (x, y) = along.unbind(2), (grid - a).unbind(2)  # by coordinate: sums over an axis of two are slow
    share = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp_min(1e-12)).clamp(0, 1)
    index = ((x - share * dx).square() + (y - share * dy).square()).argmin(1)
    crosses = (y >= 0) != (y >= dy)
    right = (dx * y > dy * x) == (dy > 0)
    return index, (crosses & right).sum(1) % 2 == 1


def signed_distance(corners: Tensor, grid: Tensor) -> Tensor:
    """Distance of points to the edge of a closed polygon, positive inside.

    Args:
        corners: (N, K, 2).
        grid: (2, P), in the same unit.

    Returns:
        (N, P); the derivative is that of the distance to the nearest edge.

    Example:
        >>> square = torch.tensor([[[0.0, 0], [4, 0], [4, 4], [0, 4]]])
        >>> signed_distance(square, torch.tensor([[2.0, 5], [1, 2]]))
        tensor([[ 1., -1.]])
    """
    index, inside = nearest_edge(corners.detach(), grid)
    edges = torch.cat([corners, corners.roll(-1, 1) - corners], 2)
    ax, ay, dx, dy = (each.gather(1, index) for each in edges.unbind(2))
    x, y = grid[0] - ax, grid[1] - ay
    share = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp_min(1e-12)).clamp(0, 1)
    # A root of 0 has no derivative.
    distance = ((x - share * dx).square() + (y - share * dy).square() + 1e-12).sqrt()
    return torch.where(inside, distance, -distance)


def outlines(points: Tensor) -> dict[str, Tensor]:
    """Closed polygons of the face's parts.

    Args:
        points: (N, 68, 2), in any unit, of a face that stands about upright.

    Returns:
        (N, K, 2) under skin, nose, l_brow, r_brow, l_eye, r_eye, lips (with what is between them), u_lip, l_lip and
        mouth (what is between the lips).
    """
    up = (points[:, NOSE_BRIDGE] - points[:, CHIN])[:, None]
    half = (points[:, RIGHT_NOSTRIL] - points[:, LEFT_NOSTRIL])[:, None] / 2
    ridge, wide = points[:, NOSE_RIDGE], half * points.new_tensor(NOSE_WIDTHS)[:, None]
    top = points[:, BROWS] + up * points.new_tensor(FOREHEAD)[:, None]
    found = {
        "skin": torch.cat([points[:, JAW], top.flip(1)], 1),
        "nose": torch.cat([ridge - wide, points[:, NOSE_BASE], (ridge + wide).flip(1)], 1),
        "l_eye": points[:, LEFT_EYE],
        "r_eye": points[:, RIGHT_EYE],
        "lips": points[:, OUTER_LIPS],
        "mouth": points[:, INNER_LIPS],
        "u_lip": points[:, UPPER_LIP],
        "l_lip": points[:, LOWER_LIP],
    }
    for name, brow in (("l_brow", points[:, LEFT_BROW]), ("r_brow", points[:, RIGHT_BROW])):
        length = (brow[:, 4] - brow[:, 0]).square().sum(-1).sqrt()[:, None, None]
        down = F.normalize(up, dim=-1) * length * points.new_tensor(TAPER)[:, None] * -BROW
        found[name] = torch.cat([brow, (brow + down).flip(1)], 1)
    return found


def around(points: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Distances into where hair and ears may be, round and above the head, and into all that lies below the chin.

    Args:
        points: (N, 68, 2).
        grid: (2, P), x and y, in the same unit.

    Returns:
        Two (N, P), positive inside: an arch of half an ellipse on two upright lines, and a half plane.
    """
    left, right = points[:, LEFT_JAW_END], points[:, RIGHT_JAW_END]
    up, across = points[:, NOSE_BRIDGE] - points[:, CHIN], right - left
    height, width = up.square().sum(1, keepdim=True).sqrt(), across.square().sum(1, keepdim=True).sqrt() / 2 * ASIDE
    upward, middle = up / height, (left + right) / 2
    (ux, uy), (x, y) = upward[..., None].unbind(1), (grid - middle[..., None]).unbind(1)
    v, aside = x * ux + y * uy, x * uy - y * ux
    chin = ((points[:, CHIN] - middle) * upward).sum(1, keepdim=True)
    radius = ((aside / width).square() + (v.clamp_min(0) / (height * ABOVE)).square() + 1e-12).sqrt()
    return (1 - radius) * width, chin - v


def regions(points: Tensor, resolution: int) -> Tensor:
    """Probabilities of the 19 CelebAMask-HQ classes and "unseen".

    Args:
        points: (N, 68, 2) as fractions of the resolution, pixel centres at (i + 0.5) / resolution.
        resolution: of the drawing, in pixels.

    Returns:
        (N, 20, resolution, resolution), sums of 1 over the classes.
    """
    axis = (torch.arange(resolution, dtype=points.dtype, device=points.device) + 0.5) / resolution
    grid = torch.cartesian_prod(axis, axis).T.flip(0)
    sharp = resolution / SOFT
    shapes = outlines(points)
    distance = {name: signed_distance(corners, grid) for name, corners in shapes.items()}
    cover = {name: torch.sigmoid(each * sharp) for name, each in distance.items()}
    arch, below = (torch.sigmoid(each * sharp) for each in around(points, grid))
    layers = {name: cover[name] for name in ("skin", "nose", "l_brow", "r_brow", "l_eye", "r_eye")}
    free = 1 - cover["lips"]
    for name in reversed(layers):  # from front to back: what is in front leaves the rest free
        layers[name], free = layers[name] * free, free * (1 - layers[name])
    layers["background"] = free * (1 - arch) * (1 - below)
    unseen = free - layers["background"]
    upper = torch.sigmoid((distance["u_lip"] - distance["l_lip"]) * sharp)
    layers["mouth"] = cover["lips"] * cover["mouth"]
    layers["u_lip"] = (cover["lips"] - layers["mouth"]) * upper
    layers["l_lip"] = (cover["lips"] - layers["mouth"]) * (1 - upper)
    none = torch.zeros_like(free)
    return torch.stack([*(layers.get(name, none) for name in REGIONS), unseen], 1).unflatten(
        2, (resolution, resolution)
    )


class LandmarkRegions(nn.Module):
    """What landmarks outline, in place of a parser; the file's first lines say what they can't see.

    Args:
        landmarks: image -> (N, 68, 2) pixels.
        resolution: at which regions are drawn; images of another one get them interpolated.
    """

    def __init__(self, landmarks: nn.Module, resolution: int = 128) -> None:
        super().__init__()
        self.landmarks, self.resolution = landmarks, resolution

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1, square -> logits (N, 20, H, W): the 19 CelebAMask-HQ classes, and UNSEEN."""
        points = (self.landmarks(image) + 0.5) / image.shape[-1]
        return resize(regions(points, self.resolution), image.shape[-1]).clamp_min(1e-6).log()
