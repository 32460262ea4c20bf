"""Background, clothes, neck and ears."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import Canvas, ramp, superellipse
from ice_lightning.portraits.head import Factors, unit
from ice_lightning.portraits.scene import Scene, share


def background(f: Factors, X: Tensor, Y: Tensor) -> Tensor:
    """(N, 3, S, S): a wall whose colour fades from one corner to the other, with lights out of focus before it."""
    hue, more = f["background_hue"], (f["background_hue"] + 0.7 * f["background_gradient"]).clamp(-1, 1)
    stops = (0.46, 0.62, 0.70), (0.60, 0.60, 0.76), (0.80, 0.66, 0.60), (0.66, 0.70, 0.52)
    one, other = ramp(hue, *stops), ramp(more, *stops)
    lean = (0.5 + 0.33 * (0.5 * X + Y))[:, None]
    wall = one + (other - one) * lean
    wall = (
        wall
        * (1 + 0.30 * f["background_light"][:, None])
        * (1 - 0.12 * f["background_gradient"][:, None] * (lean - 0.5))
    )
    for k in range(7):
        cx, cy = 0.80 * math.sin(2.4 * k + 0.6), 0.65 * math.cos(1.7 * k) - 0.25
        radius = 0.10 + 0.05 * math.sin(5.0 * k)
        d = ((X - cx).square() + (Y - cy).square()).sqrt() - radius
        spot = (0.5 - d / 0.03).clamp(0, 1)
        wall = wall + (0.30 * share(f["background_detail"]) * spot)[:, None] * (1.12 - wall) * (0.6 + 0.4 * (k % 2))
    return wall


def paint_body(canvas: Canvas, scene: Scene) -> None:
    """Neck, and clothes before it.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
    """
    head, f, light = scene.head, scene.f, scene.light
    one = torch.ones_like(head.stretch)
    X, Y = scene.rays.X * one, scene.rays.Y * one
    shift = 0.05 * head.turn.yaw[1] - 0.10 * head.turn.roll[1]
    chin = head.seen((torch.zeros_like(shift), head.shell.low, torch.zeros_like(shift)))[1]
    half = 0.168 + 0.34 * (Y - 0.74).clamp_min(0)
    around = ((X - shift) / half).clamp(-1, 1)
    tube = unit((around, torch.full_like(around, 0.12), (1.02 - around * around).sqrt()))
    shade = 1 - 0.48 * torch.exp(-((Y - chin + 0.02).clamp_min(0) / 0.13).square())[:, None]  # of the chin
    neck = torch.maximum((X - shift).abs() - half, 0.05 - Y)
    canvas.paint(canvas.cover(neck), scene.colours.skin * 0.97 * shade * light.diffuse(tube), "neck")
    shoulder = superellipse(X, Y - 1.25, 0.84, 0.56, 2.3)
    collar = 0.80 + 0.14 * share(f["neckline"])
    hole = superellipse(X, Y - 0.66, 0.235 + 0.03 * share(f["neckline"]), collar - 0.62, 2.0)
    torso = torch.maximum(shoulder, -hole)
    across = (X / 0.95).clamp(-1, 1)
    chest = unit((0.75 * across, -0.35 + 0.5 * (Y - 0.75).clamp(0, 1), (1 - 0.5 * across * across).sqrt()))
    cloth = scene.colours.cloth * light.diffuse(chest)
    cloth = cloth * (1 - 0.25 * torch.exp(-((hole - 0.022) / 0.007).square()))[:, None]  # the collar's seam
    folds = 1 + 0.035 * torch.sin(13 * X + 5 * Y)[:, None]
    canvas.paint(canvas.cover(torso), cloth * folds, "cloth")


def paint_ears(canvas: Canvas, scene: Scene) -> None:
    """Both ears, behind the head's outline.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
    """
    head, light = scene.head, scene.light
    x, y = scene.rays.plane(-0.10)
    for sign, name in ((-1, "l_ear"), (1, "r_ear")):
        u, v = x - sign * (head.shell.width + 0.022), y - 0.03 * head.stretch
        ear = superellipse(u - sign * 0.06 * (-v), v, 0.066, 0.135)
        inner = superellipse(u - sign * 0.06 * (-v) + sign * 0.008, v + 0.005, 0.038, 0.095)
        normal = unit((sign * 0.5 + 5 * u, 2.5 * v, torch.ones_like(u)))
        colour = scene.colours.skin * 0.96 * light.diffuse(normal)
        colour = colour * (1 - 0.28 * torch.exp(-(inner / 0.016).square()))[:, None]
        canvas.paint(canvas.cover(ear), colour, name)
