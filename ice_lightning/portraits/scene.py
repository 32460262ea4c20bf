"""What every layer is painted from: factors, head, light and colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import ramp, rgb
from ice_lightning.portraits.head import Factors, Head, Rays, Surface
from ice_lightning.portraits.light import Light

MONK = (
    (0.161, 0.141, 0.125), (0.227, 0.192, 0.165), (0.376, 0.255, 0.204), (0.510, 0.361, 0.263), (0.627, 0.494, 0.337),
    (0.843, 0.741, 0.588), (0.918, 0.855, 0.729), (0.969, 0.918, 0.816), (0.953, 0.906, 0.859), (0.965, 0.929, 0.894),
)  # fmt: skip
"""The ten tones of the Monk Skin Tone scale (Monk 2019, skintone.google), from dark to light."""
FLESH = ((0.30, 0.15, 0.09), (0.94, 0.66, 0.51))
"""Blood beneath dark and light skin: nearly half of every tone, since the scale's are of patches."""


class Colours(NamedTuple):
    """Colours before light and shadow, (N, 3, 1, 1) each.

    Attributes:
        skin: of face, ears, neck and nose.
        hair: of hair, brows and beard.
        lips: of both.
        iris: of both eyes.
        cloth: of the clothes.
    """

    skin: Tensor
    hair: Tensor
    lips: Tensor
    iris: Tensor
    cloth: Tensor


@dataclass(frozen=True)
class Scene:
    """What layers are painted from.

    Attributes:
        f: the factors.
        head: whose it is.
        light: on it.
        colours: of what is painted.
        rays: of the pixels that are painted.
    """

    f: Factors
    head: Head
    light: Light
    colours: Colours
    rays: Rays

    def grey(self, value: float) -> Tensor:
        """(1, 3, 1, 1), a colour without hue."""
        return torch.full((1, 3, 1, 1), value, device=self.rays.X.device)


@dataclass(frozen=True)
class Face(Scene):
    """With the face's surface under the pixels.

    Attributes:
        surface: of the head with its relief.
        lit: (N, H, W) in 0..1, how much of the key light reaches it.
        shade: (N, 3, H, W), by how much light multiplies its colour.
    """

    surface: Surface
    lit: Tensor
    shade: Tensor

    @property
    def x(self) -> Tensor:
        """Across the frontal face, (N, H, W)."""
        return self.surface.p[0]

    @property
    def y(self) -> Tensor:
        """Down the frontal face, (N, H, W)."""
        return self.surface.p[1]

    def window(self, rows: slice, columns: slice) -> Face:
        """Of some pixels."""
        return replace(
            self,
            rays=self.rays.window(rows, columns),
            surface=self.surface.window(rows, columns),
            lit=self.lit[:, rows, columns],
            shade=self.shade[:, :, rows, columns],
        )


def share(f: Tensor) -> Tensor:
    """A factor (N, 1, 1) from -1..1 to 0..1."""
    return 0.5 + 0.5 * f


def colours_of(f: Factors) -> Colours:
    """The colours by their factors."""
    tone = ramp(f["skin_tone"], *MONK)
    skin = tone + 0.45 * (ramp(f["skin_tone"], *FLESH) - tone)
    skin = skin * (1 + f["skin_warmth"][:, None] * rgb(skin, 0.035, -0.005, -0.075))
    hair = ramp(
        f["hair_colour"],
        (0.08, 0.065, 0.065),
        (0.22, 0.14, 0.10),
        (0.46, 0.29, 0.17),
        (0.78, 0.60, 0.36),
        (0.88, 0.84, 0.76),
    )
    hair = hair * (1 + f["hair_warmth"][:, None] * rgb(hair, 0.11, 0.01, -0.16))
    rosy = ramp(f["lip_colour"], (0.70, 0.46, 0.42), (0.76, 0.34, 0.35), (0.78, 0.10, 0.22))
    lips = rosy * (0.55 + 0.45 * skin.mean(1, keepdim=True) / 0.8)
    iris = ramp(f["iris_colour"], (0.20, 0.11, 0.06), (0.42, 0.27, 0.10), (0.28, 0.46, 0.26), (0.22, 0.46, 0.72))
    cloth = ramp(f["clothes_hue"], (0.16, 0.25, 0.47), (0.16, 0.42, 0.42), (0.48, 0.42, 0.20), (0.62, 0.20, 0.24))
    cloth = cloth * (1 + 0.45 * f["clothes_light"][:, None]) + 0.10 * f["clothes_light"].clamp_min(0)[:, None]
    return Colours(skin, hair, lips, iris, cloth)
