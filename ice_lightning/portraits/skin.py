"""Skin, with what is on it: blush, freckles, wrinkles, a beard, and shine."""

from __future__ import annotations

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import Canvas, rgb
from ice_lightning.portraits.scene import Face, share


def paint_skin(canvas: Canvas, face: Face) -> None:
    """The head's skin where it is seen.

    Args:
        canvas: that it is painted on.
        face: that it belongs to.
    """
    f, skin = face.f, face.colours.skin
    on_head = canvas.cover(face.surface.outline)
    tone = skin + on_blood(face) * (skin * rgb(skin, 1.06, 0.62, 0.58) - skin)
    tone = tone * (1 - freckles(canvas, face)[:, None] * (1 - rgb(skin, 0.66, 0.52, 0.45)))
    tone = tone * (1 - 0.40 * share(f["wrinkles"]).square()[:, None] * folds(face)[:, None])
    hair = face.colours.hair * 0.8
    tone = tone + beard(face)[:, None] * (hair - tone)
    canvas.paint(on_head, tone * face.shade, "skin")
    gloss = 0.04 + 0.20 * share(f["gloss"])
    canvas.shine(on_head * gloss, face.light.highlight(face.surface.normal, 18.0, face.lit))


def on_blood(face: Face) -> Tensor:
    """How much blood shows, (N, 1, S, S): on cheeks and the tip of the nose."""
    x, y = face.x.abs(), face.y
    cheek = torch.exp(-((x - 0.26) / 0.12).square() - ((y - 0.15) / 0.085).square())
    tip = 0.55 * torch.exp(-(x / 0.07).square() - ((y - 0.17) / 0.06).square())
    return (0.9 * share(face.f["blush"]) * (cheek + tip).clamp(max=1))[:, None]


def freckles(canvas: Canvas, face: Face) -> Tensor:
    """How dark freckles are, (N, S, S): spots of a jittered grid over nose and cheeks, the same for everybody."""
    x, y = face.x, face.y
    cell = 0.056
    u, v = x / cell, y / cell
    i, j = u.floor(), v.floor()
    first, second, third = (
        (torch.sin(i * a + j * b) * 437.5).frac() for a, b in ((12.99, 78.23), (39.35, 11.14), (5.2, 27.1))
    )
    away = (u - i - 0.5 - 0.28 * first).square() + (v - j - 0.5 - 0.28 * second).square()
    radius = 0.17 + 0.07 * third
    soft = canvas.pixel / cell
    spot = ((radius + 0.5 * soft - away.sqrt()) / soft).clamp(0, 1) * (radius / (radius + 0.5 * soft)).square()
    where = torch.exp(-((y - 0.13) / 0.15).square() - (x / 0.38).square().square())
    return share(face.f["freckles"]).square() * (where * 1.5).clamp(max=1) * spot


def folds(face: Face) -> Tensor:
    """Where skin is folded with age, (N, S, S): forehead, corners of the eyes, below them, from nose to mouth."""
    x, y, stretch = face.x.abs(), face.y, face.head.stretch
    total = torch.zeros_like(x)
    for height in (-0.33, -0.375, -0.42):
        line = y - height * stretch + 0.25 * x * x
        total = total + 0.7 * torch.exp(-(line / 0.009).square() - (x / 0.22).square().square())
    bag = y - (0.035 - 0.35 * (x - 0.2).square()) * stretch
    total = total + 0.7 * torch.exp(-(bag / 0.012).square() - ((x - 0.2) / 0.09).square().square())
    for slope in (-0.45, 0.0, 0.45):
        line = y + 0.06 * stretch - slope * (x - 0.33)
        total = total + 0.7 * torch.exp(-(line / 0.008).square() - ((x - 0.37) / 0.045).square().square())
    smile_fold = x - (0.115 + 0.45 * (y - 0.20 * stretch))
    along = (y - 0.29 * stretch) / 0.095
    return (total + 1.1 * torch.exp(-(smile_fold / 0.012).square() - along.square().square())).clamp(max=1)


def beard(face: Face) -> Tensor:
    """How densely a beard covers the skin, (N, S, S): stubble at first, then hair."""
    x, y, stretch = face.x.abs(), face.y, face.head.stretch
    edge = (0.24 - 0.62 * (x - 0.12).clamp_min(0) + 0.2 * (0.12 - x).clamp_min(0)) * stretch  # of the cheeks
    cheek = (y - edge) / 0.07
    inner = ((x / 0.21).square() + ((y - 0.345 * stretch) / 0.115).square()).sqrt() - 1
    moustache = ((y - 0.235 * stretch) / 0.03).clamp(0, 1) * ((0.33 * stretch - y) / 0.02).clamp(0, 1)
    chin = (inner / 0.12).clamp(0, 1)
    mask = cheek.clamp(0, 1) * torch.maximum(chin, moustache * (1 - ((x - 0.17) / 0.05).clamp(0, 1)))
    grain = 0.90 + 0.10 * torch.sin(70 * face.x + 3 * torch.sin(31 * y)) * torch.sin(61 * y + 3 * torch.sin(23 * x))
    return mask * 0.92 * share(face.f["beard"]).square() * grain
