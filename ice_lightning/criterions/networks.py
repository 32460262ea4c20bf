"""Terms that are a network's own output: identity, and what a classifier says."""

from __future__ import annotations

from torch import Tensor, nn

from ice_lightning.checks import problem
from ice_lightning.criterions.term import Analysis, Term


class Identity(Term):
    """The identity embedding, a unit vector.

    Args:
        identity: the network, image -> (N, d) unit vectors.
    """

    needs = ("identity",)
    label = "Identity"

    def __init__(self, identity: nn.Module) -> None:
        super().__init__()
        self.identity = identity

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, d)."""
        return self.identity(image)


def pick_logit(logits: Tensor, index: int) -> Tensor:
    """One class of a classifier's output.

    Args:
        logits: (N,) or (N, K).
        index: which of K classes, from 0.

    Returns:
        (N, 1).

    Raises:
        IceError: for an index that the classifier doesn't have.

    Example:
        >>> import torch
        >>> pick_logit(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1)
        tensor([[2.],
                [4.]])
    """
    logits = logits.reshape(len(logits), -1)
    if not 0 <= index < logits.shape[1]:
        raise problem(f"a class from 0 to {logits.shape[1] - 1}", index, "the classifier has no more outputs")
    return logits[:, index : index + 1]


class ClassifierLogit(Term):
    """What a classifier says, before any sigmoid or softmax.

    Args:
        classifier: image -> (N,) or (N, K) logits; in a config, `${classifier}` is the one chosen by classifier=NAME.
        index: which of K classes, from 0.

    Raises:
        IceError: without a classifier.

    Example:
        >>> import torch
        >>> channels = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # three logits: red, green and blue
        >>> image = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        >>> ClassifierLogit(channels, index=2)(image, Analysis(torch.zeros(1, 8, 8), torch.zeros(1, 68, 2)))
        tensor([[0.3000]])
    """

    features = 1

    def __init__(self, classifier: nn.Module | None, index: int = 0) -> None:
        super().__init__()
        if classifier is None:
            raise problem("a classifier for ClassifierLogit", "none", "add classifier=smiling or another one")
        self.classifier, self.index = classifier, index
        self.label = "ClassifierLogit"

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 1)."""
        return pick_logit(self.classifier(image), self.index)
