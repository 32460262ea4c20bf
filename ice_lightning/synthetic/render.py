"""The renderer: from factors to geometry and colours, to layers from back to front, to image, parse map and landmarks.

Sizes, colours and strengths were chosen by eye, so that each factor can be seen and leaves other regions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.synthetic import geometry
from ice_lightning.synthetic.factors import FACTORS
from ice_lightning.synthetic.geometry import ZOOM, Eyes, Factors, Head, Mouth, Nose, Point
from ice_lightning.synthetic.shapes import Canvas, Lens, ramp, rgb, superellipse

CROWN = -0.02
"""Height at which hair begins to fall, in head coordinates."""


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


class Colours(NamedTuple):
    """Colours before light and shadow, (N, 3, 1, 1) each.

    Attributes:
        skin: of face, ears, neck and nose.
        hair: of hair and brows.
        lips: of both.
        iris: of both eyes.
        cloth: of the clothes.
        ground: of the background.
    """

    skin: Tensor
    hair: Tensor
    lips: Tensor
    iris: Tensor
    cloth: Tensor
    ground: Tensor


@dataclass(frozen=True)
class Scene:
    """What the layers are painted from.

    Attributes:
        f: the factors.
        head: where the head is.
        colours: of what is painted.
        lit: (N, 1, S, S), by how much light changes a colour.
        strands: (N, 1, S, S), by how much strands change that of hair.
    """

    f: Factors
    head: Head
    colours: Colours
    lit: Tensor
    strands: Tensor

    def all(self, value: float) -> Tensor:
        """(N, 1, 1), the same number for everybody."""
        return torch.full_like(self.head.width, value)

    def grey(self, value: float) -> Tensor:
        """(1, 3, 1, 1), a colour without hue."""
        return torch.zeros(1, 3, 1, 1, device=self.head.width.device) + value


def render(factors: Tensor, size: int = 128) -> Portraits:
    """Draw people.

    Args:
        factors: (N, len(FACTORS)), each in [-1, 1], in the order of FACTORS.
        size: side in pixels, at least 16.

    Returns:
        Image, parse map and landmarks, consistent with one another.

    Raises:
        IceError: for a wrong number of factors or a size below 16.

    Example:
        >>> from ice_lightning.synthetic import neutral
        >>> [tuple(each.shape) for each in render(neutral(2), 32)]
        [(2, 3, 32, 32), (2, 32, 32), (2, 68, 2)]
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise problem(f"factors of shape (N, {len(FACTORS)})", tuple(factors.shape), "order them as FACTORS")
    at_least("size", size, 16)
    f = dict(zip(FACTORS, factors.float()[:, :, None, None].unbind(1), strict=True))
    pixel = 2 * ZOOM / size
    head = geometry.head_of(f, size)
    eyes, mouth = geometry.eyes_of(f, head), geometry.mouth_of(f, head)
    colours = colours_of(f)
    lit = (1 + 0.20 * f["light_direction"] * (head.x / 0.5).clamp(-1, 1) - 0.05 * head.y)[:, None]
    canvas = Canvas((colours.ground - 0.07 * head.Y[:, None]).expand(len(factors), 3, size, size), pixel)
    strands = 1 + 0.06 * torch.sin(9 * head.x / (1 + 0.5 * head.y.abs()) + 1.0)[:, None]
    scene = Scene(f, head, colours, lit, strands)

    hair = paint_hair_behind(canvas, scene)
    paint_body(canvas, scene)
    paint_head(canvas, scene)
    nose = geometry.nose_of(f, head)
    paint_nose(canvas, scene, nose)
    paint_mouth(canvas, scene, mouth)
    paint_eyes(canvas, scene, eyes)
    brows = paint_brows(canvas, scene, eyes)
    paint_fringe(canvas, scene, hair)
    paint_glasses(canvas, scene, eyes)

    landmarks = geometry.landmarks_of(head, brows, nose, eyes, mouth)
    return Portraits(canvas.image.clamp(0, 1), canvas.parse, (landmarks + ZOOM) / pixel - 0.5)


def colours_of(f: Factors) -> Colours:
    """The colours by their factors."""
    skin = ramp(f["skin_tone"], (0.38, 0.24, 0.17), (0.72, 0.50, 0.37), (0.97, 0.83, 0.73))
    skin = skin + f["skin_warmth"][:, None] * rgb(skin, 0.045, 0.0, -0.055)
    hair = ramp(f["hair_colour"], (0.10, 0.08, 0.09), (0.40, 0.25, 0.16), (0.90, 0.75, 0.48))
    hair = hair + f["hair_warmth"][:, None] * rgb(hair, 0.08, -0.01, -0.05)
    lips = ramp(f["lip_colour"], (0.62, 0.36, 0.36), (0.78, 0.30, 0.34), (0.80, 0.12, 0.26))
    iris = ramp(f["iris_colour"], (0.24, 0.14, 0.08), (0.30, 0.45, 0.25), (0.25, 0.50, 0.75))
    cloth = ramp(f["clothes_hue"], (0.18, 0.28, 0.52), (0.24, 0.46, 0.40), (0.62, 0.24, 0.28))
    cloth = cloth + 0.16 * f["clothes_light"][:, None]
    ground = ramp(f["background_hue"], (0.50, 0.70, 0.72), (0.68, 0.64, 0.78), (0.84, 0.68, 0.56))
    ground = ground + 0.13 * f["background_light"][:, None]
    return Colours(skin, hair, lips, iris, cloth, ground)


def paint_hair_behind(canvas: Canvas, scene: Scene) -> Tensor:
    """The hair behind the head.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.

    Returns:
        (N, S, S), negative inside.
    """
    f, head = scene.f, scene.head
    length = 0.42 + 0.46 * (0.5 + 0.5 * f["hair_length"])
    half = head.width + 0.115
    top = superellipse(head.x, head.y - CROWN, half, scene.all(0.74), 2.2)
    fall = superellipse(head.x, head.y - CROWN, half, length, 3.0)
    outline = torch.where(head.y < CROWN, top, fall)
    canvas.paint(canvas.cover(outline), scene.colours.hair * 0.86 * scene.lit * scene.strands, "hair")
    return outline


def paint_body(canvas: Canvas, scene: Scene) -> None:
    """Clothes, neck and ears.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
    """
    head, colours = scene.head, scene.colours
    X, Y = head.X, head.Y
    torso = superellipse(X, Y - 1.27, scene.all(0.84), scene.all(0.54), 2.6)
    canvas.paint(canvas.cover(torso), colours.cloth * (1 + 0.12 * (Y[:, None] - 0.9)), "cloth")
    neck = torch.maximum(
        (X - 0.02 * torch.sin(head.turn)).abs() - 0.17 - 0.35 * (Y - 0.78).clamp_min(0), Y - 0.90 + 0.8 * X * X
    )
    neck = torch.maximum(neck, 0.1 - Y)
    canvas.paint(canvas.cover(neck), colours.skin * 0.80 * scene.lit, "neck")
    for sign, name in ((-1, "l_ear"), (1, "r_ear")):
        ear = superellipse(
            head.x - sign * (head.width + 0.02) + 0.07 * torch.sin(head.turn),
            head.y - 0.03 - 0.5 * head.nod,
            scene.all(0.066),
            scene.all(0.14),
        )
        canvas.paint(canvas.cover(ear), colours.skin * 0.90 * scene.lit, name)


def paint_head(canvas: Canvas, scene: Scene) -> None:
    """Skin, with freckles and blush where it shows.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
    """
    f, head, skin = scene.f, scene.head, scene.colours.skin
    x, y = head.x, head.y
    upper = superellipse(x, y, head.width, scene.all(0.64))
    outline = torch.where(y < 0, upper, superellipse(x, y, head.width, head.low, head.jaw))
    on_head = canvas.cover(outline)
    rounding = 1 - 0.16 * ((outline + 0.16) / 0.16).clamp(0, 1).square()[:, None]
    canvas.paint(on_head, skin * scene.lit * rounding, "skin")

    freckles = torch.sin(41 * x + 2.2 * torch.sin(9 * y)) * torch.sin(37 * y + 1.7 * torch.sin(11 * x))
    band = torch.exp(-((y - 0.16) / 0.16).square())
    amount = on_head * (0.5 + 0.5 * f["texture"]) * freckles.clamp_min(0) * band * 0.30
    canvas.paint(amount * canvas.shows("skin"), skin * rgb(skin, 0.72, 0.58, 0.50))
    for sign in (-1, 1):
        cx, cy, _ = head.place(sign * 0.26, 0.17)
        spot = torch.exp(-((x - cx) / 0.12).square() - ((y - cy) / 0.09).square())
        amount = on_head * spot * 0.26 * (0.5 + 0.5 * f["blush"]) * canvas.shows("skin")
        canvas.paint(amount, rgb(skin, 0.90, 0.38, 0.36))


def paint_nose(canvas: Canvas, scene: Scene, nose: Nose) -> None:
    """The nose, lit from one side, and its nostrils.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        nose: where it is.
    """
    x, y, skin = scene.head.x, scene.head.y, scene.colours.skin
    (bx, by), (nx, ny), half = nose.bridge, nose.tip, nose.half
    down = ((y - by) / (ny - by)).clamp(0, 1.2)
    spine = bx + (nx - bx) * down
    wing = 0.028 + (half - 0.028) * down.square()
    base = ny + 0.035 * (1 - ((x - nx) / half).square())
    outline = torch.maximum(torch.maximum((x - spine).abs() - wing, y - base), by - y)
    towards = torch.where(scene.f["light_direction"] < 0, -1, 1)[:, None]
    side_light = 1 + 0.05 * ((x - spine) / 0.09).clamp(-1, 1)[:, None] * towards
    canvas.paint(canvas.cover(outline), skin * scene.lit * 0.955 * side_light, "nose")
    for sign in (-1, 1):
        hole = superellipse(x - nx - sign * 0.45 * half, y - ny - 0.012, 0.24 * half, scene.all(0.015))
        canvas.paint(canvas.cover(hole) * 0.6 * canvas.cover(outline), skin * 0.45)


def paint_mouth(canvas: Canvas, scene: Scene, mouth: Mouth) -> None:
    """The inside of the mouth, teeth and lips.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        mouth: where it is.
    """
    x, y, gap = scene.head.x, scene.head.y, mouth.gap
    # The whole mouth first, so that no skin shows through the seams between lips and interior.
    whole = gap._replace(up=gap.up + mouth.lip, down=gap.up + 1.25 * mouth.lip)
    canvas.paint(canvas.cover(whole.distance(x, y)), rgb(x, 0.34, 0.08, 0.10), "mouth")
    inside = canvas.cover(gap.distance(x, y))
    upper_edge = gap.curve((x - gap.cx) / gap.half, -gap.up)
    teeth = inside * canvas.cover(y - (upper_edge + 0.045)) * (gap.up / 0.03).clamp(0, 1)
    canvas.paint(teeth, scene.grey(0.95))
    lips = scene.colours.lips
    canvas.paint(canvas.cover(mouth.upper.distance(x, y)), lips * 0.88 * scene.lit, "u_lip")
    canvas.paint(canvas.cover(mouth.lower.distance(x, y)), lips * scene.lit, "l_lip")


def paint_eyes(canvas: Canvas, scene: Scene, eyes: Eyes) -> None:
    """Both eyes.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        eyes: where they are.
    """
    for eye, name in ((eyes.left, "l_eye"), (eyes.right, "r_eye")):
        paint_eye(canvas, scene, eye, name)


def paint_eye(canvas: Canvas, scene: Scene, eye: Lens, name: str) -> None:
    """One eye: lid, white, iris, pupil and glint.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        eye: where it is.
        name: of its region.
    """
    f, x, y = scene.f, scene.head.x, scene.head.y
    inside = canvas.cover(eye.distance(x, y))
    canvas.paint(canvas.cover(eye.distance(x, y) - 0.016) * canvas.shows("skin"), scene.colours.skin * 0.62)
    canvas.paint(inside, scene.grey(0.96), name)
    gx = eye.cx + 0.32 * eye.half * f["gaze_x"] + 0.1 * eye.half * torch.sin(scene.head.turn)
    gy = eye.cy + 0.020 * f["gaze_y"]
    r = 0.056 * (1 + 0.16 * f["eye_size"])
    d = ((x - gx).square() + (y - gy).square()).sqrt()
    canvas.paint(inside * canvas.cover(d - r), scene.colours.iris)
    canvas.paint(inside * canvas.cover(d - 0.48 * r), scene.grey(0.04))
    glint = ((x - gx + 0.35 * r).square() + (y - gy + 0.35 * r).square()).sqrt()
    canvas.paint(inside * canvas.cover(glint - 0.24 * r), scene.grey(1.0))


def paint_brows(canvas: Canvas, scene: Scene, eyes: Eyes) -> list[Point]:
    """Both brows.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        eyes: how far apart the brows are.

    Returns:
        Five points each, the left brow's first.
    """
    points: list[Point] = []
    for sign, name in ((-1, "l_brow"), (1, "r_brow")):
        brow = geometry.brow_of(scene.f, scene.head, eyes.apart, sign)
        canvas.paint(canvas.cover(brow.distance(scene.head.x, scene.head.y)), scene.colours.hair * 0.62, name)
        points += brow.points()
    return points


def paint_fringe(canvas: Canvas, scene: Scene, outline: Tensor) -> None:
    """The hair before the forehead: what lies within the hair's outline and above the hairline.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        outline: (N, S, S), signed distances to the hair's outline, negative inside.
    """
    f, head = scene.f, scene.head
    across = (head.x / head.width).square()
    hairline = -0.40 + 0.14 * f["fringe"] + 0.5 * head.nod + 0.9 * across * (0.42 - 0.10 * f["fringe"])
    cap = torch.maximum(outline, head.y - hairline)
    canvas.paint(canvas.cover(cap), scene.colours.hair * scene.lit * scene.strands, "hair")


def paint_glasses(canvas: Canvas, scene: Scene, eyes: Eyes) -> None:
    """Glasses, worn by a third.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        eyes: where they are.
    """
    x, y, left, right = scene.head.x, scene.head.y, eyes.left, eyes.right
    # Opacity is a steep but smooth function of the factor, so that a generator can follow it.
    worn = torch.sigmoid(60 * (scene.f["glasses"] - 0.33))
    rings = [
        superellipse(x - e.cx, y - e.cy - 0.015, 0.165 * e.half / eyes.half, scene.all(0.125), 2.8)
        for e in (left, right)
    ]
    frame = torch.minimum(rings[0].abs(), rings[1].abs()) - 0.027
    middle = (left.cx + right.cx) / 2
    bridge = torch.maximum((y - left.cy + 0.02).abs() - 0.020, (x - middle).abs() - 0.5 * (right.cx - left.cx) + 0.16)
    glass = canvas.cover(torch.minimum(rings[0], rings[1]))
    canvas.paint(glass * worn * 0.10, scene.grey(0.92))
    rim = scene.grey(0) + rgb(x, 0.16, 0.12, 0.13)
    canvas.paint(canvas.cover(torch.minimum(frame, bridge)) * worn, rim, "eye_g")
