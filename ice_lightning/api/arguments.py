"""Arguments of the calls: checked, and made the objects that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ice_lightning.checkpoints import ASSETS, sha256
from ice_lightning.checkpoints.generators import CHECKPOINT
from ice_lightning.checks import problem
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.faces import embedded_faces
from ice_lightning.launch import quiet
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator, GeneratorAdapter
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.subspace import Subspace
from ice_lightning.tasks.schema import LAYERS, SEED, SWITCH, TABLE, TEXT, Kind, above_zero, accept, optional, whole

Thing = TypeVar("Thing")

KINDS: Mapping[str, Kind] = {
    "people": whole(1),
    "seed": SEED,
    "space": TEXT,
    "geometry": TABLE["geometry"],
    "precision": TABLE["precision"],
    "layers": optional(LAYERS),
    "progress": SWITCH,
    "local": optional(SWITCH),
    "held": SWITCH,
    "name": optional(TEXT),
    "directions": optional(whole(1)),
    "direction": whole(0),
    "strength": optional(above_zero("2")),
    "steps": whole(1),
    "rate": above_zero("0.05"),
}
"""What plain arguments may be: as on the command line."""


def check(**arguments: Any) -> tuple[Any, ...]:
    """Refuse plain arguments of another type, or out of their range; their names are those of KINDS.

    Returns:
        Their values in this order, numpy's numbers as Python's.

    Raises:
        IceError: in one sentence.

    Example:
        >>> check(people=32, seed=0)
        (32, 0)
        >>> from ice_lightning.checks import IceError
        >>> try:
        ...     check(people=1.5)
        ... except IceError as error:
        ...     print(error)
        expected people as a whole number of at least 1, got 1.5: for example people=1
    """
    values = {name: value.item() if isinstance(value, np.number) else value for name, value in arguments.items()}
    for name, value in values.items():
        accept(name, value, KINDS[name])
    return tuple(values.values())


def instance(what: str, value: object, kind: type[Thing] | tuple[type[Thing], ...], fix: str) -> Thing:
    """The value itself, where it is of a class.

    Args:
        what: is expected.
        value: of any type.
        kind: the class, or several.
        fix: where to take one from.

    Raises:
        IceError: for a value of another class.
    """
    if not isinstance(value, kind):
        raise problem(what, _named(value), fix)
    return value


def as_generator(generator: object) -> AnyGenerator:
    """A generator of `load_generator`, or a module of the user's own behind our contract."""
    fix = 'pass load_generator("embedded"), or a module as docs/own_generator.md describes'
    module = instance("a generator", generator, nn.Module, fix)
    kinds = {each.dtype for each in module.parameters() if each.is_floating_point()}
    if other := kinds - {torch.float32}:
        raise problem("a generator whose weights are torch.float32", other.pop(), "call .float() on it")
    if isinstance(module, AnyGenerator) and module.fingerprint:
        return module
    return GeneratorAdapter(module, type(module).__name__)


def as_subspace(subspace: object, generator: AnyGenerator) -> Subspace:
    """A subspace, which is the generator's.

    Args:
        subspace: of any type.
        generator: that it has to be found on.

    Raises:
        IceError: for something else, or a subspace of another generator.
    """
    made = instance("a Subspace", subspace, Subspace, "take it from discover or load_subspace")
    made.check_generator(generator)
    return made


def as_people(u: object, subspace: Subspace, generator: AnyGenerator) -> Tensor:
    """Latents (N, n) of at least one person, a copy where the generator is.

    Args:
        u: of any type.
        subspace: in whose space they have to be.
        generator: of the subspace.

    Raises:
        IceError: for something else, or another shape.
    """
    n = subspace.directions.shape[0]
    made = instance(f"latents of people (N, {n}) in a Tensor", u, Tensor, "take them from generator.people")
    if made.ndim != 2 or made.shape[1] != n or not len(made) or not made.is_floating_point():
        got = f"{tuple(made.shape)} of {made.dtype}"
        raise problem(f"latents of people (N, {n}) in {subspace.space}", got, "convert them first")
    return made.detach().clone().to(next(generator.parameters()))


def as_faces(faces: object, generator: AnyGenerator) -> Faces:
    """The face models; for None the embedded ones, of the embedded generator alone.

    Args:
        faces: of any type.
        generator: whose pictures they see.

    Raises:
        IceError: for something else, or None with another generator.
    """
    fix = "pass faces=, of ice_lightning.faces: landmark_faces(...) or pretrained_faces(...)"
    if faces is not None:
        return instance("face models as Faces", faces, Faces, fix)
    if generator.fingerprint != sha256(ASSETS / "generator.safetensors"):
        raise problem("face models for this generator", "none", fix)
    return embedded_faces()


def as_classifier(classifier: object, what: str = "a classifier") -> nn.Module:
    """A classifier by the name of an embedded one, a module, or a function of images as a module.

    Args:
        classifier: of any type.
        what: the sentence says that it expected.

    Raises:
        IceError: for a name that isn't known, or what can't be called.

    Example:
        >>> as_classifier(lambda images: images.mean((1, 2, 3)))(torch.zeros(2, 3, 8, 8)).tolist()
        [0.0, 0.0]
    """
    if isinstance(classifier, str):
        return embedded_classifier(classifier)
    if isinstance(classifier, type) or not callable(classifier):
        fix = "pass the name of an embedded one, a module, or a function from images (N, 3, H, W) to scores (N,)"
        raise problem(what, _named(classifier), fix)
    return classifier if isinstance(classifier, nn.Module) else Called(classifier)


class Called(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,)."""
        return self.function(image)


def as_oracles(oracles: object) -> dict[str, nn.Module]:
    """Other classifiers by name; none for None."""
    if oracles is None:
        return {}
    fix = 'pass them by name, {"glasses": classifier}'
    named: Mapping[Any, Any] = instance("oracles as a mapping", oracles, Mapping, fix)
    for name in named:
        if not isinstance(name, str) or not name or "." in name:
            raise problem("names of oracles as text without a dot", repr(name), fix)
        if hasattr(nn.ModuleDict(), name):
            what = "names of oracles that torch's modules don't use for themselves"
            raise problem(what, repr(name), "choose another")
    return {name: as_classifier(each, f"a classifier as oracle '{name}'") for name, each in named.items()}


def generator_settings(generator: AnyGenerator) -> dict[str, Any]:
    """What a run's settings would say of a generator, by which a subspace's file finds it again."""
    if isinstance(generator, Generator):
        return {"_target_": CHECKPOINT, "checkpoint": generator.name, "label": generator.label}
    kind = type(generator.module if isinstance(generator, GeneratorAdapter) else generator)
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}"}


@contextmanager
def undisturbed(*networks: nn.Module) -> Iterator[None]:
    """Within, a call may do as it likes; after it, the caller's process is as it was.

    Kept are torch's global random numbers (new networks and data loaders draw some), its rounding on GPUs, whether it
    records gradients, its default type, warning filters, Lightning's log level, and the modes of networks. Within,
    gradients are recorded in single precision whatever the caller has set, but not those of networks' weights.
    """
    modes = [(each, each.training) for network in networks for each in network.modules()]
    weights = [
        (each, each.requires_grad) for network in networks for each in network.parameters() if not each.is_inference()
    ]
    kind, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    rounding = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    off = [torch.autocast(device, enabled=False) for device in ("cpu", "cuda")]
    with quiet(), torch.random.fork_rng(devices=devices), torch.inference_mode(False), off[0], off[1]:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        for weight, _ in weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            torch.set_default_dtype(kind)
            torch.set_grad_enabled(grad)
            for weight, needs in weights:
                weight.requires_grad_(needs)
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = rounding
            for each, training in modes:
                each.training = training


def _named(value: object) -> str:
    """A value that isn't what was expected, in a few words."""
    text = repr(value)
    return text if value is None or len(text) <= 40 else f"one of {type(value).__name__}"
