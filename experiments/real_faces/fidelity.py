"""How far a student's pictures are from the teacher's: Frechet distance in a recognition network's features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from dcgan import DCGAN
from torch import Tensor, nn

from ice_lightning.faces.pretrained import load_pretrained
from ice_lightning.files import cached
from ice_lightning.metrics import frechet, gaussian, moments
from ice_lightning.modules.face_recognition import Recognition
from ice_lightning.modules.stylegan2 import Generator

PEOPLE, SEED = 2000, 20_000_000


class Fidelity:
    """The distance of two populations, 0 where they are alike but for what chance does (Heusel et al. 2017).

    The student draws the people of one half of the seeds, the teacher those of both: what its halves differ by is the
    floor, which a perfect student would reach.

    Args:
        teacher: draws from z.
        features: pictures (N, 3, H, W) in 0..1 -> (N, d).
        people: in each half.
    """

    def __init__(self, teacher: DCGAN, features: nn.Module, people: int = PEOPLE) -> None:
        self.features, self.people, self.teacher = features, people, teacher
        self.half = teacher.sample(people, SEED + people)
        self.true: tuple[Tensor, Tensor] | None = None
        self.floor = 0.0

    @classmethod
    def of(cls, teacher: DCGAN) -> Fidelity | None:
        """By face-api's recognition network, as get.py has written it; None where it isn't there."""
        path = cached("recognition.safetensors")
        if not path.exists():
            return None
        net = load_pretrained(path, "face-api's recognition network", lambda state: Recognition())
        return cls(teacher, net.to(next(teacher.parameters()).device))

    def __call__(self, student: Generator) -> tuple[float, float]:
        """Distances of the student, and of the teacher from itself."""
        if self.true is None:
            self.true = self.fitted(self.teacher, self.teacher.sample(self.people, SEED))
            self.floor = float(frechet(self.true, self.fitted(self.teacher, self.half)))
        return float(frechet(self.true, self.fitted(student, self.half))), self.floor

    @torch.no_grad()
    def fitted(self, draw: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of the features of drawn people, float64."""
        parts = (moments(self.features(draw(part).clamp(0, 1)).double().cpu()) for part in z.split(50))
        return gaussian(sum(parts, torch.zeros(())))
