"""Figures: of counterfactuals, of a subspace, and of who is still the same person."""

from ice_lightning.metrics.average import CONVENTIONS, Average, Measurement, measurements
from ice_lightning.metrics.correlation import CD
from ice_lightning.metrics.counterfactual import (
    ACE_THRESHOLD,
    FVA,
    MNAC,
    FlipRate,
    IdentityCosine,
    ImageDistance,
    Locality,
    Sufficiency,
)
from ice_lightning.metrics.frechet import Frechet, frechet
from ice_lightning.metrics.moments import gaussian, moments
from ice_lightning.metrics.proportion import Proportion, proportion
from ice_lightning.metrics.subspace import outliers
from ice_lightning.metrics.transition import COUT, source_and_target, transition

__all__ = [
    "ACE_THRESHOLD",
    "CD",
    "CONVENTIONS",
    "COUT",
    "FVA",
    "MNAC",
    "Average",
    "FlipRate",
    "Frechet",
    "IdentityCosine",
    "ImageDistance",
    "Locality",
    "Measurement",
    "Proportion",
    "Sufficiency",
    "frechet",
    "gaussian",
    "measurements",
    "moments",
    "outliers",
    "proportion",
    "source_and_target",
    "transition",
]
