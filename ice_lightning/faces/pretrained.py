"""Public face models from their own files: BiSeNet, FAN and ArcFace behind the names that criterions ask for.

    python -m ice_lightning.run faces=pretrained faces.parser=79999_iter.pth faces.landmarks=2DFAN4-11f355bf06.pth.tar

Nothing in the files is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from ice_lightning.checkpoints import mismatch, read_weights
from ice_lightning.checkpoints.hyperparameters import numbers
from ice_lightning.checks import NotFound, Unreadable, problem
from ice_lightning.modules.bisenet import BiSeNet
from ice_lightning.modules.cropping import AlignedIdentity, CroppedParser, FaceAlignment
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.iresnet import IResNet

PARSER = (
    "a face parser (BiSeNet on CelebAMask-HQ, usually 79999_iter.pth of zllrunning/face-parsing.PyTorch, "
    "keys cp.resnet.conv1.weight ... conv_out.conv_out.weight)"
)
LANDMARKS = (
    "a landmark network (2DFAN4 of 1adrianb/face-alignment, usually 2DFAN4-11f355bf06.pth.tar in torch's hub cache, "
    "keys conv1.weight ... l3.weight)"
)
IDENTITY = (
    "an identity network (ArcFace iResNet, usually backbone.pth of insightface's arcface_torch, "
    "keys conv1.weight, layer1.0.bn1.weight ... fc.weight, features.weight)"
)


def load_pretrained(
    path: str | Path,
    what: str,
    make: Callable[[dict[str, Tensor]], nn.Module],
    read: Callable[[str | Path, str], dict[str, Tensor]] = read_weights,
) -> nn.Module:
    """A network with the weights of a file, in eval mode, frozen.

    Args:
        path: the file.
        what: what is expected there, for the sentence.
        make: builds the network that some weights belong to; a KeyError or IndexError says that there is none.
        read: reads the weights of a path; the second argument is `what`.

    Returns:
        The network.

    Raises:
        IceError: when weights are missing, left over or of another shape.
    """
    state = read(path, what)
    try:
        network = make(state)
    except (KeyError, IndexError) as error:
        raise problem(f"{what} in {path}", f"no key {error}", "pass the path to what it holds", Unreadable) from error
    if got := mismatch(network.state_dict(), state):
        raise problem(f"{what} in {path}", got, "pass the path to what it holds", Unreadable)
    network.load_state_dict(network.state_dict() | state)
    return network.float().eval().requires_grad_(False)


def make_parser(state: dict[str, Tensor]) -> nn.Module:
    """BiSeNet with as many classes as the file has."""
    return BiSeNet(classes=state["conv_out.conv_out.weight"].shape[0])


def make_identity(state: dict[str, Tensor]) -> nn.Module:
    """The iResNet whose blocks the file has."""
    depths = tuple(len(numbers(state, rf"layer{i}\.(\d+)\.conv1")) for i in range(1, 5))
    return IResNet(depths, dim=state["fc.weight"].shape[0])


def make_landmarks(state: dict[str, Tensor]) -> nn.Module:
    """The FAN with as many hourglasses as the file has.

    Raises:
        IceError: when face-alignment isn't installed.
    """
    try:
        from face_alignment.models import FAN
    except ImportError as error:
        fix = "pip install 'ice_lightning[face]'"
        raise problem("the package face-alignment, for faces.landmarks", "none", fix, NotFound) from error
    stages = len(numbers(state, r"l(\d+)\.weight"))
    if not stages:
        raise KeyError("l0.weight")
    return FAN(stages)


def pretrained_faces(
    parser: str | Path | None,
    landmarks: str | Path | None,
    identity: str | Path | None = None,
    crop: Sequence[float] = (0, 0, 1, 1),
    whole_maps: bool = False,
) -> Faces:
    """Face models from public files.

    Args:
        parser: BiSeNet, `79999_iter.pth`.
        landmarks: FAN, `2DFAN4-11f355bf06.pth.tar`.
        identity: ArcFace iResNet-50 or -100, `backbone.pth`; only criterions that ask for it need it.
        crop: left, top, right, bottom of the face in the generator's images, fractions of the resolution.
        whole_maps: take landmarks as means under FAN's whole maps, as Li et al. 2022 do, instead of near their maxima.

    Returns:
        The face models.

    Raises:
        IceError: for a path that isn't given, or a file that holds something else.
    """
    for name, path, what in (("parser", parser, PARSER), ("landmarks", landmarks, LANDMARKS)):
        if path is None:
            raise problem(what, "no path", f"set faces.{name}=PATH")
    assert parser is not None and landmarks is not None
    points = FaceAlignment(load_pretrained(landmarks, LANDMARKS, make_landmarks), crop, whole_maps)
    network = None if identity is None else AlignedIdentity(load_pretrained(identity, IDENTITY, make_identity), points)
    return Faces(CroppedParser(load_pretrained(parser, PARSER, make_parser), crop), points, network)
