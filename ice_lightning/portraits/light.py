"""A key light, a fill, and what they leave on a surface.

Directions are the viewer's: x to the right of the picture, y down, z towards the viewer. Colours are those of the
picture: nothing is converted to linear light.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import ramp
from ice_lightning.portraits.head import Factors, Head, Surface, Vector, dot, unit

REACH = (0.035, 0.075, 0.13, 0.20, 0.29)
"""How far from a point of the face towards the light it is looked for what stands in the way."""
SOFTNESS = 0.22
"""Of a shadow's edge: how wide a light is, as a share of the distance."""


@dataclass(frozen=True)
class Light:
    """A key light far away, and a fill from all around that is stronger from above.

    Attributes:
        direction: towards the key light, of length 1, (N, 1, 1) each.
        halfway: between it and the viewer, of length 1.
        key: (N, 3, 1, 1), its colour times its strength.
        fill: (N, 1, 1, 1).
    """

    direction: Vector
    halfway: Vector
    key: Tensor
    fill: Tensor

    def diffuse(self, normal: Vector, lit: Tensor | float = 1.0) -> Tensor:
        """By how much light multiplies the colour of a surface, (N, 3, S, S).

        Args:
            normal: of the surface, of length 1.
            lit: (N, S, S) in 0..1, how much of the key light isn't in shadow.
        """
        facing = ((dot(normal, self.direction) + 0.12) / 1.12).clamp_min(0) * lit
        return self.fill * (0.92 - 0.13 * normal[1][:, None]) + self.key * facing[:, None]

    def highlight(self, normal: Vector, power: float, lit: Tensor | float = 1.0) -> Tensor:
        """What is added where a surface of some gloss mirrors the key light, (N, 3, S, S) (Blinn 1977)."""
        mirrored = dot(normal, self.halfway).clamp_min(0).pow(power) * lit
        return self.key * mirrored[:, None]


def light_of(f: Factors) -> Light:
    """The light on people.

    Args:
        f: the factors.

    Returns:
        Their light.
    """
    side, height = 0.95 * f["light_side"], 0.55 + 0.33 * f["light_height"]
    direction = side.sin() * height.cos(), -height.sin(), side.cos() * height.cos()
    strength = (0.62 + 0.13 * f["light_strength"])[:, None]
    colour = ramp(f["light_warmth"], (0.90, 0.97, 1.10), (1.0, 1.0, 1.0), (1.12, 0.99, 0.83))
    halfway = unit((direction[0], direction[1], direction[2] + 1))
    return Light(direction, halfway, strength * colour, (0.48 + 0.11 * f["light_fill"])[:, None])


def shadow(head: Head, surface: Surface, light: Light, hairline: Tensor, forehead: float = 0.045) -> Tensor:
    """How much of the key light reaches the face past nose, brows and hair, (N, H, W) in 0..1.

    Args:
        head: whose face it is.
        surface: of it.
        light: on it.
        hairline: (N, 2), height and bend, see `parts.hairline_of`.
        forehead: by how much hair stands off the forehead.
    """
    lx, ly, lz = head.turn.back(light.direction)
    x, y, z = surface.p
    blocked = torch.zeros_like(x)
    for s in REACH:
        px, py = x + s * lx, y + s * ly
        over = head.surface(px, py)
        above = hairline_at(hairline, px / head.shell.width) - py
        over = over + forehead * (above / 0.04).clamp(0, 1)
        blocked = torch.maximum(blocked, ((over - z - s * lz) / (SOFTNESS * s)).clamp(0, 1))
    return 1 - 0.85 * blocked


def hairline_at(hairline: Tensor, u: Tensor) -> Tensor:
    """Height of the hairline at u in [-1, 1] across the face."""
    middle, bend = hairline[:, 0, None, None], hairline[:, 1, None, None]
    return middle + bend * u.square()
