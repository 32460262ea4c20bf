"""Portraits with light and depth: named factors give an image, its 19-class parse map and 68 landmarks, all exact."""

from ice_lightning.portraits.factors import FACTORS, Z_DIM, factor_index, factors_from_z, neutral
from ice_lightning.portraits.render import Portraits, render

__all__ = ["FACTORS", "Z_DIM", "Portraits", "factor_index", "factors_from_z", "neutral", "render"]
