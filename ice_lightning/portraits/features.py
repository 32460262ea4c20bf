"""Nose, mouth, eyes and brows on the face."""

from __future__ import annotations

import torch

from ice_lightning.portraits.canvas import Canvas, Lens, rgb, superellipse
from ice_lightning.portraits.parts import Brow, Eyes, Mouth, Nose
from ice_lightning.portraits.scene import Face


def paint_nose(canvas: Canvas, face: Face, nose: Nose) -> None:
    """The nose's label, what blood shows of it, its wings' creases and nostrils: its shape is the face's relief.

    Args:
        canvas: that it is painted on.
        face: that it belongs to.
        nose: where it is.
    """
    x, y = face.x, face.y
    inside = canvas.cover(nose.distance(x, y)) * canvas.cover(face.surface.outline)
    canvas.paint(inside, canvas.image, "nose")
    skin = face.colours.skin * face.shade
    crease = superellipse(x.abs() - 0.80 * nose.half, y - nose.tip + 0.002, 0.27 * nose.half, 0.036)
    ring = torch.exp(-(crease / 0.011).square()) * ((x.abs() - 0.72 * nose.half) / 0.02).clamp(0, 1)
    canvas.paint(0.45 * ring, skin * rgb(x, 0.62, 0.48, 0.44))
    hole = superellipse(x.abs() - 0.42 * nose.half, y - nose.tip - 0.018, 0.22 * nose.half, 0.0145)
    canvas.paint(0.85 * canvas.cover(hole, 0.006), skin * rgb(x, 0.32, 0.22, 0.20))


def paint_mouth(canvas: Canvas, face: Face, mouth: Mouth) -> None:
    """The inside of the mouth, teeth and lips.

    Args:
        canvas: that it is painted on.
        face: that it belongs to.
        mouth: where it is.
    """
    x, y, gap = face.x, face.y, mouth.gap
    # The whole mouth first, so that no skin shows through the seams between lips and interior.
    whole = gap._replace(up=gap.up + mouth.lip, down=gap.up + 1.25 * mouth.lip)
    canvas.paint(canvas.cover(whole.distance(x, y)), rgb(x, 0.30, 0.07, 0.08), "mouth")
    inside = canvas.cover(gap.distance(x, y))
    upper_edge = gap.curve((x - gap.cx) / gap.half, -gap.up)
    teeth = inside * canvas.cover(y - (upper_edge + 0.042)) * ((gap.up - 0.008) / 0.02).clamp(0, 1)
    dim = 0.55 + 0.45 * (1 - ((x - gap.cx) / gap.half).square()).clamp(0, 1)
    canvas.paint(teeth, face.grey(0.93) * dim[:, None])
    lips = face.colours.lips * face.shade
    upper, lower = (canvas.cover(each.distance(x, y)) for each in (mouth.upper, mouth.lower))
    canvas.paint(upper, lips * 0.82, "u_lip")
    canvas.paint(lower, lips, "l_lip")
    shine = face.light.highlight(face.surface.normal, 26.0, face.lit)
    canvas.shine(0.30 * lower + 0.12 * upper, shine)


def paint_eyes(canvas: Canvas, face: Face, eyes: Eyes) -> None:
    """Both eyes.

    Args:
        canvas: that it is painted on.
        face: that it belongs to.
        eyes: where they are.
    """
    for eye, name in ((eyes.left, "l_eye"), (eyes.right, "r_eye")):
        paint_eye(canvas, face, eyes, eye, name)


def paint_eye(canvas: Canvas, face: Face, eyes: Eyes, eye: Lens, name: str) -> None:
    """One eye: crease and lashes of the lid, white, iris, pupil and highlight.

    Args:
        canvas: that it is painted on.
        face: that it belongs to.
        eyes: both of them.
        eye: where this one is.
        name: of its region.
    """
    f, x, y = face.f, face.x, face.y
    skin, d = face.colours.skin * face.shade, eye.distance(x, y)
    u = (x - eye.cx) / eye.half
    around = canvas.shows("skin", "nose").float()
    crease = y - (eye.curve(u.clamp(-1, 1), -eye.up) - 0.030 * (1 - 0.6 * u * u))
    line = torch.exp(-(crease / 0.009).square()) * (1 - u.square().square()).clamp(0, 1)
    canvas.paint(0.42 * line * around, skin * rgb(x, 0.58, 0.46, 0.42))
    inside = canvas.cover(d)
    upper = eye._replace(up=eye.up + 0.018, down=-eye.up * 0.55)
    canvas.paint(0.88 * canvas.cover(upper.distance(x, y), 0.004) * around, face.grey(0.07))
    canvas.paint(0.55 * canvas.cover(d - 0.007, 0.006) * around, skin * rgb(x, 0.70, 0.50, 0.47))
    depth = ((y - eye.curve(u.clamp(-1, 1), -eye.up)) / 0.045).clamp(0, 1)  # the lid's shadow
    white = rgb(x, 0.95, 0.94, 0.93) * (0.55 + 0.45 * depth[:, None])
    white = white * (0.45 + 0.55 * face.shade).clamp(max=1.05)
    canvas.paint(inside, white, name)
    gx, gy = eye.cx + 0.30 * eye.half * f["gaze_x"], eye.cy + 0.020 * f["gaze_y"] - 0.004
    r = ((x - gx).square() + (y - gy).square()).sqrt()
    iris = face.colours.iris * (0.75 + 0.75 * ((y - gy) / eyes.iris).clamp(-1, 1)[:, None].clamp_min(-0.6) * 0.6 + 0.25)
    dark = (1 - 0.5 * ((r / eyes.iris - 0.72) / 0.28).clamp(0, 1))[:, None]
    canvas.paint(inside * canvas.cover(r - eyes.iris), iris * dark * (0.6 + 0.4 * depth[:, None]))
    canvas.paint(inside * canvas.cover(r - 0.46 * eyes.iris), face.grey(0.03))
    lx, ly, _ = face.head.turn.back(face.light.direction)
    glint = ((x - gx - 0.5 * eyes.iris * lx).square() + (y - gy - 0.55 * eyes.iris * ly).square()).sqrt()
    canvas.paint(0.95 * inside * canvas.cover(glint - 0.25 * eyes.iris), face.grey(1.0))


def paint_brows(canvas: Canvas, face: Face, brows: tuple[Brow, Brow]) -> None:
    """Both brows, of hairs that lean outwards.

    Args:
        canvas: that it is painted on.
        face: that it belongs to.
        brows: where they are.
    """
    x, y = face.x, face.y
    for brow, name in zip(brows, ("l_brow", "r_brow"), strict=True):
        out = brow.sign * (x - brow.cx)
        hairs = 0.86 + 0.14 * torch.sin(130 * (out + 0.9 * (y - brow.cy)))
        colour = face.colours.hair * 0.62 * (0.5 + 0.5 * face.shade)
        canvas.paint(canvas.cover(brow.distance(x, y), 0.006) * hairs, colour, name)
