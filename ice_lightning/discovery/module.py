"""Discovery: people in, a named subspace out; every epoch of `trainer.fit` answers one query of the search."""

from __future__ import annotations

import copy
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.discovery.evaluate import Accumulator, evaluate, used_terms, wanted_energy
from ice_lightning.discovery.features import LeftOut, MovingCoordinates, PersonFeatures, analyse, problem_of
from ice_lightning.discovery.metrics import DiscoveryMetrics, explained_energy, leakage
from ice_lightning.jacobians.linearize import ROUNDING, Jacobian, check_repeatable, graph_bytes
from ice_lightning.latents import PADDING
from ice_lightning.metrics.subspace import outliers
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import Batch, as_bytes, choose_parallelism, graphs_kept, map_threads
from ice_lightning.renamed import renamed
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.solvers.problem import VERSION, Reply, together
from ice_lightning.solvers.projection import ProjectedResult
from ice_lightning.solvers.result import Solution
from ice_lightning.solvers.stability import GROUPS

HALVED = 8
"""From so many people on, sums are kept by groups, for the stability figure."""


PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of the generator, while products are taken: tf32 is for GPUs, and rounds what goes into convolutions to ten bits;
bfloat16 has eight, of weights and activations. Face models, features and sums are not touched."""
COARSE = 0.03
"""See linearize.ROUNDING, for the precisions that have fewer bits."""


class Stage(NamedTuple):
    """What a discovery is at.

    Attributes:
        pass_number: from 1.
        name: analyse, products or solve.
        person: from 0.
    """

    pass_number: int
    name: str
    person: int


def seed_of(person: int, number: int) -> int:
    """The seed of a person's random rows in a pass: hashed, since people's latents have small numbers for seeds.

    Args:
        person: by number.
        number: of the pass, from 0.
    """
    return int.from_bytes(hashlib.blake2b(f"rows of person {person} in pass {number}".encode(), digest_size=4).digest())


class Discovery(pl.LightningModule):
    """Sums over people what a search asks for, until it has found what is activated and not suppressed.

    Args:
        generator: frozen.
        faces: face models; the analysis of each person comes from them.
        criterion: what to change, and what to leave.
        solver: whose search it is.
        people: how many there are.
        space: of the latents in the batches.
        layers: which of the space's layers may move, such as "4-8" or "coarse"; None for all.
        precision: of the generator while products are taken, see PRECISIONS.
        settings: what a checkpoint has to agree in, flat.
        metric: euclidean, or population, in whose coordinates all energies are then taken, see `population`.

    Attributes:
        state: of the search; `query` in it is what the next epoch answers.
        result: after the fit, the directions in the whole space, and spectra.
        solution: after the fit, all that the search found.
        metrics: after the fit, the numbers of metrics.json.
        listeners: are called with each `Stage` as it begins, from several threads.
    """

    result: ProjectedResult
    solution: Solution
    metrics: DiscoveryMetrics

    def __init__(
        self,
        generator: AnyGenerator,
        faces: Faces,
        criterion: Criterion,
        solver: FullJacobian | BlockKrylov,
        people: int,
        space: str = "s",
        layers: str | None = None,
        precision: str = "float32",
        settings: Mapping[str, Any] | None = None,
        metric: str = "euclidean",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        one_of("precision", precision, PRECISIONS)
        one_of("space", space, generator.spaces)
        self.generator, self.faces, self.criterion = generator, faces, criterion
        self.drawer = copy.deepcopy(generator).bfloat16() if precision == "bfloat16" else generator
        self.solver, self.space, self.precision = solver, space, precision
        self.settings = dict(settings or {})
        self.coordinates = MovingCoordinates.of(generator, self.drawer, space, layers, metric)
        self.terms = nn.ModuleList(criterion.terms)
        self.problem = problem_of(criterion, len(self.coordinates.index), people)
        self.strict_loading = False
        self.unused = nn.Parameter(torch.zeros(()))  # DistributedDataParallel refuses a module that trains nothing
        self.state: Any = solver.init(self.problem)
        self.passes = 0
        self.analyses: dict[int, Analysis | LeftOut] = {}
        self.energies: dict[int, float] = {}
        self.accumulators = [Accumulator() for _ in range(GROUPS)]
        self.batch: Batch | None = None
        self.threads, self.room = 1, 0
        self.keeping: set[int] = set()
        self.kept: dict[int, Jacobian] = {}
        self.people_used = 0
        self.people_skipped: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.listeners: list[Callable[[Stage], None]] = []

    def configure_optimizers(self) -> None:
        """Nothing is trained."""

    def on_fit_start(self) -> None:
        """Set what float32 means on a GPU, whose libraries would round convolutions by themselves."""
        rounded = self.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounded

    @contextmanager
    def stage(self, name: str, person: int) -> Iterator[None]:
        """Time a stage under its name, and say that it began."""
        self.report(name, person)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def report(self, name: str, person: int) -> None:
        """Tell listeners that a stage began for a person."""
        for listener in self.listeners:
            listener(Stage(self.passes + 1, name, person))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add what is asked of each person of a batch {"index": (B,), "u": (B, n)}."""
        pairs = zip(batch["index"].tolist(), batch["u"].split(1), strict=True)
        self.add({person: u for person, u in pairs if person != PADDING})

    def add(self, people: Mapping[int, Tensor]) -> None:
        """Add the answers of some people, latents (1, n) by number, or count why they were left out."""
        new = [(person, u) for person, u in people.items() if person not in self.analyses]
        if new:
            with self.stage("analyse", new[0][0]):
                if not self.analyses:
                    self.check_repeatable(new[0][1])
                found = map_threads(self.analyse, [u for _, u in new], torch.get_num_threads())
                self.analyses |= {person: each for (person, _), each in zip(new, found, strict=True)}
        for person in people:
            if isinstance(each := self.analyses[person], LeftOut):
                self.people_skipped[each.reason] += 1
        seen = [(p, u) for p, u in people.items() if isinstance(self.analyses[p], Analysis)]
        if not seen:
            return
        with self.stage("products", seen[0][0]):
            threads = self.choose_threads(*seen[0])
            self.keeping.update([p for p, _ in seen if p not in self.keeping][: self.room - len(self.keeping)])
            answers = map_threads(self.answer, seen, threads)
            for (person, _), answer in zip(seen, answers, strict=True):
                self.accumulators[person % GROUPS].add(answer)
                if energy := wanted_energy(self.state.query, answer, self.problem):
                    self.energies[person] = energy
        self.people_used += len(seen)

    def features(self, person: int, u: Tensor, used: list[int]) -> PersonFeatures:
        """What the terms in `used` see in a person, by the coordinates that may move."""
        analysis = self.analyses[person]
        assert isinstance(analysis, Analysis)
        analysis = analysis._replace(parse=analysis.parse.long())
        return PersonFeatures(self.coordinates, [self.terms[i] for i in used], analysis, u)  # type: ignore[misc]

    def jacobian(self, person: int, u: Tensor, used: list[int]) -> Jacobian:
        """Of the terms in `used`; of people in `keeping` that of all terms is kept, and no other pass draws them."""
        if person not in self.keeping:
            return self.features(person, u, used).jacobian(self.batch)
        if person not in self.kept:
            self.kept[person] = self.features(person, u, list(range(len(self.terms)))).jacobian(self.batch)
        return self.kept[person].of(used)

    def answer(self, one: tuple[int, Tensor]) -> Accumulator:
        """The answer of a person (number, latent) to the query."""
        person, u = one
        self.report("products", person)
        query, seed = self.state.query, seed_of(person, self.passes)
        used = used_terms(query, len(self.terms))
        return evaluate(query, self.jacobian(person, u, used), used, self.problem.n, seed)

    def choose_threads(self, person: int, u: Tensor) -> int:
        """How many people at once; sets how many products, and of how many people graphs are kept."""
        if self.batch is None:
            features = self.features(person, u, list(range(len(self.terms))))
            graph, memory = graph_bytes(features, self.coordinates.start(u)), as_bytes(self.solver.memory)
            share = choose_parallelism(u.device, self.solver.chunk, memory, graph)
            self.batch, self.threads = Batch(share.products), share.people
            several_passes = isinstance(self.solver, BlockKrylov)
            self.room = graphs_kept(u.device, memory, graph) if several_passes else 0
        return self.threads

    def check_repeatable(self, u: Tensor) -> None:
        """Refuse networks that see something else in the same latent (1, n) the second time."""
        with torch.no_grad():
            analysis = Analysis(*self.faces.analyse(self.generator(u, self.space)))
            features = PersonFeatures(self.coordinates, self.terms, analysis, u)  # type: ignore[arg-type]
            one, other = (features(self.coordinates.start(u)) for _ in range(2))
        if all(bool(part.isfinite().all()) for part in one):  # else this person is left out
            check_repeatable(one, other, ROUNDING if self.precision == "float32" else COARSE)

    def analyse(self, u: Tensor) -> Analysis | LeftOut:
        """What the face models see in a person (1, n), or what is missing there."""
        return analyse(self.generator, self.space, self.faces, self.criterion, u)

    def gather(self) -> None:
        """Give every rank what all of them have added up."""
        everyone: list[Any] = [None] * self.trainer.world_size
        state = self.accumulators, self.people_used, self.people_skipped, self.energies
        torch.distributed.all_gather_object(everyone, state)
        self.clear()
        for accumulators, used, skipped, energies in everyone:
            for own, other in zip(self.accumulators, accumulators, strict=True):
                own.add(other)
            self.people_used += used
            self.people_skipped += skipped
            self.energies |= energies

    def clear(self) -> None:
        """Begin a pass."""
        self.accumulators = [Accumulator() for _ in range(GROUPS)]
        self.people_used, self.people_skipped = 0, Counter()

    def on_train_epoch_end(self) -> None:
        """Answer the search once everyone is in, and stop when it has found the subspace."""
        if self.trainer.world_size > 1:
            self.gather()
        if not self.people_used:
            what = ", ".join(self.people_skipped)
            raise problem(
                f"people who have what the criterion looks at ({what})",
                f"{self.people_skipped.total()} people without it",
                "raise latents.count, change latents.seed or choose another region",
            )
        with self.stage("solve", self.people_used):
            replies = self.replies()
            values: dict[str, float] = {
                "pass/people": self.people_used,
                "pass/products_per_person": replies[0].num_products,
            }
            after = self.solver.step(self.problem, self.state, replies)
            if isinstance(after, Solution):
                self.finish(after)
                self.trainer.should_stop = True
                residual: float | None = after.residual
            else:
                self.state, residual = after, after.query.residual
                self.passes += 1
                self.clear()
        values |= {} if residual is None else {"pass/residual": residual}
        values |= {"pass/energy": sum(self.energies.values()) / len(self.energies)} if self.energies else {}
        for logger in self.trainer.loggers:
            logger.log_metrics(values, self.trainer.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The search's state as it is; the networks are frozen and come from their files."""
        checkpoint["state_dict"] = {}
        checkpoint["settings"], checkpoint["energies"] = self.settings, self.energies
        checkpoint["search"], checkpoint["state"], checkpoint["passes"] = VERSION, self.state, self.passes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a state; raises IceError for a checkpoint of other settings, or of another search."""
        if checkpoint.get("search") != VERSION:
            got = f"version {checkpoint.get('search', 1)}, which asked for other products"
            raise problem(f"a checkpoint of this search (version {VERSION})", got, "drop ckpt_path to begin anew")
        other = renamed(checkpoint["settings"])
        differ = [key for key in {**self.settings, **other} if self.settings.get(key) != other.get(key)]
        if differ:
            key = differ[0]
            raise problem(
                f"a checkpoint of the same settings ({key}: {self.settings.get(key)})",
                f"one with {other.get(key)}",
                "set it to that, or drop ckpt_path",
            )
        self.energies, self.state, self.passes = checkpoint["energies"], checkpoint["state"], checkpoint["passes"]

    def replies(self) -> list[Reply]:
        """The means over people of this pass, by groups, or all in one where they are few."""
        means = [each.mean() for each in self.accumulators if each.people]
        return means if len(means) == GROUPS and self.people_used >= HALVED else [together(means)]

    def finish(self, solution: Solution) -> None:
        """Fill `solution`, `result` and `metrics`."""
        V, split = solution.result.vectors, len(self.problem.weights)
        self.kept = {}
        self.solution = solution
        self.result = replace(solution.result, vectors=self.coordinates.directions(V))
        explained, error = explained_energy(solution, self.problem.weights)
        self.metrics = DiscoveryMetrics(
            rank=V.shape[1],
            eigenvalues=tuple(self.result.values.tolist()),
            explained_energy=explained,
            explained_energy_error=error,
            leakage=leakage(self.criterion, solution.factors[split:], solution.coefficients),
            suppressed_rank=solution.result.suppressed_rank,
            latent_dim=self.generator.dim(self.space),
            coordinates=self.problem.n,
            people_used=self.people_used,
            people_skipped=self.people_skipped.total(),
            skipped_for_want_of=dict(self.people_skipped),
            energy_of_person={person: self.energies[person] for person in sorted(self.energies)},
            odd_people=tuple(outliers(self.energies)),
            stability=solution.stability,
            products_per_person=solution.cost.products,
            passes=solution.cost.passes,
            residual=solution.residual,
            stop=solution.stopped.why.name.lower(),
            stopped_early=solution.stopped_early,
        )
