"""What a classifier has to be before it can be explained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ice_lightning.checks import IceError, problem


def check_explainable(classifier: nn.Module, image: Tensor) -> None:
    """Refuse a classifier that can't be explained.

    Args:
        classifier: images -> scores.
        image: (N, 3, H, W) in 0..1, of several people.

    Raises:
        IceError: unless it gives one score per image, the same each time, alone or in a batch, finite for someone,
            and with a gradient.
    """
    with torch.enable_grad():
        seen = image.detach().clone().requires_grad_()
        score = scores("a classifier", classifier, seen)
    with torch.no_grad():
        again, alone = (scores("a classifier", classifier, part) for part in (image, image[:1]))
    known = score.detach().isfinite()
    if not known.any():
        raise problem("a finite score for someone", "none", "check the classifier's size, mean and std")
    if not torch.equal(score.detach()[known], again[known]):
        fix = "put it into eval mode and switch its randomness off"
        raise problem("a classifier that says the same twice", "another score for the same image", fix)
    if known[0] and (alone - score[:1]).abs() > 1e-3 * (1 + score[:1].abs()):
        fix = "put its batch normalisation into eval mode"
        raise problem("a classifier that sees each image by itself", "another score beside other images", fix)
    with torch.enable_grad():
        g = torch.autograd.grad(score[known].sum(), seen)[0] if score.requires_grad else torch.zeros(1)
    if not g[g.isfinite()].any():
        same = len(score) > 1 and bool((score[known] == score[known][0]).all())
        got = "a constant" if same else "one without a gradient"
        raise problem("a classifier whose score changes with the image", got, "pass its logits, before any threshold")


def scores(what: str, classifier: nn.Module, image: Tensor) -> Tensor:
    """What a classifier says of images, where it is one score for each.

    Args:
        what: it is, for the error.
        classifier: images -> scores.
        image: (N, 3, H, W) in 0..1.

    Returns:
        (N,), as the classifier gives them.

    Raises:
        IceError: where it fails, or gives anything else.

    Example:
        >>> scores("a classifier", nn.Sequential(nn.Flatten(), nn.Flatten(0)), torch.ones(2, 1, 1, 1))
        tensor([1., 1.])
    """
    try:
        score = classifier(image)
    except IceError:
        raise
    except Exception as error:  # whatever a user's own code may raise
        got = f"{type(error).__name__}: {str(error).split(chr(10))[0]}"
        fix = "set classifier.size to the side that it takes, and export it with a dynamic first dimension"
        raise problem(f"{what} that takes images of shape {tuple(image.shape)}", got, fix) from error
    if not isinstance(score, Tensor):
        raise problem(f"scores (N,) as a tensor from {what}", type(score).__name__, "return a tensor of logits")
    if score.shape != (len(image),):
        raise problem(f"one score per image from {what}, ({len(image)},)", tuple(score.shape), "return a single logit")
    if not score.is_floating_point() or score.dtype == torch.float64:
        fix = "return logits, before any threshold, with .float()"
        raise problem(f"scores of {what} as torch.float32", score.dtype, fix)
    return score
