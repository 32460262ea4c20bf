"""The latent spaces, and names for their layers."""

from __future__ import annotations

SPACES = {
    "z": "what people are drawn from, normal numbers",
    "w": "what the mapping makes of z, one for all layers",
    "w+": "a w for every layer",
    "s": "the channel scales of every layer (the default)",
}

BANDS = {"coarse": "4px-8px", "middle": "16px-32px", "fine": "64px-"}
"""Layers by what they paint, after Karras et al. 2019, section 3.1."""
