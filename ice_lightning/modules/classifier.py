"""Classifiers: an image in, one signed score out, whose sign is the decision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.modules.fingerprint import fingerprint
from ice_lightning.modules.layers import Trunk
from ice_lightning.ops.sampling import resize

KINDS = ("binary", "multiclass", "regression")
"""What a classifier's output means; see Scored."""


class Classifier(nn.Module):
    """Image to a binary logit.

    Args:
        size: the resolution that the network works at, a multiple of 2^len(widths).
        widths: channels of the encoder's stages.
    """

    def __init__(self, size: int = 64, widths: tuple[int, ...] = (16, 32, 48, 64)) -> None:
        super().__init__()
        self.size = size
        self.trunk = Trunk(tuple(widths))
        self.head = nn.Linear(widths[-1] * (size >> len(widths)) ** 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,) logits; positive means that the attribute is there."""
        return self.head(self.trunk(resize(image, self.size))[-1].flatten(1))[:, 0]


class Scored(nn.Module):
    """A user's own classifier behind its preprocessing, as one signed score.

    Args:
        network: (N, 3, size, size), normalised -> (N,) or (N, 1) logits, (N, C) logits or (N,) numbers, by `kind`.
        size: the resolution that it works at; None for that of the image.
        mean: of the normalisation, per channel, of values in 0..1.
        std: of the normalisation, per channel, of values in 0..1.
        kind: binary (the score is the logit), multiclass (the target's logit less the largest other) or regression
            (the number less the target).
        target: the class, from 0, or the number from which on the decision is positive.

    Raises:
        IceError: for another kind, a binary classifier with a target, or another one without.
    """

    def __init__(
        self,
        network: nn.Module,
        size: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        kind: str = "binary",
        target: float | None = None,
    ) -> None:
        super().__init__()
        one_of("classifier.kind", kind, KINDS)
        if (kind == "binary") != (target is None):
            fix = "set classifier.target to a class or a number with multiclass and regression, and leave it out else"
            raise problem(f"a target that suits classifier.kind={kind}", target, fix)
        self.network, self.size, self.kind, self.target = network, size, kind, target
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Scored:
        """Change nothing: the network stays in the mode in which it was read; an exported one has no other."""
        return self

    def outputs(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, C), what the network returns.

        Raises:
            IceError: when C doesn't suit the kind and the target.
        """
        normalised = (resize(image, self.size or image.shape[-1]) - self.mean) / self.std
        out = self.network(normalised).reshape(len(image), -1)
        columns = out.shape[1]
        if self.kind == "multiclass" and not (columns > 1 and 0 <= int(self.target or 0) < columns):
            raise problem(f"a class from 0 to {columns - 1}", self.target, "set classifier.target to one of them")
        if self.kind != "multiclass" and columns != 1:
            fix = "set classifier.kind=multiclass and classifier.target to a class"
            raise problem(f"one number per image of a {self.kind} classifier", columns, fix)
        return out

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,)."""
        out = self.outputs(image)
        if self.kind != "multiclass":
            return out[:, 0] - (self.target or 0.0)
        index = int(self.target or 0)
        return out[:, index] - torch.cat([out[:, :index], out[:, index + 1 :]], 1).amax(1)


def index_of(classifier: nn.Module) -> int | None:
    """The column of `probabilities` that the decision is about; None for a regression, which has none.

    Example:
        >>> index_of(Scored(nn.Identity(), kind="multiclass", target=2)), index_of(nn.Identity())
        (2, 1)
    """
    if isinstance(classifier, Scored) and classifier.kind != "binary":
        return int(classifier.target or 0) if classifier.kind == "multiclass" else None
    return 1


def probabilities(classifier: nn.Module, image: Tensor) -> Tensor:
    """What a classifier gives each class.

    The softmax of a multiclass network's logits; of any other score its sigmoid, column 1, and what is left, column 0.

    Args:
        classifier: image -> (N,) scores.
        image: (N, 3, H, W) in 0..1.

    Returns:
        (N, C) float64, rows that add up to 1.

    Example:
        >>> probabilities(lambda image: image.mean((1, 2, 3)), torch.zeros(1, 3, 2, 2))
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if isinstance(classifier, Scored) and classifier.kind == "multiclass":
        return classifier.outputs(image).double().softmax(1)
    score = classifier(image).double()
    return torch.stack([-score, score], 1).sigmoid()


def identical(one: nn.Module, other: nn.Module) -> bool:
    """Whether two classifiers decide the same by the same weights, whatever their preprocessing and their names.

    Args:
        one: image -> (N,) scores.
        other: image -> (N,) scores.

    Returns:
        True where their networks' fingerprints, kinds and targets are the same.

    Example:
        >>> network = nn.Flatten()
        >>> identical(Scored(network, size=8), Scored(network)), identical(network, nn.Linear(2, 1))
        (True, False)
    """

    def core(classifier: nn.Module) -> tuple[str, str, float | None]:
        if isinstance(classifier, Scored):
            return fingerprint(classifier.network), classifier.kind, classifier.target
        return fingerprint(classifier), "binary", None

    return core(one) == core(other)
