"""What some people wear: glasses, earrings, a hat."""

from __future__ import annotations

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import Canvas, ramp, rgb, superellipse
from ice_lightning.portraits.factors import WORN
from ice_lightning.portraits.hair import Hair
from ice_lightning.portraits.head import unit
from ice_lightning.portraits.parts import Eyes
from ice_lightning.portraits.scene import Face, Scene


def worn(scene: Scene, name: str) -> Tensor:
    """Opacity of something: a steep but smooth function of the factor, so that a generator can follow it.

    Args:
        scene: of people.
        name: of the factor.

    Returns:
        (N, 1, 1) in 0..1.
    """
    return torch.sigmoid(60 * (scene.f[name] - WORN[name]))


def paint_glasses(canvas: Canvas, scene: Scene, eyes: Eyes) -> None:
    """Glasses, in a plane before the eyes.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        eyes: before which they are.
    """
    x, y = scene.rays.plane(scene.head.surface(eyes.apart, eyes.left.cy) + 0.055)
    y = y - eyes.left.cy - 0.012
    ring = superellipse(x.abs() - eyes.apart, y, 0.165, 0.122, 2.8)
    thick = 0.017 + 0.010 * scene.f["glasses_thickness"]
    bridge = torch.maximum((y + 0.035).abs() - 0.7 * thick, x.abs() - (eyes.apart - 0.155))
    temple = torch.maximum((y + 0.045).abs() - 0.8 * thick, eyes.apart + 0.155 - x.abs())
    temple = torch.maximum(temple, x.abs() - eyes.apart - 0.195)
    frame = torch.minimum(torch.minimum(ring.abs() - thick, bridge), temple)
    on = worn(scene, "glasses")
    lens = canvas.cover(ring) * on
    glare = torch.exp(-((x + 0.8 * y - 0.04 * torch.sign(x)) / 0.05).square())
    canvas.paint(lens * (0.05 + 0.14 * glare), scene.grey(0.95))
    edge = (0.55 - 0.45 * (ring / thick).clamp(-1, 1))[:, None]
    rim = rgb(x, 0.13, 0.10, 0.11) + 0.30 * edge * scene.light.fill
    canvas.paint(canvas.cover(frame) * on, rim, "eye_g")


def paint_earrings(canvas: Canvas, scene: Face) -> None:
    """A ball of gold under either ear.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
    """
    x, y = scene.rays.plane(-0.08)
    u, v = x.abs() - scene.head.shell.width - 0.012, y - 0.205 * scene.head.stretch
    radius = 0.036
    away = (u * u + v * v) / radius**2
    normal = unit((torch.sign(x) * u / radius, v / radius, (1 - away).clamp_min(0.02).sqrt()))
    gold = rgb(x, 0.88, 0.68, 0.25) * scene.light.diffuse(normal) + 0.7 * scene.light.highlight(normal, 20.0)
    hidden = canvas.cover(scene.surface.outline)
    alpha = canvas.cover(superellipse(u, v, radius, radius)) * (1 - hidden) * worn(scene, "earrings")
    canvas.paint(alpha, gold, "ear_r")


def paint_hat(canvas: Canvas, scene: Scene) -> None:
    """A knitted cap over the hair, with a folded brim.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
    """
    cap = Hair(scene, extra=0.022)
    x, y, _ = cap.p
    brim = -0.30 - 0.10 * (x / cap.width).square()
    inside = torch.maximum(cap.outline, y - brim)
    colour = ramp(scene.f["hat_hue"], (0.18, 0.30, 0.50), (0.50, 0.20, 0.30), (0.78, 0.62, 0.30))
    rib = 1 + 0.10 * torch.sin(58 * x / (1 + 0.2 * y.abs()))
    fold = torch.where(y > brim - 0.13, 1.0, 0.86) * (1 - 0.3 * torch.exp(-((y - brim + 0.13) / 0.012).square()))
    knitted = colour * scene.light.diffuse(cap.normal) * (rib * fold)[:, None]
    canvas.paint(canvas.cover(inside) * worn(scene, "hat"), knitted, "hat")
