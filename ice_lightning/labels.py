"""Names of what is in a face: the classes of a parse map."""

from __future__ import annotations

REGIONS = (
    "background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r "
    "nose mouth u_lip l_lip neck neck_l cloth hair hat"
).split()
