"""`faces=landmarks`: face models of which only landmarks are at hand, and an identity network if there is one.

    python -m ice_lightning.run faces=landmarks faces.landmarks=face_landmark_68_model-weights_manifest.json

Nothing in the files is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from ice_lightning.checkpoints import ASSETS, load_network, read_face_api
from ice_lightning.checks import NotFound, problem
from ice_lightning.faces.pretrained import load_pretrained, make_identity, make_landmarks
from ice_lightning.files import cached
from ice_lightning.modules.cropping import AlignedIdentity, FaceAlignment
from ice_lightning.modules.face_api import LandmarkNet68
from ice_lightning.modules.face_recognition import Recognition, SquaredIdentity
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.identity import IdentityNet
from ice_lightning.modules.landmark_regions import LandmarkRegions
from ice_lightning.modules.landmarks import LandmarkNet

LANDMARKS = (
    "a landmark network (face-api's face_landmark_68_model-weights_manifest.json or what it was converted to, "
    "or face-alignment's 2DFAN4-11f355bf06.pth.tar)"
)
IDENTITY = (
    "an identity network (face-api's face_recognition_model-weights_manifest.json or what it was converted to, "
    "or insightface's backbone.pth)"
)


def landmark_network(path: str | Path, crop: Sequence[float]) -> nn.Module:
    """A landmark network from a file of face-api or face-alignment, by its content: image -> (N, 68, 2) pixels.

    Args:
        path: the file, or "embedded" for the package's own, which look at the whole picture.
        crop: left, top, right, bottom of the face in images, fractions of the resolution.

    Returns:
        (N, 3, H, W) in 0..1 -> (N, 68, 2) pixels.

    Raises:
        IceError: for a file that holds something else, or a crop for the embedded network.
    """
    if path == "embedded":
        if tuple(crop) != (0, 0, 1, 1):
            raise problem("no crop for the embedded landmarks", tuple(crop), "leave faces.crop out")
        return load_network(ASSETS / "landmarks.safetensors", "landmarks", LandmarkNet)

    def make(state: dict[str, Tensor]) -> nn.Module:
        return make_landmarks(state) if "l0.weight" in state else LandmarkNet68(crop)

    network = load_pretrained(path, LANDMARKS, make, read_face_api)
    return network if isinstance(network, LandmarkNet68) else FaceAlignment(network, crop)


def identity_network(path: str | Path, landmarks: nn.Module) -> nn.Module:
    """An identity network from a file of face-api or insightface, by its content, with the crop that it expects.

    Args:
        path: the file, or "embedded" for the package's own.
        landmarks: by which faces are cropped, image -> (N, 68, 2) pixels.

    Returns:
        (N, 3, H, W) in 0..1 -> (N, d) unit vectors.

    Raises:
        IceError: for a file that holds something else.
    """
    if path == "embedded":
        return load_network(ASSETS / "identity.safetensors", "identity", IdentityNet)

    def make(state: dict[str, Tensor]) -> nn.Module:
        return make_identity(state) if "layer1.0.conv1.weight" in state else Recognition()

    network = load_pretrained(path, IDENTITY, make, read_face_api)
    wrap = SquaredIdentity if isinstance(network, Recognition) else AlignedIdentity
    return wrap(network, landmarks)


def landmark_faces(
    landmarks: str | Path | None = None,
    identity: str | Path | None = None,
    crop: Sequence[float] = (0, 0, 1, 1),
) -> Faces:
    """Face models from landmarks alone: regions are drawn by them, see `landmark_regions` for what they can't see.

    Args:
        landmarks: face-api's or FAN's file, or "embedded"; None for landmarks.safetensors in the cache.
        identity: face-api's or ArcFace's file, or "embedded"; None for recognition.safetensors in the cache, and
            where there is none, no identity.
        crop: left, top, right, bottom of the face in the generator's images, fractions of the resolution.

    Returns:
        The face models.

    Raises:
        IceError: for no landmarks, or a file that holds something else.

    Example:
        >>> import torch
        >>> faces = landmark_faces("embedded", "embedded")
        >>> images = torch.rand(2, 3, 64, 64)
        >>> tuple(faces.landmarks(images).shape), tuple(faces.parser(images).shape)
        ((2, 68, 2), (2, 20, 64, 64))
    """
    if landmarks is None:
        landmarks = cached("landmarks.safetensors")
        if not landmarks.is_file():
            fix = "fetch it by `make real-faces`, or set faces.landmarks=PATH"
            raise problem(f"{LANDMARKS} at {landmarks}", "none", fix, NotFound)
    if identity is None and cached("recognition.safetensors").is_file():
        identity = cached("recognition.safetensors")
    points = landmark_network(landmarks, crop)
    return Faces(LandmarkRegions(points), points, None if identity is None else identity_network(identity, points))
