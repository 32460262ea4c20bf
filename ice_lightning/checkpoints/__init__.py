"""Networks on disk: ours, and every StyleGAN2 that people have; nothing in a file is executed.

`load_generator` finds out by a file's content what it is: NVIDIA's PyTorch and TensorFlow pickles, rosinality's .pt and
the wrappers round it, genforce's .pth, weights alone under the names of stylegan2-ada-pytorch, and our safetensors.
"""

from __future__ import annotations

from ice_lightning.checkpoints.face_api import convert_face_api, read_face_api
from ice_lightning.checkpoints.formats.tfjs import is_manifest, read_manifest
from ice_lightning.checkpoints.generators import load_generator
from ice_lightning.checkpoints.networks import ASSETS, load_network, read_network, save_network, sha256
from ice_lightning.checkpoints.weights import mismatch, read_weights

__all__ = [
    "ASSETS", "convert_face_api", "is_manifest", "load_generator", "load_network", "mismatch", "read_face_api",
    "read_manifest", "read_network", "read_weights", "save_network", "sha256",
]  # fmt: skip
