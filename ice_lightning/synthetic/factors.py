"""The factors of a portrait, and how a latent carries them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ice_lightning.checks import one_of

FACE = frozenset("skin l_brow r_brow l_eye r_eye eye_g nose mouth u_lip l_lip".split())
HEAD = FACE | {"l_ear", "r_ear", "hair"}
SKIN = frozenset({"skin", "nose", "l_ear", "r_ear", "neck"})
EYES = frozenset({"l_eye", "r_eye"})
BROWS = frozenset({"l_brow", "r_brow"})
LIPS = frozenset({"u_lip", "l_lip"})

FACTORS: dict[str, frozenset[str]] = {
    "skin_tone": SKIN,
    "skin_warmth": SKIN,
    "hair_colour": BROWS | {"hair"},
    "hair_warmth": BROWS | {"hair"},
    "hair_length": frozenset({"hair", "background", "cloth"}),
    "fringe": frozenset({"hair", "skin"}) | BROWS,
    "face_width": HEAD | {"background", "neck", "cloth"},
    "face_length": HEAD | {"background", "neck", "cloth"},
    "jaw": frozenset({"skin", "neck", "hair", "background", "cloth", "l_ear", "r_ear"}),
    "eye_size": EYES | {"skin"},
    "eye_spacing": EYES | BROWS | {"skin", "eye_g", "hair", "nose"},
    "eye_openness": EYES | {"skin"},
    "iris_colour": EYES,
    "gaze_x": EYES,
    "gaze_y": EYES,
    "brow_height": BROWS | {"skin", "eye_g"},
    "brow_angle": BROWS | {"skin", "eye_g"},
    "brow_thickness": BROWS | {"skin", "eye_g"},
    "nose_length": frozenset({"nose", "skin"}),
    "nose_width": frozenset({"nose", "skin", "eye_g"}),
    "mouth_width": LIPS | {"mouth", "skin"},
    "mouth_openness": LIPS | {"mouth", "skin"},
    "smile": LIPS | {"mouth", "skin"},
    "lip_colour": LIPS,
    "lip_fullness": LIPS | {"mouth", "skin"},
    "yaw": HEAD | {"neck", "background"},
    "pitch": HEAD | {"background"},
    "roll": HEAD | {"neck", "background", "cloth"},
    "glasses": FACE | {"hair"},
    "blush": frozenset({"skin", "nose"}),
    "texture": frozenset({"skin"}),
    "background_hue": frozenset({"background"}),
    "background_light": frozenset({"background"}),
    "clothes_hue": frozenset({"cloth"}),
    "clothes_light": frozenset({"cloth"}),
    "light_direction": HEAD | {"neck"},
}
"""Each factor lies in [-1, 1]; beside it, the regions whose pixels it may change (before or after the change)."""

Z_DIM = 48
"""Width of the latent z that `factors_from_z` reads; its first len(FACTORS) coordinates carry the factors."""


def factors_from_z(z: Tensor) -> Tensor:
    """The factors of latent people: uniform on (-1, 1), independent up to the normalisation of z.

    z is normalised to unit second moment first, as a StyleGAN2 mapping network does, so that what the generator
    can't see (the length of z) doesn't change the person.

    Args:
        z: (N, Z_DIM), standard normal.

    Returns:
        (N, len(FACTORS)) in (-1, 1), in the order of FACTORS.
    """
    normal = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    return torch.erf(normal[:, : len(FACTORS)] / math.sqrt(2))


def factor_index(name: str) -> int:
    """Column of a factor; raises IceError with the nearest name when there is none."""
    return list(FACTORS).index(one_of("factor", name, FACTORS))


def neutral(n: int = 1) -> Tensor:
    """(n, len(FACTORS)) factors of an unremarkable person without glasses."""
    f = torch.zeros(n, len(FACTORS))
    f[:, factor_index("glasses")] = -1
    return f
