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


class Classifier(nn.Module):
    """Image to a binary logit.

    Args:
        size: the side that the network works at.
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
    """Anybody's classifier behind its own preprocessing, as one signed score.

    Args:
        network: (N, 3, size, size), normalised -> (N,) or (N, 1) logits, (N, C) logits or (N,) numbers, by `kind`.
        size: side at which it works; None for that of the image.
        mean: of the normalisation, per channel, of values in 0..1.
        std: of the normalisation.
        kind: binary (the logit), multiclass (the target's logit less the largest other), regression (less the target).
        target: the class, from 0, or the number from which on the decision is positive.
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
        """Nothing: the network stays in the mode in which it was read, and an exported one knows no other."""
        return self

    def outputs(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, C), what the network returns.

        Raises:
            IceError: when C doesn't suit the kind and the target.
        """
        seen = (resize(image, self.size or image.shape[-1]) - self.mean) / self.std
        out = self.network(seen).reshape(len(image), -1)
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
    """The column of `probabilities` that the decision is about; None for a regression, which has none."""
    if isinstance(classifier, Scored) and classifier.kind != "binary":
        return int(classifier.target or 0) if classifier.kind == "multiclass" else None
    return 1


def probabilities(classifier: nn.Module, image: Tensor) -> Tensor:
    """(N, 3, H, W) in 0..1 -> (N, C), rows that add up to 1.

    The softmax of a multiclass network's logits; of any other score its sigmoid, column 1, and what is left, column 0.
    """
    if isinstance(classifier, Scored) and classifier.kind == "multiclass":
        return classifier.outputs(image).double().softmax(1)
    score = classifier(image).double()
    return torch.stack([-score, score], 1).sigmoid()


def identical(one: nn.Module, other: nn.Module) -> bool:
    """Whether two classifiers decide the same by the same weights, whatever their preprocessing and their names."""

    def core(classifier: nn.Module) -> tuple[str, str, float | None]:
        if isinstance(classifier, Scored):
            return fingerprint(classifier.network), classifier.kind, classifier.target
        return fingerprint(classifier), "binary", None

    return core(one) == core(other)
