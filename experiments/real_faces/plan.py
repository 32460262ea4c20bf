"""When the student learns what: everything that changes in the course of a training, as a function of its progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """What holds at one step.

    Args:
        side: of the pictures that are compared.
        rate: Adam's learning rate, of both networks.
        beta: Adam's first decay rate, of the generator.
        paired: weight of the distance to the teacher's picture of the same z.
        matched: weight of the distance between the discriminator's features of the two.
        adversarial: weight of the adversary's judgement; 0 as long as there is no adversary.
    """

    side: int
    rate: float
    beta: float
    paired: float
    matched: float
    adversarial: float


@dataclass(frozen=True)
class Plan:
    """Shares of the time, and weights.

    First pairs alone, at a coarse side and then at the full one; then an adversary as well, whose part grows in.

    Args:
        coarse: share of the time until which pictures have the coarse side.
        alone: share of the time from which there is an adversary.
        rate: learning rate in pairs alone; it falls to that of the adversarial part.
        adversarial_rate: learning rate beside an adversary (Karras et al. 2019b: 0.002).
        paired: weight of pairs beside an adversary, at its beginning and at the end.
        matched: weight of matched features, likewise.
        gamma: of R1; ADA's heuristic (Karras et al. 2020, appendix C) is 0.0002 side^2 / batch.
        r1_every: steps between two R1 penalties, which weigh as many times more (Karras et al. 2019b, section 3.1).
        follow: pictures after which the averaged generator has forgotten half (Karras et al. 2018, section 5).
    """

    coarse: float = 0.12
    alone: float = 0.45
    coarse_side: int = 32
    side: int = 64
    rate: float = 0.004
    adversarial_rate: float = 0.002
    paired: tuple[float, float] = (10.0, 1.0)
    matched: tuple[float, float] = (4.0, 1.0)
    gamma: float = 0.1
    r1_every: int = 16
    follow: int = 5000

    def at(self, progress: float) -> Phase:
        """The phase at a share of the time, in 0..1."""
        side = self.coarse_side if progress < self.coarse else self.side
        if progress < self.alone:
            return Phase(side, between(self.rate, self.adversarial_rate, progress / self.alone), 0.9, 1.0, 0.0, 0.0)
        past = (progress - self.alone) / (1 - self.alone)
        return Phase(
            side,
            self.adversarial_rate * min(1.0, 0.1 + 6 * (1 - past)),
            0.0,
            between(*self.paired, past),
            between(*self.matched, past),
            min(1.0, past / 0.05),
        )


def between(first: float, last: float, share: float) -> float:
    """From `first` to `last` by equal factors."""
    return float(first * (last / first) ** min(1.0, max(0.0, share)))
