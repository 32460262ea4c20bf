"""Jacobians of features in the latent: how products with them are taken."""
