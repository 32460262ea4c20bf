"""The head as a surface: a superellipsoid with relief, turned about the neck, and where each pixel's ray meets it.

Numbers are (N, 1, 1), one for each person, images (N, S, S). The head's own coordinates have x to the right of the
picture, y down, z towards the viewer, the eyes' line near y = -0.06, in units of which the picture is 2 * ZOOM wide.
The projection is orthographic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.portraits.relief import Relief, relief_of

ZOOM = 0.87
"""Half the side of the picture."""
PIVOT = (0.0, 0.42, -0.12)
"""About which the head turns: where the neck begins."""
LIFT = 0.06
"""How far the head lies above the origin of its own coordinates."""
LOW, TOP, WIDTH, DEPTH = 0.62, 0.66, 0.47, 0.50
"""The head from its origin to the chin, to the crown, to a side and to the front, where factors are 0."""

Factors = Mapping[str, Tensor]
"""(N, 1, 1) in [-1, 1] under each name of FACTORS."""
Vector = tuple[Tensor, Tensor, Tensor]
"""x, y and z, of one broadcast shape."""


class Shell(NamedTuple):
    """A superellipsoid about the head's origin: ((x/width)^2 + (z/depth)^2)^(q/2) + |y/height|^q = 1.

    Attributes:
        width: to either side.
        depth: to the front and back.
        top: height above the origin.
        low: height below it.
        upper: q above the origin; 2 is an ellipsoid, more is nearer to a box.
        lower: q below it.
    """

    width: Tensor
    depth: Tensor
    top: Tensor
    low: Tensor
    upper: Tensor
    lower: Tensor

    def norm(self, p: Vector) -> tuple[Tensor, Vector]:
        """The square of the norm whose unit ball the shell is, at points, and its gradient."""
        x, y, z = p
        below = y > 0
        height, q = torch.where(below, self.low, self.top), torch.where(below, self.lower, self.upper)
        rx, rz = x / self.width, z / self.depth
        around = (rx * rx + rz * rz).clamp_min(1e-8)
        along = (y / height).abs().clamp_min(1e-4)
        a, b = around.pow(q / 2), along.pow(q)
        value = (a + b).pow(2 / q)
        k = 2 * value / (a + b)
        ring = k * a / around
        gy = k * b / along / height
        return value, (ring * rx / self.width, torch.where(below, gy, -gy), ring * rz / self.depth)

    def hit(self, o: Vector, v: Vector) -> tuple[Tensor, Tensor]:
        """Where rays o + t v, from the front, meet the shell.

        The squared norm is nearly a parabola along a ray, whose curvature an ellipsoid gives: each round takes the
        root of that parabola, or its lowest point where there is none.

        Returns:
            t of the point, or of the closest one where a ray passes by; and a signed distance of the outline, negative
            inside: (lowest norm - 1) in units of the width.
        """
        mean = (self.top + self.low) / 2
        a = (v[0] / self.width).square() + (v[1] / mean).square() + (v[2] / self.depth).square()
        t = -(o[0] * v[0] / self.width.square() + o[1] * v[1] / mean.square() + o[2] * v[2] / self.depth.square()) / a
        least = t
        for _ in range(2):
            least = least - self._along(o, v, least)[1] / (2 * a)
        low = self._along(o, v, least)[0]
        t = least + ((1 - low).clamp_min(0) / a).sqrt()
        for _ in range(2):
            value, slope = self._along(o, v, t)
            bottom = value - slope.square() / (4 * a)
            t = t - slope / (2 * a) + ((1 - bottom).clamp_min(0) / a).sqrt()
        return torch.where(low < 1, t, least), (low.clamp_min(1e-6).sqrt() - 1) * self.width

    def _along(self, o: Vector, v: Vector, t: Tensor) -> tuple[Tensor, Tensor]:
        value, g = self.norm(at(o, v, t))
        return value, g[0] * v[0] + g[1] * v[1] + g[2] * v[2]

    def front(self, x: Tensor, y: Tensor) -> Tensor:
        """z of the front at points (x, y); 0 where there is none."""
        below = y > 0
        height, q = torch.where(below, self.low, self.top), torch.where(below, self.lower, self.upper)
        ring = (1 - (y / height).abs().clamp(1e-4, 1).pow(q)).clamp_min(0).pow(2 / q)
        return self.depth * (ring - (x / self.width).square()).clamp_min(1e-6).sqrt()

    def silhouette(self, m: Vector) -> Vector:
        """The point that lies farthest in a direction m: it is on the outline where m is parallel to the picture.

        The dual norm of a superellipsoid is of the same form with 1/q + 1/p = 1, so that the point is known.
        """
        below = m[1] > 0
        height, q = torch.where(below, self.low, self.top), torch.where(below, self.lower, self.upper)
        mx, mz = self.width * m[0], self.depth * m[2]
        a, b = (mx * mx + mz * mz).clamp_min(1e-12).sqrt(), height * m[1].abs()
        p = q / (q - 1)
        total = (a.pow(p) + b.pow(p)).pow(1 / p)
        ring = (a / total).pow(p - 1)
        y = height * (b / total).pow(p - 1)
        return ring * self.width * mx / a, torch.where(below, y, -y), ring * self.depth * mz / a


def at(o: Vector, v: Vector, t: Tensor) -> Vector:
    """Points of rays.

    Args:
        o: where they begin.
        v: their directions.
        t: how far along.

    Returns:
        o + t v.
    """
    return o[0] + t * v[0], o[1] + t * v[1], o[2] + t * v[2]


def dot(a: Vector, b: Vector) -> Tensor:
    """The inner product.

    Args:
        a: one vector.
        b: another.

    Returns:
        a . b.
    """
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(a: Vector) -> Vector:
    """Of length 1."""
    r = dot(a, a).clamp_min(1e-12).rsqrt()
    return a[0] * r, a[1] * r, a[2] * r


class Turn(NamedTuple):
    """A rotation: to the side, then nodding, then in the plane of the picture.

    Attributes:
        yaw: cosine and sine; above 0 the face looks to the right of the picture.
        pitch: likewise; above 0 it looks down.
        roll: likewise; above 0 it leans clockwise.
    """

    yaw: tuple[Tensor, Tensor]
    pitch: tuple[Tensor, Tensor]
    roll: tuple[Tensor, Tensor]

    def forward(self, p: Vector) -> Vector:
        """From the head's directions to the viewer's."""
        (c, s), (x, y, z) = self.yaw, p
        x, z = x * c + z * s, z * c - x * s
        c, s = self.pitch
        y, z = y * c + z * s, z * c - y * s
        c, s = self.roll
        return x * c - y * s, x * s + y * c, z

    def back(self, p: Vector) -> Vector:
        """From the viewer's directions to the head's."""
        (c, s), (x, y, z) = self.roll, p
        x, y = x * c + y * s, y * c - x * s
        c, s = self.pitch
        y, z = y * c - z * s, z * c + y * s
        c, s = self.yaw
        return x * c - z * s, y, z * c + x * s


class Rays(NamedTuple):
    """The rays of pixels, straight into the picture, in the head's coordinates.

    Attributes:
        X: (1, H, W), the picture's coordinates.
        Y: (1, H, W).
        origin: (N, H, W) three times, where they pass the plane of the head's axis.
        towards: the viewer, (N, 1, 1) three times.
    """

    X: Tensor
    Y: Tensor
    origin: Vector
    towards: Vector

    def plane(self, z: float | Tensor) -> tuple[Tensor, Tensor]:
        """x and y (N, H, W) where they pass a plane before or behind the face."""
        t = (z - self.origin[2]) / self.towards[2]
        return self.origin[0] + t * self.towards[0], self.origin[1] + t * self.towards[1]

    def window(self, rows: slice, columns: slice) -> Rays:
        """Of some pixels."""
        x, y, z = (part[:, rows, columns] for part in self.origin)
        return Rays(self.X[:, rows, columns], self.Y[:, rows, columns], (x, y, z), self.towards)


@dataclass(frozen=True)
class Head:
    """A head and how it is turned.

    Attributes:
        shell: the head without its relief.
        relief: of the face.
        turn: how it looks.
        stretch: by how much heights in the face are longer than usual.
    """

    shell: Shell
    relief: Relief
    turn: Turn
    stretch: Tensor

    def surface(self, x: Tensor, y: Tensor) -> Tensor:
        """z of the face at points of it."""
        return self.shell.front(x, y) + self.relief(x, y)

    def seen(self, p: Vector) -> Vector:
        """Where points of the head are: x and y in the picture's coordinates, and how near to the viewer."""
        x, y, z = self.turn.forward((p[0] - PIVOT[0], p[1] - PIVOT[1], p[2] - PIVOT[2]))
        return x + PIVOT[0], y + PIVOT[1] - LIFT, z + PIVOT[2]

    def rays(self, size: int) -> Rays:
        """Of all pixels of a picture of so many pixels a side."""
        like = self.stretch
        pixel = 2 * ZOOM / size
        axis = (torch.arange(size, dtype=torch.float32, device=like.device) + 0.5) * pixel - ZOOM
        Y, X = torch.meshgrid(axis, axis, indexing="ij")
        X, Y = X[None], Y[None]
        x, y, z = self.turn.back((X - PIVOT[0], Y + LIFT - PIVOT[1], torch.zeros_like(like)))
        towards = self.turn.back((torch.zeros_like(like), torch.zeros_like(like), torch.ones_like(like)))
        return Rays(X, Y, (x + PIVOT[0], y + PIVOT[1], z + PIVOT[2]), towards)


def head_of(f: Factors) -> Head:
    """The heads of people, by face_width, face_length, jaw, what makes their relief, yaw, pitch and roll."""
    like = f["yaw"]

    def angle(radians: Tensor) -> tuple[Tensor, Tensor]:
        return radians.cos(), radians.sin()

    turn = Turn(angle(0.34 * f["yaw"]), angle(0.17 * f["pitch"]), angle(0.09 * f["roll"]))
    low = LOW * (1 + 0.07 * f["face_length"])
    shell = Shell(
        width=WIDTH * (1 + 0.11 * f["face_width"]),
        depth=torch.full_like(like, DEPTH),
        top=torch.full_like(like, TOP),
        low=low,
        upper=torch.full_like(like, 2.1),
        lower=2.2 + 0.4 * f["jaw"],
    )
    stretch = low / LOW
    return Head(shell, relief_of(f, stretch), turn, stretch)


class Surface(NamedTuple):
    """What rays meet.

    Attributes:
        p: (N, H, W) three times, in the head's coordinates; the point nearest to a ray that passes by.
        normal: of it, in the viewer's directions.
        outline: (N, H, W), signed distance, negative inside.
    """

    p: Vector
    normal: Vector
    outline: Tensor

    def window(self, rows: slice, columns: slice) -> Surface:
        """Of some pixels."""
        p, normal = (tuple(part[:, rows, columns] for part in each) for each in (self.p, self.normal))
        return Surface(p, normal, self.outline[:, rows, columns])  # type: ignore[arg-type]


def face_of(head: Head, rays: Rays) -> Surface:
    """The head with its relief under pixels.

    Args:
        head: of people.
        rays: of the pixels.

    Returns:
        Its surface.
    """
    t, outline = head.shell.hit(rays.origin, rays.towards)
    for _ in range(2):
        t, _ = _raised(head, rays, t)
    normal = head.turn.forward(unit(_raised(head, rays, t)[1]))
    return Surface(at(rays.origin, rays.towards, t), normal, outline)


def _raised(head: Head, rays: Rays, t: Tensor) -> tuple[Tensor, Vector]:
    """A Newton step towards the surface with its relief, and the surface's normal before it."""
    x, y, z = at(rays.origin, rays.towards, t)
    h, hx, hy = head.relief.with_slopes(x, y)
    value, (gx, gy, gz) = head.shell.norm((x, y, z - h))
    g = gx - gz * hx, gy - gz * hy, gz
    step = ((value - 1) / dot(g, rays.towards).clamp_min(0.3)).clamp(-0.2, 0.2)
    return torch.where(h.abs() > 1e-4, t - step, t), g
