"""Hair: a shell about the head with strands and their sheen, and what falls behind the neck."""

from __future__ import annotations

import torch
from torch import Tensor

from ice_lightning.portraits.canvas import Canvas, superellipse
from ice_lightning.portraits.head import Head, Shell, Vector, at, dot, unit
from ice_lightning.portraits.scene import Scene, share


class Hair:
    """The shell of hair under every pixel.

    Args:
        scene: that it belongs to.
        extra: by how much a hat's shell lies farther out.

    Attributes:
        p: the surface, in the head's coordinates, (N, S, S) each.
        normal: in the viewer's directions.
        outline: (N, S, S), signed distance, negative inside.
        width: half of the shell's.
    """

    def __init__(self, scene: Scene, extra: float = 0.0) -> None:
        self.scene, head = scene, scene.head
        self.shell = shell_of(head, share(scene.f["hair_volume"]), extra)
        t, self.outline = self.shell.hit(scene.rays.origin, scene.rays.towards)
        self.p: Vector = at(scene.rays.origin, scene.rays.towards, t)
        self.normal = head.turn.forward(unit(self.shell.norm(self.p)[1]))
        self.width = self.shell.width

    def colour(self) -> Tensor:
        """(N, 3, S, S): strands that fan out from the parting, lit, with the sheen of fibres (Kajiya and Kay 1989)."""
        scene, f = self.scene, self.scene.f
        x, y, _ = self.p
        fan = (x - 0.16 * f["parting"]) / ((y + self.shell.top).clamp_min(0) + 0.30)
        strands = 0.10 * torch.sin(46 * fan + 1.5 * torch.sin(9 * y)) + 0.06 * torch.sin(83 * fan + 2)
        down = scene.head.turn.forward((fan, torch.ones_like(y), torch.zeros_like(y)))
        lean = dot(down, self.normal)
        along = unit(tuple(d - lean * n for d, n in zip(down, self.normal, strict=True)))  # type: ignore[arg-type]
        sheen = (1 - dot(along, scene.light.halfway).square()).clamp_min(0).pow(26)
        facing = dot(self.normal, scene.light.direction).clamp_min(0)
        shine = 0.42 * share(f["hair_sheen"]) * sheen * facing * (1 + 3 * strands)
        base = scene.colours.hair * (1 + strands[:, None]) * scene.light.diffuse(self.normal)
        return base + shine[:, None] * scene.light.key * (0.35 + 0.65 * scene.colours.hair)


def shell_of(head: Head, volume: Tensor, extra: float) -> Shell:
    """The head's shell, larger by a volume (N, 1, 1) in 0..1."""
    s = head.shell
    return Shell(
        s.width + 0.045 + 0.065 * volume + extra,
        s.depth + 0.025 + 0.03 * volume + extra,
        s.top + 0.045 + 0.075 * volume + extra,
        s.low + 0.06,
        torch.full_like(s.width, 2.15),
        torch.full_like(s.width, 2.6),
    )


def fall_length(scene: Scene) -> Tensor:
    """How far hair falls below the eyes' line, (N, 1, 1)."""
    return 0.30 + 0.62 * share(scene.f["hair_length"])


def paint_fall(canvas: Canvas, scene: Scene, hair: Hair) -> None:
    """The hair behind head and neck.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        hair: whose it is.
    """
    x, y = scene.rays.plane(-0.16)
    outline = torch.where(
        y < 0,
        superellipse(x, y, hair.width, hair.shell.top, 2.15),
        superellipse(x, y, hair.width + 0.03 * share(scene.f["hair_length"]), fall_length(scene), 3.4),
    )
    dark = 0.50 + 0.14 * torch.sin(44 * x / (1 + 0.4 * y.abs()))[:, None]
    side = (x / hair.width).clamp(-1, 1)
    normal = unit((side, torch.zeros_like(side), (1.05 - side * side).clamp_min(0).sqrt()))
    canvas.paint(canvas.cover(outline), scene.colours.hair * dark * scene.light.diffuse(normal), "hair")


def paint_hair(canvas: Canvas, scene: Scene, hair: Hair, hairline: Tensor) -> None:
    """The hair on the head, above the hairline and at the sides, with its parting.

    Args:
        canvas: that it is painted on.
        scene: that it belongs to.
        hair: whose it is.
        hairline: (N, 2), see `parts.hairline_of`.
    """
    x, y, z = hair.p
    ring = (1 - (y.clamp_min(0) / hair.shell.low).clamp(0, 0.98).pow(2.6)).pow(1 / 2.6)
    u = (x / hair.width / ring).clamp(-1, 1)
    middle, bend = hairline[:, 0, None, None], hairline[:, 1, None, None]
    apart = torch.exp(-((x - 0.16 * scene.f["parting"]) / 0.09).square())  # the fringe opens at the parting
    curtain = ((u.abs() - 0.80) / 0.17).clamp(0, 1).square() * (fall_length(scene) - 0.24)
    edge = middle + bend * u.square() - 0.055 * apart + curtain
    behind = z < -0.02
    below = torch.where(behind, y - edge.clamp_min(0.06), y - edge)
    cap = torch.maximum(hair.outline, below)
    strands = 0.006 * torch.sin(47 * u) + 0.004 * torch.sin(89 * u)
    alpha = canvas.cover(cap + strands * (below > -0.08), 0.012)
    colour = hair.colour()
    rim = (1 - 0.35 * torch.exp(below.clamp(max=0) / 0.03))[:, None]  # thin hair at its edge is darker
    canvas.paint(alpha, colour * rim, "hair")
    line = (x - 0.16 * scene.f["parting"] - 0.05 * (y + 0.55)).abs() - 0.006
    along = ((edge - 0.01 - y) / 0.03).clamp(0, 1) * ((y + hair.shell.top - 0.10) / 0.08).clamp(0, 1) * (z > 0)
    scalp = scene.colours.skin * 0.72 * scene.light.diffuse(hair.normal)
    canvas.paint(0.75 * alpha * canvas.cover(line, 0.006) * along, scalp)
