"""The factors of a portrait, what each may change, and how a latent carries them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ice_lightning.checks import one_of

EYES = frozenset({"l_eye", "r_eye"})
BROWS = frozenset({"l_brow", "r_brow"})
EARS = frozenset({"l_ear", "r_ear"})
LIPS = frozenset({"u_lip", "l_lip", "mouth"})
FACE = EYES | BROWS | LIPS | {"skin", "nose"}
SKIN = frozenset({"skin", "nose", "neck"}) | EARS
BODY = FACE | EARS | {"neck", "hair", "cloth", "eye_g", "ear_r", "hat"}
"""Everything that light falls on: all but the background."""
HEAD = BODY - {"cloth"}

FACTORS: dict[str, frozenset[str]] = {
    "skin_tone": SKIN | LIPS | BROWS | {"hair"},  # scalp at the parting, skin through brows, lips of its tone
    "skin_warmth": SKIN | {"hair"},
    "blush": frozenset({"skin", "nose"}),
    "freckles": frozenset({"skin", "nose"}),
    "wrinkles": frozenset({"skin"}),
    "gloss": SKIN,
    "beard": frozenset({"skin"}),
    "hair_colour": BROWS | {"hair", "skin"},  # a beard is hair that grows on skin
    "hair_warmth": BROWS | {"hair", "skin"},
    "hair_sheen": frozenset({"hair"}),
    "hair_length": frozenset({"hair", "background", "cloth", "neck", "ear_r", "skin"}) | EARS,
    "hair_volume": frozenset({"hair", "background", "cloth", "hat", "skin", "ear_r"}) | EARS,
    "fringe": FACE | {"hair", "eye_g"},  # which throws a shadow
    "parting": frozenset({"hair", "skin"}),
    "face_width": HEAD | {"background", "cloth"},
    "face_length": HEAD | {"background", "cloth"},
    "jaw": HEAD | {"background", "cloth"},
    "cheekbones": frozenset({"skin", "nose"}),
    "chin": frozenset({"skin", "l_lip", "neck"}),
    "eye_size": EYES | {"skin", "nose"},
    "eye_spacing": EYES | BROWS | {"skin", "eye_g", "hair", "nose"},
    "eye_openness": EYES | {"skin"},
    "eye_tilt": EYES | {"skin"},
    "iris_colour": EYES,
    "gaze_x": EYES,
    "gaze_y": EYES,
    "brow_height": BROWS | EYES | {"skin", "eye_g"},
    "brow_angle": BROWS | {"skin", "eye_g"},
    "brow_thickness": BROWS | {"skin", "eye_g"},
    "nose_length": LIPS | {"nose", "skin"},
    "nose_width": LIPS | {"nose", "skin", "eye_g"},
    "nose_bridge": frozenset({"nose", "skin", "eye_g"}),
    "nose_tip": LIPS | {"nose", "skin"},
    "mouth_width": LIPS | {"skin"},
    "mouth_openness": LIPS | {"skin"},
    "smile": LIPS | {"skin", "nose"},
    "lip_colour": LIPS - {"mouth"},
    "lip_fullness": LIPS | {"skin"},
    "yaw": HEAD | {"background", "cloth"},
    "pitch": HEAD | {"background", "cloth"},
    "roll": HEAD | {"background", "cloth"},
    "glasses": FACE | {"eye_g", "hair"},
    "glasses_thickness": FACE | {"eye_g", "hair"},
    "earrings": frozenset({"ear_r", "neck", "hair", "background", "skin", "cloth"}) | EARS,
    "hat": FACE | {"hat", "hair", "background", "eye_g"},
    "hat_hue": frozenset({"hat"}),
    "light_side": BODY,
    "light_height": BODY,
    "light_warmth": BODY,
    "light_strength": BODY,
    "light_fill": BODY,
    "clothes_hue": frozenset({"cloth"}),
    "clothes_light": frozenset({"cloth"}),
    "neckline": frozenset({"cloth", "neck"}),
    "background_hue": frozenset({"background"}),
    "background_light": frozenset({"background"}),
    "background_gradient": frozenset({"background"}),
    "background_detail": frozenset({"background"}),
}
"""Each factor lies in [-1, 1]; beside it, the regions whose pixels it may change (before or after the change)."""

WORN = {"glasses": 0.33, "earrings": 0.4, "hat": 0.6}
"""Above which value something is worn."""

Z_DIM = 64
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
    """(n, len(FACTORS)) factors of an unremarkable person who wears nothing but clothes."""
    f = torch.zeros(n, len(FACTORS))
    for name in (*WORN, "beard", "freckles", "wrinkles"):
        f[:, factor_index(name)] = -1
    return f
