"""What a criterion is made of: terms to activate, terms to suppress, and how the one is kept out of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ice_lightning.checks import at_least, is_number, one_of, problem, ratio

PROJECTIONS = ("early", "late", "soft", "mixed")
"""How suppressed directions are kept out; see Criterion."""


class Analysis(NamedTuple):
    """What the face models see in an image, without gradient.

    Attributes:
        parse: (N, H, W) int64, CelebAMask-HQ ids; 19 for what the parser can't tell, which is no region.
        landmarks: (N, 68, 2) in pixels, (x, y).

    Example:
        >>> from ice_lightning.synthetic import neutral, render
        >>> people = render(neutral(2), 32)
        >>> seen = Analysis(people.parse, people.landmarks)
        >>> tuple(seen.parse.shape), tuple(seen.landmarks.shape)
        ((2, 32, 32), (2, 68, 2))
    """

    parse: Tensor
    landmarks: Tensor


class Term(nn.Module):
    """Something that a person can name in an image, as features whose energy is a mean square.

    A term declares its facts here; `forward(image (N, 3, H, W), analysis) -> (N, m)` holds only the call of its
    pure function. The analysis is that of the image at which one differentiates, held fixed.

    Attributes:
        needs: face models that the constructor takes, by their names in Faces.
        forward_mode: whether torch.func.jvp goes through; without it, products take two backward passes.
        features: how many, or None where that depends on the person.
        size: the resolution at which the image is read, or None where the network decides.
        label: what a table calls the term.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    forward_mode: ClassVar[bool] = True
    features: int | None = None
    size: int | None = None
    label: str = ""

    def empty(self, analysis: Analysis) -> Tensor:
        """(N,) bool: who lacks what this term looks at, and is left out; nobody, unless a term says otherwise."""
        return torch.zeros(len(analysis.parse), dtype=torch.bool, device=analysis.parse.device)

    def where(self, analysis: Analysis) -> Tensor | None:
        """(N, H, W) in 0..1: where in the image this term looks; None for everywhere, unless a term says otherwise."""
        return None


@dataclass(frozen=True)
class Activate:
    """A term whose energy is wanted.

    Attributes:
        term: the module.
        weight: factor on its energy in the sum over activated terms, above 0.

    Raises:
        IceError: for another weight.
    """

    term: Term
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a weight of 0 or less."""
        if not self.weight > 0:
            raise problem(f"a weight above 0 for {self.term.label}", self.weight, "drop the term to switch it off")


FINEST = 1e-7
"""Of ratios with a soft projection. Products with Jacobians are of float32: an energy that is a smaller share of the
term's largest is their rounding, and would be charged for as if it were the term's."""


@dataclass(frozen=True)
class Suppress:
    """A term to keep still, and how much of its largest eigenvalue a direction may have.

    Attributes:
        term: the module.
        ratio: in (0, 1]: a direction may have this share of the term's largest eigenvalue.

    Raises:
        IceError: for another ratio.
    """

    term: Term
    ratio: float

    def __post_init__(self) -> None:
        """Refuse a ratio outside (0, 1]."""
        ratio(f"the ratio of {self.term.label}", self.ratio)


@dataclass(frozen=True)
class Criterion:
    """Terms to activate and terms to suppress, each under a name of its own.

    Attributes:
        name: of the preset.
        description: one line.
        activate: terms whose energy is wanted.
        suppress: terms whose energy isn't.
        projection: how suppressed directions are kept out. early: out of the energies, before the search; late: out of
            the directions found without them (both Li et al. 2022); soft: by their energies as a metric; mixed: some
            terms early, some late.
        late: with mixed, the names of the suppressed terms that are projected out late; the others are early.
        activate_ratio: in (0, 1]; directions of at least this share of the largest eigenvalue are kept.
        rank: keep at most so many; None for all.
        local_relaxation: from 1 to 1e6; a single person's own energies are charged as if every ratio were so many times
            as large, see docs/concepts.md.

    Raises:
        IceError: for a criterion that could not give a subspace.

    Example:
        >>> from ice_lightning.criterions import RegionColor, RegionResidual
        >>> colour, texture = RegionColor(["skin", "nose"]), RegionResidual(["skin", "nose"])
        >>> kept = {"texture": Suppress(texture, ratio=1e-3)}
        >>> Criterion("skin", "Skin's colour, not its texture", {"colour": Activate(colour)}, kept).projection
        'early'
    """

    name: str
    description: str
    activate: Mapping[str, Activate]
    suppress: Mapping[str, Suppress] = field(default_factory=dict)
    projection: str = "early"
    late: tuple[str, ...] = ()
    activate_ratio: float = 1e-2
    rank: int | None = None
    local_relaxation: float = 1.0

    @property
    def terms(self) -> list[Term]:
        """Of all features, those of the activated ones first."""
        return [each.term for each in self.activate.values()] + [each.term for each in self.suppress.values()]

    def __post_init__(self) -> None:
        """Refuse what could not give a subspace."""
        at_least("activated terms", len(self.activate), 1)
        ratio("activate_ratio", self.activate_ratio)
        one_of("projection", self.projection, PROJECTIONS)
        if self.rank is not None:
            at_least("rank", self.rank, 1)
        if not is_number(self.local_relaxation) or not 1 <= self.local_relaxation <= 1e6:
            what = "local_relaxation as a number from 1 to 1e6"
            raise problem(what, repr(self.local_relaxation), "set it to 1 to charge a person in full")
        for name in self.late:
            one_of("suppressed term to project late", name, self.suppress)
        if (self.projection == "mixed") != bool(self.late):
            given = ", ".join(self.late) or "none"
            fix = "name some terms in criterion.late, and set criterion.projection to mixed"
            raise problem(f"names of late terms with mixed and only with mixed ({self.projection})", given, fix)
        fine = [name for name, each in self.suppress.items() if each.ratio < FINEST]
        if self.projection == "soft" and fine:
            what = f"ratios from {FINEST:g} on with a soft projection"
            raise problem(what, f"{self.suppress[fine[0]].ratio} of {fine[0]}", f"set it to {FINEST:g}")
