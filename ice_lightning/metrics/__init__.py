"""Figures: of counterfactuals, of a subspace, and of who is still the same person."""

from ice_lightning.metrics.counterfactual import (
    ACE_THRESHOLD,
    CD,
    CONVENTIONS,
    COUT,
    FVA,
    MNAC,
    FlipRate,
    Frechet,
    IdentityCosine,
    ImageDistance,
    Locality,
    Sufficiency,
    sides,
    transition,
)

__all__ = [
    "ACE_THRESHOLD",
    "CD",
    "CONVENTIONS",
    "COUT",
    "FVA",
    "MNAC",
    "FlipRate",
    "Frechet",
    "IdentityCosine",
    "ImageDistance",
    "Locality",
    "Sufficiency",
    "sides",
    "transition",
]
