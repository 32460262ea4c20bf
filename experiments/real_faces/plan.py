"""When the student learns what: everything that changes in the course of a training, as a function of its progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """What holds at one step.

    Attributes:
        side: of the pictures that are compared.
        batch: people.
        rate: learning rate.
        mapping_rate: that of the student's mapping network.
        paired: weight of the distance to the teacher's picture of the same z.
        matched: weight of the distance between the discriminator's features of the two.
        adversarial: weight of the adversary's judgement; 0 as long as there is no adversary.
    """

    side: int
    batch: int
    rate: float
    mapping_rate: float
    paired: float
    matched: float
    adversarial: float


@dataclass(frozen=True)
class Plan:
    """Shares of the time, and weights.

    First pairs alone, at a coarse side and then at the full one, in many small steps at a high rate: 75 s of one core
    brought the distance at 32 px to 0.81, and 90 s in steps of 32 people at a quarter of the rate to 1.32. Then an
    adversary as well, which grows in.

    Args:
        coarse: share of the time until which pictures have the coarse side.
        alone: share of the time from which there is an adversary.
        coarse_side: of pictures, in the beginning.
        side: of pictures, later.
        batch: people per step beside an adversary; half of them in pairs alone.
        rate: learning rate in pairs alone at the beginning; it falls to that of the adversarial part.
        adversarial_rate: learning rate beside an adversary (Karras et al. 2019b: 0.002).
        mapping: how much less of it the mapping network gets there (Karras et al. 2019a, appendix C: 0.01, when both
            begin at once).
        paired: weight of pairs beside an adversary, at its beginning and at the end.
        matched: weight of matched features, likewise.
        gamma: of R1; ADA's heuristic is 0.0002 side^2 / batch (Karras et al. 2020, appendix C). With 0.1 at a batch
            of 16 the discriminator got ahead at the end.
        r1_every: steps between two R1 penalties, which weigh as many times more (Karras et al. 2019b, section 3.1).
        half_life: steps after which the averaged student has forgotten half (an average as in Karras et al. 2018).
    """

    coarse: float = 0.15
    alone: float = 0.4
    coarse_side: int = 32
    side: int = 64
    batch: int = 16
    rate: float = 0.016
    adversarial_rate: float = 0.002
    mapping: float = 0.1
    paired: tuple[float, float] = (10.0, 1.0)
    matched: tuple[float, float] = (4.0, 1.0)
    gamma: float = 0.3
    r1_every: int = 16
    half_life: int = 300

    def at(self, progress: float) -> Phase:
        """The phase at a share of the time, in 0..1."""
        side = self.coarse_side if progress < self.coarse else self.side
        if progress < self.alone:
            rate = between(self.rate, self.adversarial_rate, progress / self.alone)
            return Phase(side, self.batch // 2, rate, rate, 1.0, 0.0, 0.0)
        past = (progress - self.alone) / (1 - self.alone)
        rate = self.adversarial_rate * min(1.0, 0.1 + 6 * (1 - past))
        paired, matched = between(*self.paired, past), between(*self.matched, past)
        grown = min(1.0, (past + 1e-6) / 0.05)
        return Phase(side, self.batch, rate, rate * self.mapping, paired, matched, grown)


def between(first: float, last: float, share: float) -> float:
    """From `first` to `last` by equal factors."""
    return float(first * (last / first) ** min(1.0, max(0.0, share)))
