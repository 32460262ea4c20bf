"""Face models that terms look through: `faces=` names one of these."""

from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.faces.landmarks import landmark_faces
from ice_lightning.faces.pretrained import pretrained_faces

__all__ = ["embedded_faces", "landmark_faces", "pretrained_faces"]
