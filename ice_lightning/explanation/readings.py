"""What a person would name in a face, read from images: sizes, pose, areas, colours of regions, and who it is.

These are readings beside those of a criterion's terms, for whether a flip moved anything else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ice_lightning.criterions.landmarks import pose_of
from ice_lightning.labels import (
    LANDMARKS,
    LEFT_EYE,
    LEFT_MOUTH_CORNER,
    MOUTH,
    REGIONS,
    RIGHT_EYE,
    RIGHT_MOUTH_CORNER,
)
from ice_lightning.modules.faces import Faces

SMALLEST = 3e-3
"""Share of the image that a region needs in a person, for its colour to be read."""
AREAS = {"hair area": ("hair",), "glasses": ("eye_g",), "brow area": ("l_brow", "r_brow")}


def sizes_of(points: Tensor) -> dict[str, Tensor]:
    """Sizes and places in the upright face, in pixels.

    Args:
        points: (N, 68, 2) in pixels.

    Returns:
        (N,) each.

    Example:
        >>> points = torch.zeros(1, 68, 2)
        >>> points[:, 42:48, 0], points[:, 54, 0] = 10.0, 4.0  # the right eye's middle, the right corner of the mouth
        >>> {name: float(sizes_of(points)[name]) for name in ("eye spacing", "mouth width")}
        {'eye spacing': 10.0, 'mouth width': 4.0}
    """
    left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
    middle, across = (left + right) / 2, right - left
    apart = across.norm(dim=1)
    unit = across / apart[:, None].clamp_min(1e-6)
    turned = torch.stack([unit, torch.stack([-unit[:, 1], unit[:, 0]], 1)], 1)
    x, y = ((points - middle[:, None]) @ turned.transpose(1, 2)).unbind(-1)
    lips = y[:, MOUTH]
    top, bottom, upper_inner, lower_inner = lips[:, 3], lips[:, 9], lips[:, 14], lips[:, 18]
    corners = [LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]
    return {
        "face width": x[:, 16] - x[:, 0],
        "jaw width": x[:, 12] - x[:, 4],
        "face length": y[:, 8],
        "eye spacing": apart,
        "eye width": (x[:, 39] - x[:, 36] + x[:, 45] - x[:, 42]) / 2,
        "eye opening": (y[:, [40, 41, 46, 47]].sum(1) - y[:, [37, 38, 43, 44]].sum(1)) / 4,
        "brow height": -y[:, 17:27].mean(1),
        "brow slant": (y[:, [20, 21, 22, 23]].sum(1) - y[:, [17, 18, 25, 26]].sum(1)) / 4,
        "mouth width": x[:, RIGHT_MOUTH_CORNER] - x[:, LEFT_MOUTH_CORNER],
        "mouth opening": lower_inner - upper_inner,
        "smile": (top + bottom - y[:, corners].sum(1)) / 2,
        "lip fullness": bottom - lower_inner + upper_inner - top,
    }


@torch.no_grad()
def read(faces: Faces, image: Tensor, parse: Tensor) -> dict[str, Tensor]:
    """Every reading of some images.

    Args:
        faces: the face models.
        image: (N, 3, H, W) in 0..1.
        parse: (N, H, W), the parse map under which colours are read: that of the original.

    Returns:
        (N, d) each; NaN where a region is too small.
    """
    own, points = faces.analyse(image)
    scalars = sizes_of(points) | pose_of(points)
    for name, regions in AREAS.items():
        ids = torch.tensor([REGIONS.index(region) for region in regions], device=own.device)
        scalars[name] = torch.isin(own, ids).to(image).mean((1, 2))
    found = {name: value[:, None] for name, value in scalars.items()}
    for index, name in enumerate(REGIONS):
        mask = (parse == index)[:, None].to(image)
        share = mask.mean((2, 3))
        colour = (image * mask).mean((2, 3)) / share.clamp_min(1e-9)
        found[f"{name} colour"] = torch.where(share >= SMALLEST, colour, torch.nan)
    if faces.identity is not None:
        found["identity"] = faces.identity(image)
    return found


def deviations_of(readings: dict[str, Tensor]) -> dict[str, Tensor]:
    """How far each reading differs between people: the root mean square distance from its mean.

    Args:
        readings: (N, d) of a population; NaN where somebody has none.

    Returns:
        () each; of a colour the mean over those of all regions, so that what looks the same counts the same. NaN or 0
        where nobody differs.

    Example:
        >>> found = deviations_of({"a": torch.tensor([[0.0], [2.0]]), "b colour": torch.tensor([[1.0], [torch.nan]])})
        >>> found["a"], found["b colour"]
        (tensor(1.), tensor(0.))
    """
    far = {name: (value - value.nanmean(0, keepdim=True)).square().sum(1) for name, value in readings.items()}
    found = {name: each.nanmean().sqrt() for name, each in far.items()}
    colours = [name for name in found if name.endswith(" colour")]
    return found | (dict.fromkeys(colours, torch.stack([found[name] for name in colours]).nanmean()) if colours else {})


NAMES = (
    *sizes_of(torch.zeros(1, LANDMARKS, 2)), *pose_of(torch.zeros(1, LANDMARKS, 2)), *AREAS,
    *(f"{region} colour" for region in REGIONS), "identity",
)  # fmt: skip
"""Of all readings, in their order; identity alone may be missing."""
