"""Names of what is in a face: the classes of a parse map and the 68 landmarks. `l_` and LEFT are the picture's left."""

from __future__ import annotations

REGIONS = (
    "background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r "
    "nose mouth u_lip l_lip neck neck_l cloth hair hat"
).split()
"""The 19 classes of CelebAMask-HQ (Lee et al. 2020, arXiv 1907.11922) by their ids, in the order of the public parser's
weights (zllrunning/face-parsing.PyTorch)."""

LANDMARKS = 68
"""How many points the markup of iBUG has (Sagonas et al. 2013, 300 Faces in-the-Wild), counted from 0; slices and
numbers below are its parts."""
JAW = slice(0, 17)
LEFT_JAW_END, CHIN, RIGHT_JAW_END = 0, 8, 16
BROWS, LEFT_BROW, RIGHT_BROW = slice(17, 27), slice(17, 22), slice(22, 27)
NOSE_RIDGE, NOSE_BASE = slice(27, 31), slice(31, 36)
NOSE_BRIDGE, NOSE_TIP, LEFT_NOSTRIL, RIGHT_NOSTRIL = 27, 30, 31, 35
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 36, 45
"""The outer ones."""
MOUTH, OUTER_LIPS, INNER_LIPS = slice(48, 68), slice(48, 60), slice(60, 68)
LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER = 48, 54
UPPER_LIP = [*range(48, 55), 64, 63, 62, 61, 60]
"""All round it: the outer edge from left to right, then the inner one back."""
LOWER_LIP = [*range(54, 60), 48, 60, 67, 66, 65, 64]
"""All round it: the outer edge from right to left, then the inner one back."""
