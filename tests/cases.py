"""The zoo that property tests run over; a new term joins by one line."""

from ice_lightning.criterions import Landmarks, RegionColor, RegionPixels, RegionResidual

SKIN = ["skin", "nose"]
TERMS = {
    "RegionColor": lambda faces: RegionColor(SKIN, size=32),
    "RegionResidual": lambda faces: RegionResidual(SKIN, size=16),
    "RegionPixels": lambda faces: RegionPixels(["u_lip", "l_lip"], size=32, dilate=0.02),
    "RegionPixels outside": lambda faces: RegionPixels(SKIN, size=16, outside=True, erode=0.02),
    "RegionPixels ring": lambda faces: RegionPixels(["hair"], size=16, ring=0.05),
    "Landmarks": lambda faces: Landmarks("36-47", faces.landmarks),
    "Landmarks complement": lambda faces: Landmarks("0-16,48-67", faces.landmarks, complement=True),
}
