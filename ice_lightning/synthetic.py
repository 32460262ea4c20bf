"""Procedural portraits: named factors give an image, its 19-class parse map and 68 landmarks, all exact.

The portraits are the ground truth of the tests and of the embedded zoo. Every shape is a signed distance in head
coordinates, so the three outputs agree at any resolution, and a pixel's coverage is its anti-aliasing.
Region ids are those of CelebAMask-HQ, landmarks those of iBUG-68; `l_` means the left of the image in both.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import IceError, at_least, one_of, problem
from ice_lightning.labels import REGIONS
from ice_lightning.progress import LOG, shown_log

FACE = frozenset("skin l_brow r_brow l_eye r_eye eye_g nose mouth u_lip l_lip".split())
HEAD = FACE | {"l_ear", "r_ear", "hair"}
SKIN = frozenset({"skin", "nose", "l_ear", "r_ear", "neck"})
EYES = frozenset({"l_eye", "r_eye"})
BROWS = frozenset({"l_brow", "r_brow"})
LIPS = frozenset({"u_lip", "l_lip"})

# Each factor lies in [-1, 1]; beside it, the regions whose pixels it may change (before or after the move).
FACTORS: dict[str, frozenset[str]] = {
    "skin_tone": SKIN,
    "skin_warmth": SKIN,
    "hair_colour": BROWS | {"hair"},
    "hair_warmth": BROWS | {"hair"},
    "hair_length": frozenset({"hair", "background", "cloth"}),
    "fringe": frozenset({"hair", "skin"}) | BROWS,
    "face_width": HEAD | {"background", "neck", "cloth"},
    "face_length": HEAD | {"background", "neck", "cloth"},
    "jaw": frozenset({"skin", "neck", "hair", "background", "cloth", "l_ear", "r_ear"}),
    "eye_size": EYES | {"skin"},
    "eye_spacing": EYES | BROWS | {"skin", "eye_g", "hair", "nose"},
    "eye_openness": EYES | {"skin"},
    "iris_colour": EYES,
    "gaze_x": EYES,
    "gaze_y": EYES,
    "brow_height": BROWS | {"skin", "eye_g"},
    "brow_angle": BROWS | {"skin", "eye_g"},
    "brow_thickness": BROWS | {"skin", "eye_g"},
    "nose_length": frozenset({"nose", "skin"}),
    "nose_width": frozenset({"nose", "skin", "eye_g"}),
    "mouth_width": LIPS | {"mouth", "skin"},
    "mouth_openness": LIPS | {"mouth", "skin"},
    "smile": LIPS | {"mouth", "skin"},
    "lip_colour": LIPS,
    "lip_fullness": LIPS | {"mouth", "skin"},
    "yaw": HEAD | {"neck", "background"},
    "pitch": HEAD | {"background"},
    "roll": HEAD | {"neck", "background", "cloth"},
    "glasses": FACE | {"hair"},
    "blush": frozenset({"skin", "nose"}),
    "texture": frozenset({"skin"}),
    "background_hue": frozenset({"background"}),
    "background_light": frozenset({"background"}),
    "clothes_hue": frozenset({"cloth"}),
    "clothes_light": frozenset({"cloth"}),
    "light_direction": HEAD | {"neck"},
}

ZOOM = 0.87
"""Half the side of the picture, in the units that the shapes are drawn in (the picture's centre is the origin)."""

Z_DIM = 48
"""Width of the latent z that `factors_from_z` reads; its first len(FACTORS) coordinates carry the factors."""


class Portraits(NamedTuple):
    """A batch of rendered people.

    Attributes:
        image: (N, 3, S, S) float32 in 0..1.
        parse: (N, S, S) int64, CelebAMask-HQ ids.
        landmarks: (N, 68, 2) float32, iBUG order, (x, y) in pixels; integers are pixel centres.
    """

    image: Tensor
    parse: Tensor
    landmarks: Tensor


def factors_from_z(z: Tensor) -> Tensor:
    """The factors of latent people: uniform on (-1, 1), independent up to the normalisation of z.

    z is normalised to unit second moment first, as a StyleGAN2 mapping network does, so that what the generator
    can't see (the length of z) doesn't change the person.

    Args:
        z: (N, Z_DIM), standard normal.

    Returns:
        (N, len(FACTORS)) in (-1, 1), in the order of FACTORS.
    """
    normal = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    return torch.erf(normal[:, : len(FACTORS)] / math.sqrt(2))


def factor_index(name: str) -> int:
    """Column of a factor; raises IceError with the nearest name when there is none."""
    return list(FACTORS).index(one_of("factor", name, FACTORS))


def neutral(n: int = 1) -> Tensor:
    """(n, len(FACTORS)) factors of an unremarkable person without glasses."""
    f = torch.zeros(n, len(FACTORS))
    f[:, factor_index("glasses")] = -1
    return f


def _ramp(t: Tensor, *stops: tuple[float, float, float]) -> Tensor:
    """(N, 3, 1, 1) colours at t in [-1, 1] on a piecewise linear ramp; t is (N, 1, 1)."""
    colours = torch.tensor(stops, dtype=t.dtype, device=t.device)
    position = (t[:, 0, 0] + 1) / 2 * (len(stops) - 1)
    low = position.floor().clamp(0, len(stops) - 2).long()
    part = (position - low)[:, None]
    return (colours[low] * (1 - part) + colours[low + 1] * part)[:, :, None, None]


def _superellipse(x: Tensor, y: Tensor, a: Tensor, b: Tensor, p: Tensor | float = 2.0) -> Tensor:
    """First-order signed distance to |x/a|^p + |y/b|^p = 1, negative inside."""
    u, v = (x / a).abs().clamp_min(1e-4), (y / b).abs().clamp_min(1e-4)
    r = (u**p + v**p) ** (1 / p)
    slope = ((u / r) ** (p - 1) / a).square() + ((v / r) ** (p - 1) / b).square()
    return (r - 1) * slope.rsqrt()


class _Lens(NamedTuple):
    """A region between two curves that meet in both corners: an eye, a lip, an open mouth.

    Curves are y = cy + bend * (1 - u^2) -/+ height * (1 - u^2), u = (x - cx) / half-width.
    """

    cx: Tensor
    cy: Tensor
    half: Tensor
    bend: Tensor
    up: Tensor
    down: Tensor

    def curve(self, u: Tensor, height: Tensor) -> Tensor:
        return self.cy + (self.bend + height) * (1 - u * u)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        u = (x - self.cx) / self.half
        top, bottom = self.curve(u, -self.up), self.curve(u, self.down)
        inclined = (1 + (2 * u * (self.bend.abs() + self.up.abs()) / self.half).square()).rsqrt()
        between = torch.maximum(top - y, y - bottom) * inclined
        return torch.maximum(between, (x - self.cx).abs() - self.half)

    def points(self, us: list[float], height: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(self.cx + u * self.half, self.curve(torch.as_tensor(u), height)) for u in us]


class _Canvas:
    """Paints layers back to front, keeping colour and label in step."""

    def __init__(self, colour: Tensor, pixel: float) -> None:
        self.image, self.pixel = colour, pixel
        self.parse = torch.zeros_like(colour[:, 0], dtype=torch.long)

    def cover(self, distance: Tensor) -> Tensor:
        return (0.5 - distance / self.pixel).clamp(0, 1)

    def paint(self, alpha: Tensor, colour: Tensor, region: str | None = None) -> None:
        self.image = self.image + alpha[:, None] * (colour - self.image)
        if region is not None:
            self.parse = torch.where(alpha > 0.5, REGIONS.index(region), self.parse)


def render(factors: Tensor, size: int = 128) -> Portraits:
    """Draw people.

    Args:
        factors: (N, len(FACTORS)), each in [-1, 1], in the order of FACTORS.
        size: side in pixels, at least 16.

    Returns:
        Image, parse map and landmarks, consistent with one another.

    Raises:
        IceError: for a wrong number of factors or a size below 16.
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise problem(f"factors of shape (N, {len(FACTORS)})", tuple(factors.shape), "order them as FACTORS")
    at_least("size", size, 16)
    f = dict(zip(FACTORS, factors.float()[:, :, None, None].unbind(1), strict=True))
    pixel = 2 * ZOOM / size
    axis = (torch.arange(size, dtype=torch.float32, device=factors.device) + 0.5) * pixel - ZOOM
    Y, X = torch.meshgrid(axis, axis, indexing="ij")
    X, Y = X[None], Y[None]

    # Head coordinates: the head turns about a point near the chin, so the neck stays attached.
    roll = 0.07 * f["roll"]
    pivot_y = 0.42
    x = torch.cos(roll) * X + torch.sin(roll) * (Y - pivot_y)
    y = -torch.sin(roll) * X + torch.cos(roll) * (Y - pivot_y) + pivot_y + 0.07

    # Shapes
    W = 0.47 * (1 + 0.11 * f["face_width"])
    H_low = 0.62 * (1 + 0.07 * f["face_length"])
    p_low = 2.15 + 0.4 * f["jaw"]
    turn, nod = 0.14 * f["yaw"], 0.035 * f["pitch"]
    stretch = H_low / 0.62

    def place(px: Tensor | float, py: float, depth: float = 0.42) -> tuple[Tensor, Tensor, Tensor]:
        """Where a point of the frontal face lands after the turn, and its horizontal foreshortening."""
        u = torch.as_tensor(px, device=factors.device) / 0.6
        z = depth * (1 - u * u).clamp_min(0.05).sqrt()
        narrow = (torch.cos(turn) - torch.sin(turn) * u * 0.9).clamp(0.6, 1.3)
        return px * torch.cos(turn) + z * torch.sin(turn), py * stretch + nod, narrow

    eye_half = 0.115 * (1 + 0.16 * f["eye_size"])
    opening = (0.5 + 0.5 * f["eye_openness"]) * 0.060 + 0.018
    opening = opening * (1 + 0.16 * f["eye_size"])
    apart = 0.2 * (1 + 0.13 * f["eye_spacing"])
    eyes: list[_Lens] = []
    for side in (-1, 1):
        ex, ey, narrow = place(side * apart, -0.06)
        eyes.append(_Lens(ex, ey, eye_half * narrow, torch.zeros_like(ex), opening * 1.15, opening * 0.85))

    mx, my, m_narrow = place(0.0, 0.36)
    m_half = 0.185 * (1 + 0.18 * f["mouth_width"] + 0.10 * f["smile"]) * m_narrow
    bend = 0.055 * f["smile"]
    my = my - 0.5 * bend
    gape = 0.004 + 0.048 * (0.5 + 0.5 * f["mouth_openness"])
    lip = 0.047 * (1 + 0.36 * f["lip_fullness"])
    mouth = _Lens(mx, my, m_half, bend, gape, gape)
    upper = _Lens(mx, my, m_half, bend, gape + lip, -gape)
    lower = _Lens(mx, my, m_half, bend, -gape, gape + 1.25 * lip)

    # Colours
    skin = _ramp(f["skin_tone"], (0.38, 0.24, 0.17), (0.72, 0.50, 0.37), (0.97, 0.83, 0.73))
    warm = torch.tensor([0.045, 0.0, -0.055], device=factors.device)[:, None, None]
    skin = skin + f["skin_warmth"][:, None] * warm
    hair = _ramp(f["hair_colour"], (0.10, 0.08, 0.09), (0.40, 0.25, 0.16), (0.90, 0.75, 0.48))
    hair = hair + f["hair_warmth"][:, None] * torch.tensor([0.08, -0.01, -0.05], device=factors.device)[:, None, None]
    lips = _ramp(f["lip_colour"], (0.62, 0.36, 0.36), (0.78, 0.30, 0.34), (0.80, 0.12, 0.26))
    iris = _ramp(f["iris_colour"], (0.24, 0.14, 0.08), (0.30, 0.45, 0.25), (0.25, 0.50, 0.75))
    cloth = _ramp(f["clothes_hue"], (0.18, 0.28, 0.52), (0.24, 0.46, 0.40), (0.62, 0.24, 0.28))
    cloth = cloth + 0.16 * f["clothes_light"][:, None]
    ground = _ramp(f["background_hue"], (0.50, 0.70, 0.72), (0.68, 0.64, 0.78), (0.84, 0.68, 0.56))
    ground = ground + 0.13 * f["background_light"][:, None]

    lit = (1 + 0.20 * f["light_direction"] * (x / 0.5).clamp(-1, 1) - 0.05 * y)[:, None]
    dark = torch.zeros(1, 3, 1, 1, device=factors.device)

    # Layers, back to front
    canvas = _Canvas((ground - 0.07 * Y[:, None]).expand(len(factors), 3, size, size), pixel)
    paint, cover = canvas.paint, canvas.cover

    crown = -0.02
    strands = 1 + 0.06 * torch.sin(9 * x / (1 + 0.5 * y.abs()) + 1.0)[:, None]
    length = 0.42 + 0.46 * (0.5 + 0.5 * f["hair_length"])
    hw = W + 0.115
    top = _superellipse(x, y - crown, hw, torch.full_like(W, 0.74), 2.2)
    fall = _superellipse(x, y - crown, hw, length, 3.0)
    paint(cover(torch.where(y < crown, top, fall)), hair * 0.86 * lit * strands, "hair")

    torso = _superellipse(X, Y - 1.27, torch.full_like(W, 0.84), torch.full_like(W, 0.54), 2.6)
    paint(cover(torso), cloth * (1 + 0.12 * (Y[:, None] - 0.9)), "cloth")
    neck = torch.maximum(
        (X - 0.02 * torch.sin(turn)).abs() - 0.17 - 0.35 * (Y - 0.78).clamp_min(0), Y - 0.90 + 0.8 * X * X
    )
    neck = torch.maximum(neck, 0.1 - Y)
    paint(cover(neck), skin * 0.80 * lit, "neck")

    for side, name in ((-1, "l_ear"), (1, "r_ear")):
        ear = _superellipse(
            x - side * (W + 0.02) + 0.07 * torch.sin(turn),
            y - 0.03 - 0.5 * nod,
            torch.full_like(W, 0.066),
            torch.full_like(W, 0.14),
        )
        paint(cover(ear), skin * 0.90 * lit, name)

    head = torch.where(y < 0, _superellipse(x, y, W, torch.full_like(W, 0.64)), _superellipse(x, y, W, H_low, p_low))
    on_head = cover(head)
    rounding = 1 - 0.16 * ((head + 0.16) / 0.16).clamp(0, 1).square()[:, None]
    paint(on_head, skin * lit * rounding, "skin")

    freckles = torch.sin(41 * x + 2.2 * torch.sin(9 * y)) * torch.sin(37 * y + 1.7 * torch.sin(11 * x))
    band = torch.exp(-((y - 0.16) / 0.16).square())
    amount = on_head * (0.5 + 0.5 * f["texture"]) * freckles.clamp_min(0) * band * 0.30
    amount = amount * (canvas.parse == REGIONS.index("skin"))
    paint(amount, skin * torch.tensor([0.72, 0.58, 0.50], device=factors.device)[:, None, None])
    for side in (-1, 1):
        bx, by, _ = place(side * 0.26, 0.17)
        spot = torch.exp(-((x - bx) / 0.12).square() - ((y - by) / 0.09).square())
        rosy = torch.tensor([0.90, 0.38, 0.36], device=factors.device)[:, None, None]
        paint(on_head * spot * 0.26 * (0.5 + 0.5 * f["blush"]) * (canvas.parse == 1), rosy)

    # Nose: narrow at the bridge, round at the tip.
    tip = 0.185 + 0.05 * f["nose_length"]
    nx, ny, _ = place(0.0, 0.0, depth=0.52)
    bx, by, _ = place(0.0, -0.06, depth=0.44)
    ny = tip * stretch + nod
    n_half = 0.088 * (1 + 0.24 * f["nose_width"])
    down = ((y - by) / (ny - by)).clamp(0, 1.2)
    spine = bx + (nx - bx) * down
    wing = 0.028 + (n_half - 0.028) * down.square()
    floor = ny + 0.035 * (1 - ((x - nx) / n_half).square())
    nose = torch.maximum(torch.maximum((x - spine).abs() - wing, y - floor), by - y)
    side_light = (
        1 + 0.05 * ((x - spine) / 0.09).clamp(-1, 1)[:, None] * torch.where(f["light_direction"] < 0, -1, 1)[:, None]
    )
    paint(cover(nose), skin * lit * 0.955 * side_light, "nose")
    for side in (-1, 1):
        hole = _superellipse(x - nx - side * 0.45 * n_half, y - ny - 0.012, 0.24 * n_half, torch.full_like(W, 0.015))
        paint(cover(hole) * 0.6 * cover(nose), skin * 0.45)

    # The whole mouth first, so that no skin shows through the seams between lips and interior.
    whole = _Lens(mx, my, m_half, bend, gape + lip, gape + 1.25 * lip)
    inner = torch.tensor([0.34, 0.08, 0.10], device=factors.device)[None, :, None, None]
    paint(cover(whole.distance(x, y)), inner, "mouth")
    in_mouth = cover(mouth.distance(x, y))
    teeth = in_mouth * cover(y - (mouth.curve((x - mx) / m_half, -gape) + 0.045)) * (gape / 0.03).clamp(0, 1)
    paint(teeth, dark + 0.95)
    paint(cover(upper.distance(x, y)), lips * 0.88 * lit, "u_lip")
    paint(cover(lower.distance(x, y)), lips * lit, "l_lip")

    for eye, name in zip(eyes, ("l_eye", "r_eye"), strict=True):
        inside = cover(eye.distance(x, y))
        paint(cover(eye.distance(x, y) - 0.016) * (canvas.parse == 1), skin * 0.62)
        paint(inside, dark + 0.96, name)
        gx = eye.cx + 0.32 * eye.half * f["gaze_x"] + 0.1 * eye.half * torch.sin(turn)
        gy = eye.cy + 0.020 * f["gaze_y"]
        r = 0.056 * (1 + 0.16 * f["eye_size"])
        d = ((x - gx).square() + (y - gy).square()).sqrt()
        paint(inside * cover(d - r), iris)
        paint(inside * cover(d - 0.48 * r), dark + 0.04)
        glint = ((x - gx + 0.35 * r).square() + (y - gy + 0.35 * r).square()).sqrt()
        paint(inside * cover(glint - 0.24 * r), dark + 1.0)

    brow_points: list[tuple[Tensor, Tensor]] = []
    for side, name in ((-1, "l_brow"), (1, "r_brow")):
        cx, cy, narrow = place(side * (apart + 0.01), -0.235)
        cy = cy - 0.035 * f["brow_height"]
        half = 0.145 * narrow
        thick = 0.035 * (1 + 0.38 * f["brow_thickness"])

        def arch(u: Tensor, side: int = side, cy: Tensor = cy) -> Tensor:
            return cy + 0.035 * u * u - 0.040 * f["brow_angle"] * u * side

        u = (x - cx) / half
        taper = thick * (1 - 0.55 * u.square()).clamp_min(0.0)
        brow = torch.maximum((y - arch(u)).abs() - taper, (x - cx).abs() - half)
        paint(cover(brow), hair * 0.62, name)
        for k in (-0.96, -0.5, 0.0, 0.5, 0.96):
            t = torch.full_like(cx, k)
            brow_points.append((cx + k * half, arch(t) - thick * (1 - 0.55 * k * k)))

    hairline = -0.40 + 0.14 * f["fringe"] + 0.5 * nod + 0.9 * (x / W).square() * (0.42 - 0.10 * f["fringe"])
    cap = torch.maximum(torch.where(y < crown, top, fall), y - hairline)
    paint(cover(cap), hair * lit * strands, "hair")

    # Opacity is a steep but smooth function of the factor, so that a generator can follow it; a third wear glasses.
    worn = torch.sigmoid(60 * (f["glasses"] - 0.33))
    rings = [
        _superellipse(x - e.cx, y - e.cy - 0.015, 0.165 * e.half / eye_half, torch.full_like(W, 0.125), 2.8)
        for e in eyes
    ]
    frame = torch.minimum(rings[0].abs(), rings[1].abs()) - 0.027
    mid = (eyes[0].cx + eyes[1].cx) / 2
    bridge = torch.maximum(
        (y - eyes[0].cy + 0.02).abs() - 0.020, (x - mid).abs() - 0.5 * (eyes[1].cx - eyes[0].cx) + 0.16
    )
    glass = cover(torch.minimum(rings[0], rings[1]))
    paint(glass * worn * 0.10, dark + 0.92)
    paint(
        cover(torch.minimum(frame, bridge)) * worn,
        dark + torch.tensor([0.16, 0.12, 0.13], device=factors.device)[:, None, None],
        "eye_g",
    )

    # Landmarks, in head coordinates, then back through the roll
    zero = torch.zeros_like(W)
    points: list[tuple[Tensor, Tensor]] = []
    for k in range(17):
        across, below = math.cos(math.pi * k / 16), math.sin(math.pi * k / 16)
        power = 2 / p_low
        points.append((-W * math.copysign(1, across) * abs(across) ** power, H_low * max(below, 0.0) ** power))
    points += brow_points
    for k in range(4):
        points.append((bx + (nx - bx) * k / 3, by + (ny - by) * k / 3 + zero))
    for across in (-0.9, -0.45, 0.0, 0.45, 0.9):
        points.append((nx + across * n_half, ny + 0.035 * (1 - across * across)))
    for eye in eyes:
        points += eye.points([-1, -1 / 3, 1 / 3, 1], -eye.up) + eye.points([1 / 3, -1 / 3], eye.down)
    points += upper.points([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1], -upper.up)
    points += lower.points([2 / 3, 1 / 3, 0, -1 / 3, -2 / 3], lower.down)
    points += mouth.points([-0.96, -0.5, 0, 0.5, 0.96], -mouth.up) + mouth.points([0.5, 0, -0.5], mouth.down)
    px = torch.stack([(p[0] + zero)[:, 0, 0] for p in points], 1)
    py = torch.stack([(p[1] + zero)[:, 0, 0] for p in points], 1) - pivot_y - 0.07
    c, s = torch.cos(roll)[:, 0], torch.sin(roll)[:, 0]
    landmarks = torch.stack([c * px - s * py, s * px + c * py + pivot_y], -1)
    return Portraits(canvas.image.clamp(0, 1), canvas.parse, (landmarks + ZOOM) / pixel - 0.5)


PALETTE = torch.tensor(
    [
        [40, 40, 48], [240, 190, 160], [120, 70, 40], [150, 90, 50], [60, 130, 230], [90, 160, 250], [20, 20, 20],
        [230, 150, 120], [230, 150, 120], [255, 220, 0], [250, 160, 110], [120, 20, 40], [220, 70, 90], [200, 40, 70],
        [210, 160, 130], [255, 200, 0], [90, 110, 160], [100, 60, 140], [0, 150, 100],
    ]
)  # fmt: skip
"""(19, 3) display colours of the regions, 0..255."""


def _sheet(tiles: Tensor, columns: int) -> Tensor:
    """(N, 3, S, S) -> (3, rows * S, columns * S), row by row."""
    n, c, s, _ = tiles.shape
    rows = -(-n // columns)
    tiles = torch.cat([tiles, torch.ones(rows * columns - n, c, s, s)])
    return tiles.view(rows, columns, c, s, s).permute(2, 0, 3, 1, 4).reshape(c, rows * s, columns * s)


def _overlay(people: Portraits) -> Tensor:
    """The parse map in colours with the landmarks drawn on it, (N, 3, S, S)."""
    tiles = PALETTE[people.parse].permute(0, 3, 1, 2).float() / 255
    at = people.landmarks.round().long().clamp(0, tiles.shape[-1] - 1)
    for i in range(len(tiles)):
        tiles[i, :, at[i, :, 1], at[i, :, 0]] = 1.0
    return tiles


def main(argv: list[str] | None = None) -> None:
    """Draw a sheet of people, or one factor's range with its masks and landmarks."""
    from PIL import Image

    parser = argparse.ArgumentParser(prog="python -m ice_lightning.synthetic", description=main.__doc__)
    parser.add_argument("--grid", type=Path, default=Path("faces.png"), help="where to write the picture")
    parser.add_argument("--factor", help="draw this factor's range instead of a sheet of people")
    parser.add_argument("--size", type=int, default=128, help="pixels per face")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.factor:
        f = neutral(7)
        f[:, factor_index(args.factor)] = torch.linspace(-1, 1, 7)
        people = render(f, args.size)
        sheet = _sheet(torch.cat([people.image, _overlay(people)]), 7)
    else:
        z = torch.randn(48, Z_DIM, generator=torch.Generator().manual_seed(args.seed))
        sheet = _sheet(render(factors_from_z(z), args.size).image, 8)
    Image.fromarray((sheet.permute(1, 2, 0) * 255).round().byte().numpy()).save(args.grid)
    print(f"wrote {args.grid}")


if __name__ == "__main__":
    with shown_log():
        try:
            main()
        except (IceError, OSError) as error:
            LOG.error(error)
            sys.exit(2)
