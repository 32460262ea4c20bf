"""Where eyes, brows, nose, mouth and hairline are on the frontal face, and the 68 landmarks on them.

Numbers are (N, 1, 1), in the head's coordinates. Proportions were drawn by eye.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import Lens
from ice_lightning.portraits.head import LOW, WIDTH, Factors, Head

Point = tuple[Tensor, Tensor]
"""x and y on the frontal face."""


class Eyes(NamedTuple):
    """Both eyes.

    Attributes:
        left: of the picture.
        right: of the picture.
        half: half the width of an eye.
        apart: how far each is from the middle.
        iris: its radius.
    """

    left: Lens
    right: Lens
    half: Tensor
    apart: Tensor
    iris: Tensor


def eyes_of(f: Factors, head: Head) -> Eyes:
    """The eyes by eye_size, eye_openness, eye_spacing and eye_tilt."""
    half = 0.112 * (1 + 0.16 * f["eye_size"])
    opening = ((0.5 + 0.5 * f["eye_openness"]) * 0.056 + 0.020) * (1 + 0.16 * f["eye_size"])
    apart = 0.2 * (1 + 0.13 * f["eye_spacing"])
    flat = torch.zeros_like(half)
    left, right = (
        Lens(
            sign * apart,
            -0.06 * head.stretch,
            half,
            flat,
            1.15 * opening,
            0.80 * opening,
            -sign * 0.020 * f["eye_tilt"],
        )
        for sign in (-1, 1)
    )
    return Eyes(left, right, half, apart, 0.054 * (1 + 0.16 * f["eye_size"]))


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
    """The mouth by mouth_width, mouth_openness, smile and lip_fullness."""
    half = 0.178 * (1 + 0.18 * f["mouth_width"] + 0.10 * f["smile"])
    bend = 0.018 + 0.040 * f["smile"]
    my = 0.36 * head.stretch - 0.5 * bend
    gape = 0.003 + 0.050 * (0.5 + 0.5 * f["mouth_openness"]).square()
    lip = 0.044 * (1 + 0.36 * f["lip_fullness"])
    middle = torch.zeros_like(half)
    gap = Lens(middle, my, half, bend, gape, gape)
    return Mouth(gap, gap._replace(up=gape + lip, down=-gape), gap._replace(up=-gape, down=gape + 1.25 * lip), lip)


class Nose(NamedTuple):
    """A nose, narrow at the bridge and round at the tip.

    Attributes:
        bridge: height of its upper end.
        tip: of its lower one.
        half: half the width at the wings.
    """

    bridge: Tensor
    tip: Tensor
    half: Tensor

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """First-order signed distance, (N, S, S), negative inside."""
        down = ((y - self.bridge) / (self.tip - self.bridge)).clamp(0, 1.2)
        wing = 0.030 + (self.half - 0.030) * down.square()
        base = self.tip + 0.035 * (1 - (x / self.half).square())
        return torch.maximum(torch.maximum(x.abs() - wing, y - base), self.bridge - y)


def nose_of(f: Factors, head: Head) -> Nose:
    """The nose by nose_length and nose_width."""
    tip = (0.185 + 0.045 * f["nose_length"]) * head.stretch
    return Nose(-0.06 * head.stretch, tip, 0.092 * (1 + 0.24 * f["nose_width"]))


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
        return self.cy + 0.035 * u * u - 0.038 * self.angle * u * self.sign

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
    """
    cy = -0.232 * head.stretch - 0.033 * f["brow_height"]
    return Brow(
        sign * (apart + 0.01),
        cy,
        torch.full_like(cy, 0.142),
        0.031 * (1 + 0.40 * f["brow_thickness"]),
        f["brow_angle"],
        sign,
    )


def hairline_of(f: Factors) -> Tensor:
    """(N, 2): height of the hairline in the middle, and by how much it falls towards the sides."""
    middle = -0.41 + 0.12 * f["fringe"]
    return torch.cat([middle, 0.36 - 0.07 * f["fringe"]], 1)[..., 0]


def landmarks_of(head: Head, brows: list[Point], nose: Nose, eyes: Eyes, mouth: Mouth) -> Tensor:
    """The 68 iBUG points in the picture's coordinates, (N, 68, 3), in the order of their numbers.

    Those of the jaw are on the outline as it is seen, all others on the surface.

    Args:
        head: whose jaw has the first 17.
        brows: (10,) points, those of the left one first.
        nose: has nine: four down its ridge, five along its base.
        eyes: have six each.
        mouth: has twenty: outer edge of the lips, then the inner one.

    Returns:
        (N, 68, 3): x, y, and how near to the viewer.
    """
    zero = torch.zeros_like(head.stretch)
    points: list[Point] = [*brows]
    points += [(zero, nose.bridge + (nose.tip - nose.bridge) * k / 3) for k in range(4)]
    points += [(u * nose.half, nose.tip + 0.035 * (1 - u * u)) for u in (-0.9, -0.45, 0.0, 0.45, 0.9)]
    for eye in (eyes.left, eyes.right):
        points += eye.points([-1, -1 / 3, 1 / 3, 1], -eye.up) + eye.points([1 / 3, -1 / 3], eye.down)
    gap, upper, lower = mouth.gap, mouth.upper, mouth.lower
    points += upper.points([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1], -upper.up)
    points += lower.points([2 / 3, 1 / 3, 0, -1 / 3, -2 / 3], lower.down)
    points += gap.points([-0.96, -0.5, 0, 0.5, 0.96], -gap.up) + gap.points([0.5, 0, -0.5], gap.down)
    x, y = (torch.cat([p[i] + zero for p in points], 2) for i in (0, 1))
    face = torch.cat(head.seen((x, y, head.surface(x, y))), 1)
    across, down = [], []
    for k in range(17):
        c, s = math.cos(math.pi * k / 16), math.sin(math.pi * k / 16)
        across.append(-math.copysign(1, c) * abs(c) ** 1.1 / WIDTH)
        down.append(max(s, 1e-3) ** 1.1 / LOW)
    m = zero + zero.new_tensor(across), zero + zero.new_tensor(down), torch.zeros_like(zero).expand(-1, 1, 17)
    jaw = torch.cat(head.seen(head.shell.silhouette(head.turn.back(m))), 1)
    return torch.cat([jaw, face], 2).transpose(1, 2)
