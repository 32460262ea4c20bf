"""What an explanation says in its metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ice_lightning.explanation.verdict import SubspaceVerdict
from ice_lightning.metrics import Measurement


@dataclass(frozen=True)
class ExplanationMetrics:
    """What an explanation says by itself.

    Attributes:
        classifier: its name.
        found: how many flip, and against what.
        people: how many were explained.
        unknown: numbers of those without a finite score, who are in no denominator.
        measured: what else changes, by metric.
        images_per_person: images that the search made.
        seconds: of this run; an interrupted one began anew.
    """

    classifier: str
    found: SubspaceVerdict
    people: int
    unknown: tuple[int, ...]
    measured: Mapping[str, Measurement]
    images_per_person: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        found = self.found.to_json()
        return {
            "classifier": self.classifier,
            "criterion": found.pop("criterion"),
            "flip_rate": found.pop("rate"),
            **found,
            "people": self.people,
            "without_a_finite_score": list(self.unknown),
            "measured": {name: each.to_json() for name, each in self.measured.items()},
            "images_per_person": self.images_per_person,
            "seconds": self.seconds,
        }

    def scalars(self) -> dict[str, float]:
        """What loggers draw, by their names there."""
        found = self.found
        scalars: dict[str, Any] = {
            name: value for name, value in self.to_json().items() if isinstance(value, int | float)
        }
        scalars |= {name: each.value for name, each in self.measured.items()}
        scalars |= {f"control/{name}": each.rate for name, each in found.controls.items()}
        if found.significance is not None:
            scalars |= {"control/random": found.significance.random_rate, "score": found.significance.score}
        return scalars
