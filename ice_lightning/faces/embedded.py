"""faces=embedded: the face models that were trained on the portraits."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ice_lightning.checkpoints import ASSETS, load_network
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.identity import IdentityNet
from ice_lightning.modules.landmarks import LandmarkNet
from ice_lightning.modules.parser import Parser
from ice_lightning.ops.sampling import resize


def perceptual() -> Callable[[Tensor], list[Tensor]]:
    """What the embedded parser and identity network see at all their stages: images -> maps, finest first."""
    parser = load_network(ASSETS / "parser.safetensors", "parser", Parser)
    identity = load_network(ASSETS / "identity.safetensors", "identity", IdentityNet)

    def features(image: Tensor) -> list[Tensor]:
        trunks = [(network.trunk, network.size) for network in (parser, identity)]
        return [stage for trunk, size in trunks for stage in trunk(resize(image, size))]  # type: ignore[operator, arg-type]

    return features


def embedded_faces() -> Faces:
    """The face models that ship with the package."""
    return Faces(
        load_network(ASSETS / "parser.safetensors", "parser", Parser),
        load_network(ASSETS / "landmarks.safetensors", "landmarks", LandmarkNet),
        load_network(ASSETS / "identity.safetensors", "identity", IdentityNet),
    )
