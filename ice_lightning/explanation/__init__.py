"""Explanation: from a subspace and a classifier to counterfactuals, and from these to a verdict."""

from ice_lightning.explanation.controls import ControlSettings
from ice_lightning.explanation.rows import Explained, Rows, load_explained
from ice_lightning.explanation.verdict import ClassifierVerdict, SubspaceVerdict, judge

__all__ = ["ClassifierVerdict", "ControlSettings", "Explained", "Rows", "SubspaceVerdict", "judge", "load_explained"]
