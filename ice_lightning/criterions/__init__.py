"""The criterion zoo: what a person can name in an image, as pure functions of (image, analysis) and thin modules.

A term maps images (N, 3, H, W) to features (N, m). Masks come from the analysis and are held fixed while
differentiating. Features are scaled so that an energy is a mean square.
Terms, settings and the region vocabulary: Li et al. 2022 (arXiv 2201.09689) and its released notebooks.
"""

from ice_lightning.criterions.frequency import HighFrequency, LowFrequency
from ice_lightning.criterions.landmarks import GazeAndPose, LandmarkHeatmaps, Landmarks, RelativeLandmarks
from ice_lightning.criterions.networks import ClassifierLogit, Identity
from ice_lightning.criterions.regions import RegionArea, RegionColor, RegionColors, RegionPixels, RegionResidual
from ice_lightning.criterions.term import Activate, Analysis, Criterion, Suppress, Term
from ice_lightning.criterions.warp import WarpedPixels

__all__ = [
    "Activate",
    "Analysis",
    "ClassifierLogit",
    "Criterion",
    "GazeAndPose",
    "HighFrequency",
    "Identity",
    "LandmarkHeatmaps",
    "Landmarks",
    "LowFrequency",
    "RegionArea",
    "RegionColor",
    "RegionColors",
    "RegionPixels",
    "RegionResidual",
    "RelativeLandmarks",
    "Suppress",
    "Term",
    "WarpedPixels",
]
