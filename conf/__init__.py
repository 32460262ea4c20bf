"""Hydra's settings; here so that a wheel carries them."""
