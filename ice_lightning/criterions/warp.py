"""Pixels that move with the face: sampled at points which a triangulation of the landmarks carries along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ice_lightning.criterions.regions import Region, region_pixels
from ice_lightning.criterions.term import Analysis
from ice_lightning.ops.sampling import resize, sample_bilinear


class Mesh(NamedTuple):
    """Every pixel of a grid as a mean of three carrying points.

    Attributes:
        corners: (N, P, 3) int64, which of the 68 landmarks and, from 68 on, of the fixed points round the image.
        weights: (N, P, 3), barycentric, they sum to 1.
    """

    corners: Tensor
    weights: Tensor


QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where on a side of the image the points of the frame are."""
FRAME = torch.tensor([[x, y] for x in QUARTERS for y in QUARTERS if {x, y} & {0.0, 1.0}])
"""(16, 2) points on the border of the image that never move, as fractions of its resolution: five on each side."""


def triangulate(landmarks: Tensor, size: int) -> Mesh:
    """Delaunay triangulation of landmarks and frame, and where the pixels of a grid lie in it.

    Args:
        landmarks: (N, 68, 2) as fractions of the resolution.
        size: points a side of the grid, which are pixel centres, row by row.

    Returns:
        The mesh of size * size points.
    """
    from scipy.spatial import Delaunay

    axis = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    grid = torch.cartesian_prod(axis, axis).flip(1).numpy()
    corners, weights = [], []
    for points in landmarks.detach().cpu().double():
        # A landmark beside the image or on its border would fold the frame.
        mesh = Delaunay(torch.cat([points.clamp(0.01, 0.99), FRAME.double()]).numpy())
        triangle = mesh.find_simplex(grid, tol=1e-9)
        to_weights = mesh.transform[triangle]
        first = torch.from_numpy((to_weights[:, :2] @ (grid - to_weights[:, 2])[:, :, None])[:, :, 0])
        weights.append(torch.cat([first, 1 - first.sum(1, keepdim=True)], 1))
        corners.append(torch.from_numpy(mesh.simplices[triangle]).long())
    return Mesh(torch.stack(corners).to(landmarks.device), torch.stack(weights).to(landmarks))


def carry(mesh: Mesh, landmarks: Tensor) -> Tensor:
    """Where a mesh's points are once the landmarks have moved.

    Args:
        mesh: of N people and P points.
        landmarks: (N, 68, 2) as fractions of the resolution.

    Returns:
        (N, P, 2), fractions of the resolution.

    Example:
        >>> landmarks = torch.rand(1, 68, 2) / 2 + 0.25
        >>> carry(triangulate(landmarks, 2), landmarks)  # landmarks that stay leave the grid where it is
        tensor([[[0.2500, 0.2500],
                 [0.7500, 0.2500],
                 [0.2500, 0.7500],
                 [0.7500, 0.7500]]])
    """
    points = torch.cat([landmarks, FRAME.to(landmarks).expand(len(landmarks), -1, -1)], 1)
    n, p, _ = mesh.corners.shape
    index = mesh.corners.flatten(1)[:, :, None].expand(-1, -1, 2)
    return (points.gather(1, index).view(n, p, 3, 2) * mesh.weights[..., None]).sum(2)


class WarpedPixels(Region):
    """Pixels of a region compared at the place to which the landmarks carry them.

    A mouth that opens moves its lips; these features stay the same as long as the lips look the same where they
    are. The image is read at twice `size`: a sampled point then lies between four pixels, where bilinear
    interpolation is smooth.

    Args:
        regions: CelebAMask-HQ names.
        landmarks: the network, image -> (N, 68, 2) pixels.
        size: points a side of the grid that is carried along.
        shape: outside, dilate, erode, ring, kernel; see region_mask.

    Example:
        >>> from ice_lightning.faces import embedded_faces
        >>> from ice_lightning.synthetic import neutral, render
        >>> people, lips = render(neutral(1), 64), ["u_lip", "l_lip"]
        >>> seen = Analysis(people.parse, people.landmarks)
        >>> WarpedPixels(lips, embedded_faces().landmarks, size=32)(people.image, seen).shape  # of 24 pixels
        torch.Size([1, 72])
    """

    needs = ("landmarks",)

    def __init__(self, regions: Sequence[str], landmarks: nn.Module, size: int = 64, **shape: Any) -> None:
        super().__init__(regions, size, **shape)
        self.landmarks = landmarks
        self._mesh: tuple[Analysis, Mesh] | None = None

    def mesh(self, analysis: Analysis) -> Mesh:
        """The person's triangulation, built once as long as the analysis stays the same object."""
        cached = self._mesh
        if cached is None or cached[0] is not analysis:
            resolution = analysis.parse.shape[-1]
            # Other people's threads store theirs in between: what is returned is never read back from there.
            cached = self._mesh = analysis, triangulate((analysis.landmarks + 0.5) / resolution, self.size)
        return cached[1]

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        mesh = self.mesh(analysis)
        points = (self.landmarks(image) + 0.5) / image.shape[-1]
        carried = carry(Mesh(mesh.corners, mesh.weights.to(image.dtype)), points)
        pixels = sample_bilinear(resize(image, 2 * self.size), carried)
        return region_pixels(pixels.unflatten(2, (self.size, self.size)), self.weight(analysis))
