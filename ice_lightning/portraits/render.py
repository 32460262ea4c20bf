"""The renderer: from factors to surface, light and colours, to layers from back to front."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.portraits import body, features, hair, parts, worn
from ice_lightning.portraits.canvas import Canvas
from ice_lightning.portraits.factors import FACTORS
from ice_lightning.portraits.head import ZOOM, face_of, head_of
from ice_lightning.portraits.light import light_of, shadow
from ice_lightning.portraits.scene import Face, Scene, colours_of
from ice_lightning.portraits.skin import paint_skin

AT_ONCE = 4
"""People whose images fit into a core's cache."""


class Portraits(NamedTuple):
    """A batch of rendered people.

    Attributes:
        image: (N, 3, S, S) float32 in 0..1.
        parse: (N, S, S) int64, CelebAMask-HQ ids.
        landmarks: (N, 68, 2) float32, iBUG order, (x, y) in pixels; integers are pixel centres.
        depth: (N, 68) float32, how much nearer to the viewer than the head's axis the landmarks are, in pixels.
    """

    image: Tensor
    parse: Tensor
    landmarks: Tensor
    depth: Tensor


WHOLE = (-0.70, -0.84, 0.70, 0.74)
"""Left, top, right and bottom of what a head may fill, in the picture's coordinates, wherever it looks."""
NOSE = (-0.34, -0.34, 0.34, 0.44)
MOUTH = (-0.46, -0.02, 0.46, 0.66)
EYES = (-0.56, -0.56, 0.56, 0.26)
"""Of eyes and brows."""


def window(box: tuple[float, float, float, float], size: int) -> tuple[slice, slice]:
    """The rows and columns of a picture of so many pixels a side that a box covers."""
    left, top, right, bottom = (round((edge + ZOOM) / (2 * ZOOM) * size) for edge in box)
    return slice(max(top, 0), min(bottom, size)), slice(max(left, 0), min(right, size))


def face_under(scene: Scene, box: tuple[slice, slice], hairline: Tensor) -> Face:
    """The face under some pixels, with its light and shadow.

    Args:
        scene: of the whole picture.
        box: rows and columns.
        hairline: (N, 2), see `parts.hairline_of`.

    Returns:
        What the face is painted from.
    """
    rays = scene.rays.window(*box)
    surface = face_of(scene.head, rays)
    lit = shadow(scene.head, surface, scene.light, hairline)
    shade = scene.light.diffuse(surface.normal, lit)
    return Face(scene.f, scene.head, scene.light, scene.colours, rays, surface, lit, shade)


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
        >>> from ice_lightning.portraits import neutral
        >>> [tuple(each.shape) for each in render(neutral(2), 32)]
        [(2, 3, 32, 32), (2, 32, 32), (2, 68, 2), (2, 68)]
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise problem(f"factors of shape (N, {len(FACTORS)})", tuple(factors.shape), "order them as FACTORS")
    at_least("size", size, 16)
    few = factors.float().split(AT_ONCE if factors.device.type == "cpu" else max(1, len(factors)))
    return Portraits(*(torch.cat(each) for each in zip(*(draw(part, size) for part in few), strict=True)))


def draw(factors: Tensor, size: int) -> Portraits:
    """`render` of all at once, without checks: what can be compiled.

    Args:
        factors: (N, len(FACTORS)).
        size: side in pixels.
    """
    f = dict(zip(FACTORS, factors[:, :, None, None].unbind(1), strict=True))
    head, light, hairline, colours = head_of(f), light_of(f), parts.hairline_of(f), colours_of(f)
    eyes, mouth, nose = parts.eyes_of(f, head), parts.mouth_of(f, head), parts.nose_of(f, head)
    brows = parts.brow_of(f, head, eyes.apart, -1), parts.brow_of(f, head, eyes.apart, 1)
    rays, pixel = head.rays(size), 2 * ZOOM / size
    scene = Scene(f, head, light, colours, rays)
    canvas = Canvas(body.background(f, rays.X, rays.Y), pixel)
    on_head = hair.Hair(scene)
    hair.paint_fall(canvas, scene, on_head)
    body.paint_body(canvas, scene)
    body.paint_ears(canvas, scene)
    whole = window(WHOLE, size)
    face = face_under(scene, whole, hairline)
    with canvas.window(*whole) as part:
        paint_skin(part, face)
    for box, paint in (
        (NOSE, partial(features.paint_nose, nose=nose)),
        (MOUTH, partial(features.paint_mouth, mouth=mouth)),
        (EYES, partial(features.paint_eyes, eyes=eyes)),
        (EYES, partial(features.paint_brows, brows=brows)),
    ):
        here = window(box, size)
        with canvas.window(*here) as part:
            paint(
                part,
                face.window(*(slice(i.start - w.start, i.stop - w.start) for i, w in zip(here, whole, strict=True))),
            )
    hair.paint_hair(canvas, scene, on_head, hairline)
    worn.paint_hat(canvas, scene)
    with canvas.window(*whole) as part:
        worn.paint_glasses(part, face, eyes)
        worn.paint_earrings(part, face)
    landmarks = parts.landmarks_of(head, brows[0].points() + brows[1].points(), nose, eyes, mouth)
    return Portraits(
        canvas.image.clamp(0, 1), canvas.parse, (landmarks[..., :2] + ZOOM) / pixel - 0.5, landmarks[..., 2] / pixel
    )
