"""Terms over the 68 iBUG landmarks: where they are, how they lie to one another, head pose, gaze."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checks import at_least, one_of, problem
from ice_lightning.criterions.regions import region_mask
from ice_lightning.criterions.term import Analysis, Term
from ice_lightning.labels import (
    LANDMARKS,
    LEFT_EYE,
    LEFT_EYE_CORNER,
    LEFT_JAW_END,
    NOSE_TIP,
    RIGHT_EYE,
    RIGHT_EYE_CORNER,
    RIGHT_JAW_END,
)
from ice_lightning.ops.sampling import resize

POSE_AND_GAZE = ("yaw", "pitch", "roll", "gaze_x", "gaze_y")
"""What GazeAndPose reads, in the order of its features."""


def landmark_ids(indices: str, complement: bool = False) -> list[int]:
    """The points of a list such as "0-16,27".

    Args:
        indices: numbers and ranges of the iBUG points, counted from 0, both ends included.
        complement: all points but these.

    Returns:
        Numbers from 0 to 67, ascending, at least one.

    Raises:
        IceError: for what isn't such a list, a point that there isn't, or no point at all.

    Example:
        >>> landmark_ids("0-2,27"), len(landmark_ids("48-67", complement=True))
        ([0, 1, 2, 27], 48)
    """
    chosen: set[int] = set()
    for part in str(indices).split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise problem("landmark indices such as '48-67' or '0-16,27'", f"'{indices}'", "write numbers and ranges")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high < LANDMARKS:
            raise problem("landmark indices from 0 to 67", f"'{part.strip()}'", "the 68 iBUG points are counted from 0")
        chosen |= set(range(low, high + 1))
    kept = [i for i in range(LANDMARKS) if (i in chosen) != complement]
    at_least("landmarks", len(kept), 1)
    return kept


def landmark_positions(points: Tensor, ids: list[int], resolution: int) -> Tensor:
    """Where chosen points are.

    Args:
        points: (N, 68, 2) in pixels.
        ids: which points.
        resolution: of the image, in pixels.

    Returns:
        (N, 2 len(ids)), fractions of the resolution.

    Example:
        >>> landmark_positions(torch.full((1, 68, 2), 32.0), [30], 128)
        tensor([[0.2500, 0.2500]])
    """
    return points[:, ids].flatten(1) / resolution


def relative_positions(points: Tensor, ids: list[int], resolution: int) -> Tensor:
    """Where chosen points are beside their mean, which carries where they are as a whole.

    Args:
        points: (N, 68, 2) in pixels.
        ids: which points.
        resolution: of the image, in pixels.

    Returns:
        (N, 2 len(ids)), fractions of the resolution.

    Example:
        >>> points = torch.zeros(1, 68, 2)
        >>> points[0, 48, 0], points[0, 54, 0] = 10, 30
        >>> relative_positions(points, [48, 54], 100)
        tensor([[-0.1000,  0.0000,  0.1000,  0.0000]])
    """
    chosen = points[:, ids]
    return (chosen - chosen.mean(1, keepdim=True)).flatten(1) / resolution


def pose_of(points: Tensor) -> dict[str, Tensor]:
    """Head pose from landmarks, in numbers without a unit that grow with the angles.

    Args:
        points: (N, 68, 2).

    Returns:
        yaw: how far the nose's tip is from the middle of the eyes, across, in inter-ocular distances;
        pitch: how far the middle of the eyes is below that of the jaw's ends at the ears, in the same: a head that
        nods carries its front down and leaves the ears where they are;
        roll: the slant of the line between the eyes' outer corners, in radians. Each (N,).
    """
    left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
    middle, tip = (left + right) / 2, points[:, NOSE_TIP]
    ears = points[:, [LEFT_JAW_END, RIGHT_JAW_END]].mean(1)
    across = right - left
    apart = across.square().sum(1).sqrt()
    unit = across / apart[:, None]
    down = torch.stack([-unit[:, 1], unit[:, 0]], 1)
    corners = points[:, RIGHT_EYE_CORNER] - points[:, LEFT_EYE_CORNER]
    return {
        "yaw": ((tip - middle) * unit).sum(1) / apart,
        "pitch": ((middle - ears) * down).sum(1) / apart,
        "roll": torch.atan2(corners[:, 1], corners[:, 0]),
    }


def eye_masks(points: Tensor, height: int, width: int) -> Tensor:
    """Both eyes as soft masks that move with their landmarks: inside all six edges of the contour.

    Args:
        points: (N, 68, 2) in pixels.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        (N, 2, height, width) in 0..1; an edge is as soft as half a pixel of 128.

    Example:
        >>> eye_masks(torch.rand(1, 68, 2), 8, 8).shape
        torch.Size([1, 2, 8, 8])
    """
    ys = torch.arange(height, dtype=points.dtype, device=points.device)[:, None]
    xs = torch.arange(width, dtype=points.dtype, device=points.device)
    masks = []
    for eye in (LEFT_EYE, RIGHT_EYE):
        corners = points[:, eye, :, None, None]
        edges = F.normalize(corners.roll(-1, 1) - corners, dim=2)
        mask = torch.ones_like(points[:, :1, :1])
        for corner, edge in zip(corners.unbind(1), edges.unbind(1), strict=True):
            inward = edge[:, 0] * (ys - corner[:, 1]) - edge[:, 1] * (xs - corner[:, 0])
            mask = mask * torch.sigmoid(inward * 256 / height)
        masks.append(mask)
    return torch.stack(masks, 1)


SHARPNESS = 6.0
"""`gaze_of` weighs a pixel by exp(-SHARPNESS * brightness): white has a four-hundredth of black's weight."""


def gaze_of(image: Tensor, eyes: Tensor) -> dict[str, Tensor]:
    """Where the irises lie in their eyes: the centre of what is dark, in eye widths, mean of both eyes.

    Args:
        image: (N, 3, H, W) in 0..1.
        eyes: (N, 2, H, W) masks in 0..1.

    Returns:
        gaze_x (right is positive) and gaze_y (down is positive), each (N,).

    Example:
        >>> image, eyes = torch.ones(1, 3, 1, 5), torch.ones(1, 2, 1, 5)
        >>> image[..., 3] = 0  # a black pixel right of the middle
        >>> bool(gaze_of(image, eyes)["gaze_x"] > 0)
        True
    """
    h, w = image.shape[-2:]
    weight = torch.exp(-SHARPNESS * image.mean(1))[:, None] * eyes
    weight = weight / weight.sum((2, 3), keepdim=True).clamp_min(1e-12)
    even = eyes / eyes.sum((2, 3), keepdim=True).clamp_min(1e-12)
    xs, ys = (torch.arange(n, dtype=image.dtype, device=image.device) for n in (w, h))
    width = eyes.amax(2).sum(2).clamp_min(1)
    off_centre = weight - even
    return {
        "gaze_x": ((off_centre.sum(2) * xs).sum(2) / width).mean(1),
        "gaze_y": ((off_centre.sum(3) * ys).sum(2) / width).mean(1),
    }


NEAR = 0.06
"""Radius round a landmark within which `Landmarks.where` says that the term looks, a fraction of the resolution: about
half the width of an eye in the embedded portraits."""


class Landmarks(Term):
    """Positions of landmarks, as fractions of the resolution.

    Args:
        indices: points such as "48-67".
        landmarks: the network, image -> (N, 68, 2) pixels.
        complement: all points but these.

    Raises:
        IceError: for indices that there aren't.

    Example:
        >>> from ice_lightning.faces import embedded_faces
        >>> from ice_lightning.synthetic import neutral, render
        >>> people = render(neutral(1), 64)
        >>> term = Landmarks("30", embedded_faces().landmarks)  # the nose's tip, a little below the middle
        >>> term(people.image, Analysis(people.parse, people.landmarks)).round(decimals=1)
        tensor([[0.5000, 0.6000]])
    """

    needs = ("landmarks",)

    def __init__(self, indices: str, landmarks: nn.Module, complement: bool = False) -> None:
        super().__init__()
        self.ids = landmark_ids(indices, complement)
        self.features = 2 * len(self.ids)
        self.landmarks = landmarks
        self.label = f"{type(self).__name__} {'not ' if complement else ''}{indices}"

    def where(self, analysis: Analysis) -> Tensor:
        """(N, H, W), 0 or 1: what lies within NEAR of a point."""
        resolution = analysis.parse.shape[-1]
        axis = torch.arange(resolution, device=analysis.landmarks.device, dtype=analysis.landmarks.dtype)
        x, y = (analysis.landmarks[:, self.ids, i, None] - axis for i in (0, 1))
        distance = x.square()[:, :, None] + y.square()[..., None]
        return (distance.amin(1) <= (NEAR * resolution) ** 2).to(axis)

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 2 k)."""
        return landmark_positions(self.landmarks(image), self.ids, image.shape[-1])


class RelativeLandmarks(Landmarks):
    """Positions of landmarks relative to their mean: their shape, wherever they are.

    Example:
        >>> from ice_lightning.faces import embedded_faces
        >>> from ice_lightning.synthetic import neutral, render
        >>> people = render(neutral(1), 64)
        >>> term = RelativeLandmarks("48,54", embedded_faces().landmarks)  # both corners of the mouth
        >>> term(people.image, Analysis(people.parse, people.landmarks)).abs().round(decimals=1)
        tensor([[0.1000, 0.0000, 0.1000, 0.0000]])
    """

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 2 k)."""
        return relative_positions(self.landmarks(image), self.ids, image.shape[-1])


class LandmarkHeatmaps(Term):
    """Heatmaps of landmarks: their spread as well as their places.

    Args:
        indices: points such as "48-67".
        landmarks: the network; its `heatmaps(image)` gives (N, 68, h, w), sums of 1.
        complement: all points but these.
        size: pixels a side to which the maps are reduced.

    Raises:
        IceError: for a network that gives points without maps, as face-api's does.

    Example:
        >>> from ice_lightning.faces import embedded_faces
        >>> from ice_lightning.synthetic import neutral, render
        >>> people = render(neutral(1), 64)
        >>> term = LandmarkHeatmaps("30", embedded_faces().landmarks)
        >>> term(people.image, Analysis(people.parse, people.landmarks)).shape  # 16 by 16 values for one point
        torch.Size([1, 256])
    """

    needs = ("landmarks",)

    def __init__(self, indices: str, landmarks: nn.Module, complement: bool = False, size: int = 16) -> None:
        super().__init__()
        if not callable(getattr(landmarks, "heatmaps", None)):
            fix = "take the term Landmarks, or set faces.landmarks to a FAN file"
            raise problem("a landmark network with heatmaps, for LandmarkHeatmaps", type(landmarks).__name__, fix)
        self.ids, self.maps = landmark_ids(indices, complement), at_least("size", size, 4)
        self.features = len(self.ids) * size**2
        self.landmarks = landmarks
        self.label = f"LandmarkHeatmaps {'not ' if complement else ''}{indices}"

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, k size size); each map is a probability, scaled so that 1 is an even spread."""
        maps = self.landmarks.heatmaps(image)[:, self.ids]  # type: ignore[operator]
        k, h, w = maps.shape[1:]
        return resize(maps * h * w, self.maps).flatten(1) / (k**0.5 * self.maps)


class GazeAndPose(Term):
    """Head pose, and where the irises lie in the eyes, both from landmarks: eyes that move as a whole keep their gaze.

    Args:
        landmarks: the network, image -> (N, 68, 2) pixels.
        parts: out of yaw, pitch, roll, gaze_x, gaze_y.

    Raises:
        IceError: for no part, or one that there isn't.

    Example:
        >>> from ice_lightning.faces import embedded_faces
        >>> from ice_lightning.synthetic import neutral, render
        >>> people = render(neutral(1), 64)
        >>> term = GazeAndPose(embedded_faces().landmarks, ["yaw", "roll"])  # both near 0: the head is straight
        >>> term(people.image, Analysis(people.parse, people.landmarks)).abs().round(decimals=1)
        tensor([[0., 0.]])
    """

    needs = ("landmarks",)

    def __init__(self, landmarks: nn.Module, parts: Sequence[str] = POSE_AND_GAZE) -> None:
        super().__init__()
        at_least("parts", len(parts), 1)
        self.parts = [one_of("part of gaze and pose", part, POSE_AND_GAZE) for part in parts]
        self.features = len(self.parts)
        self.landmarks = landmarks
        self.label = f"GazeAndPose {'+'.join(parts)}"

    @property
    def looks_at_eyes(self) -> bool:
        """Whether a part is read from pixels of the eyes."""
        return any(part.startswith("gaze") for part in self.parts)

    def empty(self, analysis: Analysis) -> Tensor:
        """(N,) who has an eye of fewer than four pixels, where gaze is asked for."""
        seen = torch.stack([region_mask(analysis.parse, [name]).sum((1, 2)) for name in ("l_eye", "r_eye")])
        return super().empty(analysis) | (self.looks_at_eyes & (seen.amin(0) < 4))

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, len(parts))."""
        points = self.landmarks(image)
        readings = pose_of(points)
        if self.looks_at_eyes:
            readings |= gaze_of(image, eye_masks(points, *image.shape[-2:]))
        return torch.stack([readings[part] for part in self.parts], 1)
