"""The zoo that property tests run over; a new term joins by one line."""

from ice_lightning.classifiers import embedded_classifier
from ice_lightning.criterions import (
    ClassifierLogit,
    GazeAndPose,
    HighFrequency,
    Identity,
    LandmarkHeatmaps,
    Landmarks,
    LowFrequency,
    RegionArea,
    RegionColor,
    RegionColors,
    RegionPixels,
    RegionResidual,
    RelativeLandmarks,
    WarpedPixels,
)  # fmt: skip

SKIN = ["skin", "nose"]
TERMS = {
    "RegionColor": lambda faces: RegionColor(SKIN, size=32),
    "RegionColors": lambda faces: RegionColors(["skin", "hair", "hat"], size=32),
    "RegionResidual": lambda faces: RegionResidual(SKIN, size=16),
    "RegionPixels": lambda faces: RegionPixels(["u_lip", "l_lip"], size=32, dilate=0.02),
    "RegionPixels outside": lambda faces: RegionPixels(SKIN, size=16, outside=True, erode=0.02),
    "RegionPixels ring": lambda faces: RegionPixels(["hair"], size=16, ring=0.05),
    "RegionArea": lambda faces: RegionArea(["hair"], faces.parser),
    "Landmarks": lambda faces: Landmarks("36-47", faces.landmarks),
    "Landmarks complement": lambda faces: Landmarks("0-16,48-67", faces.landmarks, complement=True),
    "RelativeLandmarks": lambda faces: RelativeLandmarks("48-67", faces.landmarks),
    "LandmarkHeatmaps": lambda faces: LandmarkHeatmaps("30,48", faces.landmarks, size=8),
    "GazeAndPose": lambda faces: GazeAndPose(faces.landmarks),
    "GazeAndPose yaw": lambda faces: GazeAndPose(faces.landmarks, ["yaw"]),
    "WarpedPixels": lambda faces: WarpedPixels(["mouth", "u_lip", "l_lip"], faces.landmarks, size=32, dilate=0.02),
    "HighFrequency": lambda faces: HighFrequency(["hair"], cutoff=8, size=32),
    "HighFrequency relative": lambda faces: HighFrequency(["skin"], relative=True, cutoff=8, size=32),
    "LowFrequency": lambda faces: LowFrequency(["hair"], cutoff=8, size=32, erode=0.01),
    "Identity": lambda faces: Identity(faces.identity),
    "ClassifierLogit": lambda faces: ClassifierLogit(embedded_classifier("smiling").double()),
}
