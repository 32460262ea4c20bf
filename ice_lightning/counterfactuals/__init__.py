"""Ways to search for a counterfactual within a subspace: `counterfactual=` names one of these."""

from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.counterfactuals.line import Line
from ice_lightning.counterfactuals.paper import Paper

__all__ = ["Gradient", "Line", "Paper"]
