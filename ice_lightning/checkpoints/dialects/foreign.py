"""Networks that aren't StyleGAN2 generators, by the names of their weights."""

from __future__ import annotations

import re

from ice_lightning.checkpoints.errors import Refused

OTHERS = {
    r"synthesis\.(input\.freqs|L\d+_\d+_\d+\.)": "a StyleGAN3 generator",
    r"backbone\.synthesis\.|renderer\.|decoder\.net\.": "an EG3D generator",
    r"(generator\.)?progression\.\d+\.|.*\.(blocks\.\d+x\d+|adain\d?|style_mod)\.": "a StyleGAN1 generator",
    r"discriminator\.|b\d+\.fromrgb\.|final_linear\.": "a discriminator alone",
    r"down_blocks\.|unet\.": "a diffusion model",
    r"main\.\d+\.weight": "a DCGAN",
    r"encoder\.(input_layer|body)\.": "an encoder without its decoder",
    r"(S|GE|G)\.(net|blocks|to_initial_block)": "a generator of lucidrains' stylegan2-pytorch",
}
"""Other networks by the names of their weights: a pattern, and what it is."""

ADA = {"synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight"}
"""Names that every StyleGAN2 has in stylegan2-ada-pytorch."""


def check_names(names: set[str]) -> None:
    """Raises Refused unless these are a StyleGAN2 generator's under ADA's names."""
    if names >= ADA and not any(re.match(r"synthesis\.(input\.freqs|L\d+_)", name) for name in names):
        return
    for pattern, what in OTHERS.items():
        if any(re.match(pattern, name) for name in names):
            raise Refused(what, "pass a StyleGAN2 generator")
    some = ", ".join(sorted(names)[:3])
    raise Refused(f"weights named {some}, ..." if names else "no weights", "pass a StyleGAN2 generator")
