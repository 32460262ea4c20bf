"""Explanation: from a subspace and a classifier to counterfactuals, and from these to a verdict."""
