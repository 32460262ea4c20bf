"""Procedural portraits: named factors give an image, its 19-class parse map and 68 landmarks, all exact.

The portraits are the ground truth of the tests and of the embedded zoo. Every shape is a signed distance in head
coordinates, so the three outputs agree at any resolution, and a pixel's coverage is its anti-aliasing.
Region ids are those of CelebAMask-HQ, landmarks those of iBUG-68; `l_` means the left of the image in both.
"""

from ice_lightning.synthetic.factors import FACTORS, Z_DIM, factor_index, factors_from_z, neutral
from ice_lightning.synthetic.render import Portraits, render
from ice_lightning.synthetic.sheet import PALETTE

__all__ = ["FACTORS", "PALETTE", "Z_DIM", "Portraits", "factor_index", "factors_from_z", "neutral", "render"]
