"""Explanation: people in, the smallest moves that change a classifier's mind, within a named subspace and controls."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from ice_lightning import metrics
from ice_lightning.checks import one_of, problem
from ice_lightning.counterfactuals.base import CounterfactualMethod, Counterfactuals, Score
from ice_lightning.counterfactuals.bases import Basis, EveryCoordinate, named_basis, random_bases, reach
from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.criterions import Criterion
from ice_lightning.discovery.local import LocalDirections, LocalProblem
from ice_lightning.explanation.clean import CleanCheck, Flips, where
from ice_lightning.explanation.controls import ControlSettings, reinitialised
from ice_lightning.explanation.holding import HeldFlips, Look, hold_flips
from ice_lightning.explanation.outcomes import (
    Holding,
    Moves,
    RandomOutcomes,
    by_person,
    joined,
    only_flips,
    outcomes_of,
    scatter_rows,
)
from ice_lightning.explanation.own import OwnSearch, bases_of, rows_of
from ice_lightning.explanation.probe import check_explainable, scores
from ice_lightning.explanation.rows import Rows
from ice_lightning.explanation.search import Start, search, start_of
from ice_lightning.latents import PADDING
from ice_lightning.metrics import verification
from ice_lightning.modules.classifier import index_of, probabilities
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import one_by_one
from ice_lightning.population import geometry, moving_layers, radius
from ice_lightning.subspace import Subspace

LOG = logging.getLogger("ice_lightning")


class Explainer(pl.LightningModule):
    """Searches counterfactuals for every person of a population, and measures them.

    Args:
        generator: frozen.
        classifier: image in 0..1 -> (N,) score, whose sign is the decision.
        faces: face models, for what is measured.
        subspace: where people may move.
        method: how to search.
        covariances: of each layer of the space over the population (w_l, w_l), see `population.layer_covariances`.
        population: latents (P, n) on which the classifier is checked and the randomised one scaled.
        criterion: of the subspace; its activated terms say where a change belongs.
        oracles: classifiers by name, for attributes that change as well and for slices of the population.
        controls: what a subspace is compared with.
        convention: of the metrics, out of metrics.CONVENTIONS.
        query: the oracle that reads what the classifier is asked for, which is no other attribute.
        done: rows of people who were finished before, by number.
        random_done: what is known of random subspaces, by number of a person.
        local: finds people's own directions; None where everyone moves along the subspace's.
        held: whether flips are held, which takes own directions.
        keep_directions: whether rows hold people's own directions.

    Attributes:
        rows: after the test, of everyone in the order of their numbers.
        people: how many.
        unknown: numbers of those without a finite score.
        measured: by metric.
    """

    rows: Rows
    people: int
    unknown: list[int]
    measured: dict[str, metrics.Measurement]

    def __init__(
        self,
        generator: AnyGenerator,
        classifier: nn.Module,
        faces: Faces,
        subspace: Subspace,
        method: CounterfactualMethod,
        covariances: Sequence[Tensor],
        population: Tensor,
        criterion: Criterion,
        oracles: Mapping[str, nn.Module],
        controls: ControlSettings,
        convention: str = "own",
        query: str | None = None,
        done: Mapping[int, Rows] | None = None,
        random_done: Mapping[int, RandomOutcomes] | None = None,
        local: LocalProblem | None = None,
        held: bool = False,
        keep_directions: bool = False,
    ) -> None:
        super().__init__()
        self.convention = one_of("metrics.convention", convention, metrics.CONVENTIONS)
        if query is not None:
            one_of("metrics.query", query, oracles)
        self.generator, self.classifier, self.faces = generator, classifier, faces
        self.space, self.method, self.criterion = subspace.space, method, criterion
        self.oracles, self.controls = nn.ModuleDict(oracles), controls
        self.population: Tensor
        self.register_buffer("population", population, persistent=False)
        moving = moving_layers(subspace.directions, generator.widths(subspace.space))
        everywhere, self.metric = geometry(list(covariances)), geometry(list(covariances), moving)
        self.own = None if local is None else OwnSearch(local, subspace.directions.shape[1])
        self.terms = nn.ModuleList([] if local is None else local.criterion.terms)
        self.held, self.keep_directions = held, keep_directions
        average = subspace if self.own is None else subspace.strongest(self.own.count)
        self.basis = named_basis(average.directions, self.metric)
        self.everything = EveryCoordinate(everywhere)
        self.random = random_bases(everywhere, self.basis.dim, controls.subspaces, controls.seed)
        self.random_done, self.done = dict(random_done or {}), dict(done or {})
        self.check: CleanCheck | None = None
        self.randomised_classifier: nn.Module | None = None
        self.randomised_scale = (0.0, 1.0)
        measured: dict[str, Metric] = {
            "flip_rate": metrics.FlipRate(),
            "image_l1": metrics.ImageDistance(1),
            "image_l2": metrics.ImageDistance(2),
            "image_linf": metrics.ImageDistance(torch.inf),
            "locality": metrics.Locality(),
        }
        if others := [oracle for name, oracle in oracles.items() if name != query]:
            measured |= {"mnac": metrics.MNAC(convention), "cd": metrics.CD(1 + len(others), convention)}
        # Not registered again: these are the oracles and the classifier.
        asks_oracle = query is not None and convention == "ace"
        self.asked: tuple[nn.Module, ...] = (oracles[str(query)] if asks_oracle else classifier, *others)
        if index_of(classifier) is not None:
            measured["cout"] = metrics.COUT(convention)
        if faces.identity is not None:
            with torch.no_grad():
                features = faces.identity(torch.zeros(1, 3, generator.resolution, generator.resolution))
            measured |= {"identity_cosine": metrics.IdentityCosine()}
            measured["frechet"] = metrics.Frechet(features.shape[1], convention)
        self.metrics = nn.ModuleDict(measured)

    def draw(self, v: Tensor) -> Tensor:
        """Latents (N, n) -> images (N, 3, H, W) as they are shown, in 0..1."""
        return self.generator(v, self.space).clamp(0, 1)

    def score(self, v: Tensor) -> Tensor:
        """Latents (N, n) -> (N,)."""
        return self.classifier(self.draw(v))

    @torch.no_grad()
    def counterfactuals(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) of some people and of their counterfactuals."""
        assert rows.moves is not None
        return self.draw(rows.moves.u.to(self.device)), self.draw(rows.moves.end.to(self.device))

    def on_test_start(self) -> None:
        """Probe the classifier, and scale the randomised one, alike on every rank."""
        self.basis, self.everything = self.basis.to(self.population), self.everything.to(self.population)
        self.random = [basis.to(self.population) for basis in self.random]
        if self.own is not None:
            self.own.prepare(self.population)
        some = self.population[:16]
        with torch.no_grad():
            images = self.draw(some)
            for name, oracle in self.oracles.items():
                scores(f"oracle '{name}'", oracle, images)
        check_explainable(self.classifier, images)
        self.check = CleanCheck.of(self.draw, self.faces, self.criterion, self.population)
        if self.controls.weights:
            self.randomised_classifier = randomised = reinitialised(self.classifier, self.controls.seed)
            if randomised is not None:
                with torch.no_grad():
                    images = torch.cat([self.draw(part) for part in self.population[:64].split(16)])
                    r, s = (torch.cat([f(part) for part in images.split(16)]) for f in (randomised, self.classifier))
                width = float(s[s.isfinite()].std() / r.std().clamp_min(1e-12))
                self.randomised_scale = float(r.median()), width

    def randomised_score(self, v: Tensor) -> Tensor:
        """The randomised classifier, which calls half of the people positive, with the spread of the true one."""
        assert self.randomised_classifier is not None
        centre, width = self.randomised_scale
        return (self.randomised_classifier(self.draw(v)) - centre) * width

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Rows]:
        """Search for people {"index": (B,), "u": (B, n)} who aren't done, and measure all of them.

        Returns:
            {"rows": of these people}; {} where all are padding.
        """
        here = batch["index"] != PADDING
        numbers, U = batch["index"][here].tolist(), batch["u"][here]
        new = [i for i, number in enumerate(numbers) if number not in self.done]
        if new:
            found = self.explain([numbers[i] for i in new], U[new])
            self.done |= by_person(found.number, found)
        if not numbers:
            return {}
        rows = joined([self.done[number] for number in numbers])
        self.measure(U, rows.map(lambda column: column.to(U.device)))
        return {"rows": rows}

    def explain(self, numbers: Sequence[int], U: Tensor) -> Rows:
        """Search in the subspace and in the controls, people U (N, n); rows are on the CPU."""
        with torch.no_grad():
            images = torch.cat(one_by_one(self.draw, U))
            before = self.classifier(images)
            asked = [oracle(images) for oracle in self.oracles.values()]
        known = before.isfinite()
        everyone = partial(scatter_rows, known=known)
        u, image = U[known], images[known]
        own = self.own_directions(u)
        basis = self.basis if own is None or not len(u) else bases_of(own, self.basis, self.metric).to(u)
        start = start_of(self.score, u)
        moves, change = search(self.method, self.score, self.draw, u, basis, image, start=start)
        named, step = outcomes_of(moves, change), basis.displace(torch.zeros_like(u), moves.t)
        end, holding = basis.displace(u, moves.t), None
        if self.held and own is not None:
            held = self.hold(own, u, image, moves, end)
            holding, named = Holding(held.found, named.effort), held.outcomes(named)
            step = torch.where(held.replaced[:, None], held.end - u, step)
            moves = moves._replace(after=held.after, evaluations=moves.evaluations + held.evaluations)
            end = held.end
        flips: dict[str, Flips] = {"named": (end, named.flipped)}
        weights = unrestricted = None
        if self.randomised_classifier is not None:
            found, change = search(self.method, self.randomised_score, self.draw, u, basis, image)
            weights, flips["weights"] = outcomes_of(found, change), (basis.displace(u, found.t), found.flipped)
        if self.controls.unrestricted:
            found, change = self.unrestricted(u, image, moves, step)
            unrestricted = outcomes_of(found, change)
            flips["unrestricted"] = self.everything.displace(u, found.t), found.flipped
        random = self.against_random(numbers, U, images, known, start) if self.random else None
        clean = None
        if self.check is not None:
            in_random = (
                [] if random is None else self.random_flips(u, random.map(lambda each: each[known.cpu()].to(u.device)))
            )
            clean = self.check.rows(image, flips, in_random).map(everyone)
        return Rows(
            number=torch.tensor(numbers),
            before=everyone(moves.before),
            oracles=torch.stack(asked, 1) if asked else U.new_zeros(len(U), 0),
            named=named.map(everyone),
            moves=Moves(U, *map(everyone, (moves.t, moves.after, moves.evaluations, end))),
            weights=weights and weights.map(everyone),
            unrestricted=unrestricted and unrestricted.map(everyone),
            random=random,
            clean=clean,
            own=None if own is None else rows_of(own, self.keep_directions).map(everyone),
            holding=holding and holding.map(everyone),
        ).map(Tensor.cpu)

    def own_directions(self, u: Tensor) -> LocalDirections | None:
        """Of people (N, n); None where everyone moves along the subspace's."""
        if self.own is None:
            return None
        people: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        left = -(-(len(people.latents) - len(self.done)) // self.trainer.world_size)
        return self.own(u, left)

    def hold(self, own: LocalDirections, u: Tensor, images: Tensor, moves: Counterfactuals, ends: Tensor) -> HeldFlips:
        """Hold the flips of people u (N, n)."""
        assert self.own is not None
        margin, bound = float(getattr(self.method, "margin", 0.0)), reach(self.basis, self.method.bound)
        look = Look(self.score, self.draw, self.metric, margin)
        return hold_flips(self.own.local, own, look, u, images, moves, ends, bound, self.own.batch)

    def unrestricted(
        self, u: Tensor, images: Tensor, named: Counterfactuals, steps: Tensor
    ) -> tuple[Counterfactuals, Tensor]:
        """Search in all coordinates at once, from the original and from the named flips, of which none is missed.

        Args:
            u: people (N, n).
            images: of them.
            named: what the named search has found.
            steps: (N, n) from the people to where that is.
        """
        # A method that tries each direction would try every coordinate.
        plain = self.method if isinstance(self.method, Gradient) else Gradient()
        farthest = max(radius(self.everything.dim), self.method.bound or 0.0)
        known = named._replace(t=self.everything.geometry.coordinates(steps))

        def method(score: Score, u: Tensor, basis: Basis, *columns: Tensor) -> Counterfactuals:
            moves = Counterfactuals(*columns)  # of a method without a ball they may lie farther
            bound = max(farthest, *moves.t.norm(dim=1).tolist())
            return replace(plain, bound=bound)(score, u, basis, moves)

        return search(method, self.score, self.draw, u, self.everything, images, *known)

    def against_random(
        self, numbers: Sequence[int], U: Tensor, images: Tensor, known: Tensor, start: Start
    ) -> RandomOutcomes:
        """Outcomes in every whole random subspace, of those of U (N, n) to whom it is applied; start: of known ones."""
        applied = known & torch.tensor([number < self.controls.people for number in numbers], device=known.device)
        places = applied.nonzero()[:, 0].tolist()
        if new := [i for i in places if numbers[i] not in self.random_done]:
            at = known.cumsum(0)[new] - 1  # places among the known
            same = Start(*(column[at] for column in start))
            look = partial(search, self.method, self.score, self.draw, U[new], images=images[new], start=same)
            ends = [look(basis) for basis in self.random]
            outcomes = RandomOutcomes(
                applied=applied[new],
                flipped=torch.stack([moves.flipped for moves, _ in ends], 1),
                change=torch.stack([only_flips(change, moves.flipped) for moves, change in ends], 1),
                t=torch.stack([moves.t for moves, _ in ends], 1),
            ).map(Tensor.cpu)
            self.random_done |= by_person(torch.tensor([numbers[i] for i in new]), outcomes)
        none = torch.zeros(0, len(self.random), dtype=torch.bool)
        nobody = RandomOutcomes(none[:, 0], none, none.float(), torch.zeros(0, len(self.random), self.basis.dim))
        found = [self.random_done[numbers[i]] for i in places]
        return joined([nobody, *found]).map(partial(scatter_rows, known=applied.cpu()))

    def random_flips(self, u: Tensor, found: RandomOutcomes) -> list[Flips]:
        """Where people u (N, n) flip in each random subspace (N, n), and who does (N,) bool."""
        assert found.t is not None
        moves = zip(self.random, found.t.unbind(1), found.flipped.unbind(1), strict=True)
        return [(basis.displace(u, t), flipped) for basis, t, flipped in moves]

    def on_test_epoch_start(self) -> None:
        """Find out when the identity network takes two pictures for the same person, alike on every rank."""
        if self.faces.identity is None:
            return
        threshold, facts = metrics.ACE_THRESHOLD, dict[str, float]()
        if self.convention == "own":
            with torch.no_grad():
                some = [self.draw(part) for part in self.population[: verification.PEOPLE].split(16)]
            threshold, error = verification.verification(self.faces.identity, some)
            facts = {"equal_error_rate": error}
            if not error <= verification.WORST:
                if self.trainer.is_global_zero:
                    why = f"equal error rate {error:.0%}, more than {verification.WORST:.0%}"
                    LOG.warning(f"fva is left out: the identity network can't tell these people apart ({why})")
                return
        self.metrics["fva"] = metrics.FVA(threshold, convention=self.convention, **facts).to(self.device)

    @torch.no_grad()
    def measure(self, U: Tensor, rows: Rows) -> None:
        """Add what is measured of people U (N, n) and their rows."""
        known = rows.before.isfinite()
        if not known.any():
            return
        U, rows = U[known], rows.select(known)
        flipped = rows.named.flipped
        m: Any = self.metrics
        assert rows.moves is not None
        x, other = self.draw(U), self.draw(rows.moves.end.to(U))
        m["flip_rate"].update(flipped)
        for name in ("image_l1", "image_l2", "image_linf"):
            m[name].update(x, other, flipped)
        masks, other_masks = (where(self.faces, self.criterion, each) for each in (x, other))
        if masks is not None and other_masks is not None:
            m["locality"].update(x, other, masks, other_masks, flipped)
        if self.faces.identity is not None:
            e, e_other = self.faces.identity(x), self.faces.identity(other)
            m["identity_cosine"].update(e, e_other, flipped)
            m["frechet"].update(e, e_other, rows.number, flipped)
            if "fva" in m:
                m["fva"].update(e, e_other, flipped)
        if "cd" in m:
            before, after = (torch.stack([f(image) for f in self.asked], 1) for image in (x, other))
            m["mnac"].update(before, after, flipped)
            m["cd"].update(before, after, flipped)
        counted = torch.ones_like(flipped) if self.convention == "ace" else flipped
        index = index_of(self.classifier)
        if index is not None and counted.any():
            x, other = x[counted], other[counted]
            p = partial(probabilities, self.classifier)
            source, target = metrics.source_and_target(p(x), p(other), index)
            along = metrics.transition(p, x, other, source, target, convention=self.convention)
            m["cout"].update(along, torch.ones_like(along, dtype=torch.bool))

    def on_test_epoch_end(self) -> None:
        """Bring together what every rank has found."""
        if self.own is not None:
            self.own.warn()
        measured: dict[str, Any] = dict(self.metrics.items())
        of_this_rank = self.done, Counter({name: int(metric.count) for name, metric in measured.items()})
        ranks: list[Any] = [of_this_rank]
        if self.trainer.world_size > 1:
            ranks = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(ranks, of_this_rank)
        people = {number: row for done, _ in ranks for number, row in done.items()}
        counts: Counter[str] = sum((counts for _, counts in ranks), Counter())
        self.rows = joined([people[number] for number in sorted(people)])
        unknown = self.rows.number[~self.rows.before.isfinite()].tolist()
        if len(unknown) == len(people):
            raise problem("people of whom the classifier has a finite score", "none", "check its size, mean and std")
        self.people, self.unknown, self.measured = len(people), unknown, {}
        for name, metric in measured.items():
            self.measured |= metrics.measurements(name, metric, counts[name])
