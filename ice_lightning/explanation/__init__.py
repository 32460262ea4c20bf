"""Explanation: from a subspace and a classifier to counterfactuals, and from these to a verdict."""

from ice_lightning.explanation.controls import ControlSettings
from ice_lightning.explanation.rows import Explained, load_explained
from ice_lightning.explanation.verdict import Verdict, judge

__all__ = ["ControlSettings", "Explained", "Verdict", "judge", "load_explained"]
