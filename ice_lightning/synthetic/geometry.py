"""Where the parts of a portrait are: the turned head, eyes, mouth, nose, brows, and the 68 landmarks on them.

Unless a shape says otherwise, numbers are (N, 1, 1), one for each person, in units of which the picture is 2 * ZOOM
wide, with the origin in its middle, x to the right and y down. Proportions were drawn by eye.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.synthetic.shapes import Lens

ZOOM = 0.87
"""Half the side of the picture, in the units that the shapes are drawn in (the picture's centre is the origin)."""
PIVOT = 0.42
"""Height of the point about which the head rolls: near the chin, so that the neck stays attached."""
LIFT = 0.07
"""How far the head lies above the origin of its own coordinates."""
LOW = 0.62
"""Height of the head below its origin where face_length is 0."""

Factors = Mapping[str, Tensor]
"""(N, 1, 1) in [-1, 1] under each name of FACTORS."""
Point = tuple[Tensor, Tensor]
"""x and y in head coordinates, (N, 1, 1) each."""


@dataclass(frozen=True)
class Head:
    """A head's shape and how it is turned.

    Attributes:
        X: (1, S, S), the picture's coordinates.
        Y: (1, S, S).
        x: (N, S, S), the head's coordinates of the same pixels: those of the picture, rolled back.
        y: (N, S, S).
        roll: in radians.
        turn: to the side, in radians.
        nod: how far the front of the face is carried down.
        width: half of it.
        low: height below the eyes' line, from the origin to the chin.
        jaw: power of the superellipse below the eyes; more is squarer.
        stretch: by how much heights in the face are longer than usual.
    """

    X: Tensor
    Y: Tensor
    x: Tensor
    y: Tensor
    roll: Tensor
    turn: Tensor
    nod: Tensor
    width: Tensor
    low: Tensor
    jaw: Tensor
    stretch: Tensor

    def place(self, px: Tensor | float, py: float, depth: float = 0.42) -> tuple[Tensor, Tensor, Tensor]:
        """Where a point of the frontal face lands after the turn, and its horizontal foreshortening.

        Args:
            px: across the frontal face.
            py: down the frontal face of usual length.
            depth: of the face's middle before the axis about which it turns.
        """
        u = torch.as_tensor(px, device=self.turn.device) / 0.6
        z = depth * (1 - u * u).clamp_min(0.05).sqrt()
        narrow = (torch.cos(self.turn) - torch.sin(self.turn) * u * 0.9).clamp(0.6, 1.3)
        return px * torch.cos(self.turn) + z * torch.sin(self.turn), py * self.stretch + self.nod, narrow


def head_of(f: Factors, size: int) -> Head:
    """The heads of people by face_width, face_length, jaw, yaw, pitch and roll.

    Args:
        f: the factors.
        size: pixels a side of the picture.

    Returns:
        The heads.
    """
    pixel = 2 * ZOOM / size
    axis = (torch.arange(size, dtype=torch.float32, device=f["roll"].device) + 0.5) * pixel - ZOOM
    Y, X = torch.meshgrid(axis, axis, indexing="ij")
    X, Y = X[None], Y[None]
    roll = 0.07 * f["roll"]
    x = torch.cos(roll) * X + torch.sin(roll) * (Y - PIVOT)
    y = -torch.sin(roll) * X + torch.cos(roll) * (Y - PIVOT) + PIVOT + LIFT
    width = 0.47 * (1 + 0.11 * f["face_width"])
    low = LOW * (1 + 0.07 * f["face_length"])
    jaw = 2.15 + 0.4 * f["jaw"]
    return Head(X, Y, x, y, roll, 0.14 * f["yaw"], 0.035 * f["pitch"], width, low, jaw, stretch=low / LOW)


class Eyes(NamedTuple):
    """Both eyes.

    Attributes:
        left: of the picture.
        right: of the picture.
        half: half the width of an eye seen from the front.
        apart: how far each is from the middle of a frontal face.
    """

    left: Lens
    right: Lens
    half: Tensor
    apart: Tensor


def eyes_of(f: Factors, head: Head) -> Eyes:
    """The eyes by eye_size, eye_openness and eye_spacing.

    Args:
        f: the factors.
        head: whose they are.

    Returns:
        Both.
    """
    half = 0.115 * (1 + 0.16 * f["eye_size"])
    opening = (0.5 + 0.5 * f["eye_openness"]) * 0.060 + 0.018
    opening = opening * (1 + 0.16 * f["eye_size"])
    apart = 0.2 * (1 + 0.13 * f["eye_spacing"])
    both = []
    for sign in (-1, 1):
        ex, ey, narrow = head.place(sign * apart, -0.06)
        both.append(Lens(ex, ey, half * narrow, torch.zeros_like(ex), opening * 1.15, opening * 0.85))
    return Eyes(both[0], both[1], half, apart)


class Mouth(NamedTuple):
    """A mouth.

    Attributes:
        gap: what is open between the lips.
        upper: the upper lip.
        lower: the lower lip.
        lip: thickness of the upper lip.
    """

    gap: Lens
    upper: Lens
    lower: Lens
    lip: Tensor


def mouth_of(f: Factors, head: Head) -> Mouth:
    """The mouth by mouth_width, mouth_openness, smile and lip_fullness.

    Args:
        f: the factors.
        head: whose they are.

    Returns:
        The mouth.
    """
    mx, my, narrow = head.place(0.0, 0.36)
    half = 0.185 * (1 + 0.18 * f["mouth_width"] + 0.10 * f["smile"]) * narrow
    bend = 0.055 * f["smile"]
    my = my - 0.5 * bend
    gape = 0.004 + 0.048 * (0.5 + 0.5 * f["mouth_openness"])
    lip = 0.047 * (1 + 0.36 * f["lip_fullness"])
    gap = Lens(mx, my, half, bend, gape, gape)
    return Mouth(gap, gap._replace(up=gape + lip, down=-gape), gap._replace(up=-gape, down=gape + 1.25 * lip), lip)


class Nose(NamedTuple):
    """A nose, narrow at the bridge and round at the tip.

    Attributes:
        bridge: its upper end, a point of the head's coordinates.
        tip: its lower one.
        half: half the width at the tip.
    """

    bridge: Point
    tip: Point
    half: Tensor


def nose_of(f: Factors, head: Head) -> Nose:
    """The nose by nose_length and nose_width.

    Args:
        f: the factors.
        head: whose they are.

    Returns:
        The nose.
    """
    tip = 0.185 + 0.05 * f["nose_length"]
    nx, _, _ = head.place(0.0, 0.0, depth=0.52)
    bx, by, _ = head.place(0.0, -0.06, depth=0.44)
    return Nose((bx, by), (nx, tip * head.stretch + head.nod), 0.088 * (1 + 0.24 * f["nose_width"]))


class Brow(NamedTuple):
    """A brow: an arch that tapers to both ends.

    Attributes:
        cx: its middle.
        cy: its middle.
        half: half its length.
        thick: half its thickness in the middle.
        angle: the factor brow_angle; above 0 the outer end is the higher one.
        sign: -1 for the brow on the picture's left, 1 for the other.
    """

    cx: Tensor
    cy: Tensor
    half: Tensor
    thick: Tensor
    angle: Tensor
    sign: int

    def arch(self, u: Tensor) -> Tensor:
        """y of the middle line at u in [-1, 1], from its left end to its right one."""
        return self.cy + 0.035 * u * u - 0.040 * self.angle * u * self.sign

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """First-order signed distance, (N, S, S), negative inside."""
        u = (x - self.cx) / self.half
        taper = self.thick * (1 - 0.55 * u.square()).clamp_min(0.0)
        return torch.maximum((y - self.arch(u)).abs() - taper, (x - self.cx).abs() - self.half)

    def points(self) -> list[Point]:
        """Five on the upper edge, from left to right."""
        points = []
        for k in (-0.96, -0.5, 0.0, 0.5, 0.96):
            t = torch.full_like(self.cx, k)
            points.append((self.cx + k * self.half, self.arch(t) - self.thick * (1 - 0.55 * k * k)))
        return points


def brow_of(f: Factors, head: Head, apart: Tensor, sign: int) -> Brow:
    """One brow by brow_height, brow_angle and brow_thickness.

    Args:
        f: the factors.
        head: whose brow.
        apart: how far the eyes are from the middle, see Eyes.
        sign: -1 for the one on the picture's left, 1 for the other.

    Returns:
        The brow.
    """
    cx, cy, narrow = head.place(sign * (apart + 0.01), -0.235)
    cy = cy - 0.035 * f["brow_height"]
    return Brow(cx, cy, 0.145 * narrow, 0.035 * (1 + 0.38 * f["brow_thickness"]), f["brow_angle"], sign)


def landmarks_of(head: Head, brows: list[Point], nose: Nose, eyes: Eyes, mouth: Mouth) -> Tensor:
    """The 68 iBUG points in the picture's coordinates, (N, 68, 2), in the order of their numbers.

    Args:
        head: whose jaw has the first 17.
        brows: (10,) points, those of the left one first.
        nose: has nine: four down its ridge, five along its base.
        eyes: have six each.
        mouth: has twenty: outer edge of the lips, then the inner one.

    Returns:
        (N, 68, 2), x and y.
    """
    zero = torch.zeros_like(head.width)
    points: list[Point] = []
    for k in range(17):
        across, below = math.cos(math.pi * k / 16), math.sin(math.pi * k / 16)
        power = 2 / head.jaw
        x = -head.width * math.copysign(1, across) * abs(across) ** power
        points.append((x, head.low * max(below, 0.0) ** power))
    points += brows
    (bx, by), (nx, ny) = nose.bridge, nose.tip
    for k in range(4):
        points.append((bx + (nx - bx) * k / 3, by + (ny - by) * k / 3 + zero))
    for across in (-0.9, -0.45, 0.0, 0.45, 0.9):
        points.append((nx + across * nose.half, ny + 0.035 * (1 - across * across)))
    for eye in (eyes.left, eyes.right):
        points += eye.points([-1, -1 / 3, 1 / 3, 1], -eye.up) + eye.points([1 / 3, -1 / 3], eye.down)
    gap, upper, lower = mouth.gap, mouth.upper, mouth.lower
    points += upper.points([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1], -upper.up)
    points += lower.points([2 / 3, 1 / 3, 0, -1 / 3, -2 / 3], lower.down)
    points += gap.points([-0.96, -0.5, 0, 0.5, 0.96], -gap.up) + gap.points([0.5, 0, -0.5], gap.down)
    px = torch.stack([(p[0] + zero)[:, 0, 0] for p in points], 1)
    py = torch.stack([(p[1] + zero)[:, 0, 0] for p in points], 1) - PIVOT - LIFT
    c, s = torch.cos(head.roll)[:, 0], torch.sin(head.roll)[:, 0]
    return torch.stack([c * px - s * py, s * px + c * py + PIVOT], -1)
