"""Discovery: people in, a named subspace out; every epoch of `trainer.fit` answers one ask of the search."""

from __future__ import annotations

import copy
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.discovery.evaluate import Accumulator, evaluate, used_terms, wanted_energy
from ice_lightning.jacobians.linearize import graph_bytes, linearise
from ice_lightning.jacobians.operators import ROUNDING, probe
from ice_lightning.latents import PADDING
from ice_lightning.metrics.subspace import outliers
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import Batch, as_bytes, choose_parallelism, map_threads
from ice_lightning.population import GEOMETRIES, Geometry, geometry, layer_covariances
from ice_lightning.renamed import renamed
from ice_lightning.solvers.dense import EigenResult
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.solvers.problem import VERSION, Problem, Reply, together
from ice_lightning.solvers.result import Found
from ice_lightning.solvers.stability import GROUPS

HALVED = 8
"""From so many people on, sums are kept by groups, for the stability figure."""


PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of the generator, while products are taken: tf32 is for GPUs, and rounds what goes into convolutions to ten bits;
bfloat16 has eight, of weights and activations. Face models, features and sums are not touched."""
COARSE = 0.03
"""See operators.ROUNDING, for the precisions that have fewer bits."""


def seed_of(person: int, number: int) -> int:
    """Of a person's random rows in a pass: hashed, since people's latents have small numbers for seeds."""
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

    After the fit, `result` holds the eigenpairs and `metrics` the numbers of metrics.json.
    """

    result: EigenResult
    metrics: dict[str, Any]

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
        one_of("geometry", metric, GEOMETRIES)
        self.generator, self.faces, self.criterion = generator, faces, criterion
        self.drawer = copy.deepcopy(generator).bfloat16() if precision == "bfloat16" else generator
        self.solver, self.space, self.precision = solver, space, precision
        self.settings = dict(settings or {})
        self.coordinates: Tensor
        self.register_buffer("coordinates", generator.coordinates(space, layers), persistent=False)
        # Layers that stay where they are need no derivative, and are told apart where a space has any.
        widths = generator.widths(space) if layers is not None else [generator.dim(space)]
        moving = torch.zeros(generator.dim(space), dtype=torch.bool)
        moving[self.coordinates] = True
        self.pieces = [(width, bool(part[0])) for width, part in zip(widths, moving.split(widths), strict=True)]
        self.geometry: Geometry | None = None
        if metric == "population":
            moves = torch.stack([part.any() for part in moving.split(generator.widths(space))])
            self.geometry = geometry(layer_covariances(generator, space), moves)
        wanted, unwanted = criterion.activate.values(), criterion.suppress.values()
        terms = [each.term for each in wanted] + [each.term for each in unwanted]
        self.terms = nn.ModuleList(terms)
        self.forward_mode = all(term.forward_mode for term in terms)
        self.problem = Problem(
            n=len(self.coordinates),
            weights=tuple(each.weight for each in wanted),
            ratios={name: each.ratio for name, each in criterion.suppress.items()},
            projection=criterion.projection,
            late=criterion.late,
            activate_ratio=criterion.activate_ratio,
            rank=criterion.rank,
            sizes=tuple(term.features for term in terms),
            people=people,
        )
        self.strict_loading = False
        self.unused = nn.Parameter(torch.zeros(()))  # DistributedDataParallel refuses a module that trains nothing
        self.search = solver.search(self.problem)
        self.ask = next(self.search)
        self.told: list[list[Reply]] = []
        self.analyses: dict[int, Analysis | str] = {}
        self.energies: dict[int, float] = {}
        self.tallies = [Accumulator() for _ in range(GROUPS)]
        self.batch: Batch | None = None
        self.threads = 1
        self.people_used = 0
        self.people_skipped: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tell: Callable[[str, int, float], None] = lambda stage, person, share: None

    def configure_optimizers(self) -> None:
        """Nothing is trained."""

    def on_fit_start(self) -> None:
        """Set what float32 means on a GPU, whose libraries would round convolutions by themselves."""
        rounded = self.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounded

    @contextmanager
    def stage(self, name: str, person: int) -> Iterator[None]:
        """Time a stage under its name, and say that it began."""
        self.tell(name, person, 0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add what is asked of each person of a batch {"index": (B,), "u": (B, n)}."""
        pairs = zip(batch["index"].tolist(), batch["u"].split(1), strict=True)
        self.add({person: u for person, u in pairs if person != PADDING})

    def add(self, people: Mapping[int, Tensor]) -> None:
        """Add what is asked of some people, latents (1, n) by number, or count why they were skipped."""
        new = [(person, u) for person, u in people.items() if person not in self.analyses]
        if new:
            with self.stage("analyse", new[0][0]):
                if not self.analyses:
                    self.probe(new[0][1])
                found = map_threads(self.analyse, [u for _, u in new], torch.get_num_threads())
                self.analyses |= {person: each for (person, _), each in zip(new, found, strict=True)}
        for person in people:
            if isinstance(why := self.analyses[person], str):
                self.people_skipped[why] += 1
        seen = [(p, u) for p, u in people.items() if not isinstance(self.analyses[p], str)]
        if not seen:
            return
        with self.stage("products", seen[0][0]):
            told = map_threads(self.answer, seen, self.at_once(*seen[0]))
            for (person, _), each in zip(seen, told, strict=True):
                self.tallies[person % GROUPS].add(each)
                if energy := wanted_energy(self.ask, each, self.problem):
                    self.energies[person] = energy
        self.people_used += len(seen)

    def features(self, person: int, u: Tensor) -> Callable[[Tensor], list[Tensor]]:
        """The features that are asked of a person, by the coordinates that may move."""
        analysis = self.analyses[person]
        assert isinstance(analysis, Analysis)
        analysis = analysis._replace(parse=analysis.parse.long())
        used = used_terms(self.ask, len(self.terms))

        def features(v: Tensor) -> list[Tensor]:
            image = self.draw(v, u)
            return [self.terms[i](image, analysis) for i in used]

        return features

    def answer(self, one: tuple[int, Tensor]) -> Accumulator:
        """What a person (number, latent) says to the ask."""
        person, u = one
        self.tell("products", person, 0.0)
        linear = linearise(self.features(person, u), self.start(u), self.forward_mode, self.batch)
        seed = seed_of(person, len(self.told))
        return evaluate(self.ask, linear, used_terms(self.ask, len(self.terms)), self.problem.n, seed)

    def at_once(self, person: int, u: Tensor) -> int:
        """How many people at once; sets how many products."""
        if self.batch is None:
            graph = graph_bytes(self.features(person, u), self.start(u))
            share = choose_parallelism(u.device, self.solver.chunk, as_bytes(self.solver.memory), graph)
            self.batch, self.threads = Batch(share.products), share.people
        return self.threads

    def start(self, u: Tensor) -> Tensor:
        """The coordinates that may move (1, k) at a person u (1, n): the latent's own, or 0 population deviations."""
        own = u[:, self.coordinates]
        return own if self.geometry is None else torch.zeros_like(own)

    def draw(self, v: Tensor, u: Tensor) -> Tensor:
        """The image of the latent u (1, n) with the coordinates that may move at v (B, k), see `start`."""
        like = next(self.drawer.parameters())
        if self.geometry is not None:
            x = v.new_zeros(len(v), u.shape[1]).index_copy(1, self.coordinates, v)
            v = (u + self.geometry.displacement(x))[:, self.coordinates]
        if len(self.pieces) == 1:
            return self.drawer(v.to(like.dtype), self.space).to(v.dtype)
        moving = iter(v.split([width for width, moves in self.pieces if moves], 1))
        kept = u.expand(len(v), -1).split([width for width, _ in self.pieces], 1)
        layers = [next(moving) if moves else still for (_, moves), still in zip(self.pieces, kept, strict=True)]
        return self.drawer.draw([layer.to(like.dtype) for layer in layers], self.space).to(v.dtype)

    def probe(self, u: Tensor) -> None:
        """Refuse networks that see something else in the same latent (1, n) the second time."""
        with torch.no_grad():
            image = self.generator(u, self.space)
            analysis = Analysis(*self.faces.analyse(image))
            one, other = ([term(self.draw(self.start(u), u), analysis) for term in self.terms] for _ in "12")
        if all(bool(part.isfinite().all()) for part in one):  # else this person is left out
            probe(one, other, ROUNDING if self.precision == "float32" else COARSE)

    def analyse(self, u: Tensor) -> Analysis | str:
        """What the face models see in a person, or what is missing there, for which the person is left out."""
        with torch.no_grad():
            image = self.generator(u, self.space)
            if not bool(image.isfinite().all()):
                return "a finite image"
            analysis = Analysis(*self.faces.analyse(image))
            for each in self.criterion.activate.values():
                if bool(each.term.empty(analysis)):
                    return each.term.label
            features = [term(image, analysis) for term in self.terms]
            for term, part in zip(self.terms, features, strict=True):
                if not bool(part.isfinite().all()):
                    return f"finite {term.label}"
        return analysis._replace(parse=analysis.parse.to(torch.uint8))  # bytes: it is kept for every person

    def gather(self) -> None:
        """Give every rank what all of them have added up."""
        everyone: list[Any] = [None] * self.trainer.world_size
        own = self.tallies, self.people_used, self.people_skipped, self.energies
        torch.distributed.all_gather_object(everyone, own)
        self.clear()
        for tallies, used, skipped, energies in everyone:
            for tally, other in zip(self.tallies, tallies, strict=True):
                tally.add(other)
            self.people_used += used
            self.people_skipped += skipped
            self.energies |= energies

    def clear(self) -> None:
        """Begin a pass."""
        self.tallies = [Accumulator() for _ in range(GROUPS)]
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
            groups = self.groups()
            told: dict[str, float] = {"pass/people": self.people_used, "pass/products_per_person": groups[0].spent}
            try:
                self.ask = self.search.send(groups)
                self.told.append(groups)
                self.clear()
                residual = self.ask.residual
            except StopIteration as end:
                self.finish(end.value)
                self.trainer.should_stop = True
                residual = self.metrics["residual"]
        told |= {} if residual is None else {"pass/residual": residual}
        told |= {"pass/energy": sum(self.energies.values()) / len(self.energies)} if self.energies else {}
        for logger in self.trainer.loggers:
            logger.log_metrics(told, self.trainer.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the search was told, from which all else follows; the networks are frozen and come from their files."""
        checkpoint["state_dict"] = {}
        checkpoint["settings"], checkpoint["energies"] = self.settings, self.energies
        checkpoint["search"] = VERSION
        checkpoint["told"] = [[tuple(sums) for sums in groups] for groups in self.told]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Tell the search again; raises IceError for a checkpoint of other settings, or of another search."""
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
        self.energies = checkpoint["energies"]
        for groups in checkpoint["told"]:
            self.told.append([Reply(*sums) for sums in groups])
            self.ask = self.search.send(self.told[-1])

    def groups(self) -> list[Reply]:
        """The means over people of this pass, by groups, or all in one where they are few."""
        sums = [each.mean() for each in self.tallies if each.people]
        return sums if len(sums) == GROUPS and self.people_used >= HALVED else [together(sums)]

    def finish(self, found: Found) -> None:
        """Fill `result` and `metrics`."""
        V = found.result.vectors
        directions = V.new_zeros(self.generator.dim(self.space), V.shape[1]).index_copy(0, self.coordinates.cpu(), V)
        if self.geometry is not None:
            directions = self.geometry.displacement(directions.T).T  # of length 1 in the population metric
        self.result = replace(found.result, vectors=directions)
        split, c = len(self.problem.weights), found.coefficients
        leakage = {}
        for (name, each), R in zip(self.criterion.suppress.items(), found.factors[split:], strict=True):
            first = float(torch.linalg.matrix_norm(R, 2).square()) if len(R) else 0.0
            share = (R @ c).square().sum(0).max() / first if first > 0 else 0.0  # nothing, where no one has its region
            leakage[f"{name} ({each.term.label}), ratio {each.ratio:g}"] = float(share)
        orthonormal = torch.linalg.qr(c).Q
        weighted = list(zip(found.factors, self.problem.weights, strict=False))
        energy = sum(float((R @ orthonormal).square().sum()) * w for R, w in weighted)
        self.metrics = {
            "rank": V.shape[1],
            "eigenvalues": self.result.values.tolist(),
            "explained_energy": energy / (energy + found.rest),
            "explained_energy_error": energy * found.rest_error / (energy + found.rest) ** 2,
            "leakage": leakage,
            "suppressed_rank": found.result.stats["suppressed_rank"],
            "latent_dim": self.generator.dim(self.space),
            "coordinates": self.problem.n,
            "people_used": self.people_used,
            "people_skipped": self.people_skipped.total(),
            "skipped_for_want_of": dict(self.people_skipped),
            "energy_of_person": {str(person): self.energies[person] for person in sorted(self.energies)},
            "odd_people": outliers(self.energies),
            "stability": found.result.stats["stability"],
            "products_per_person": found.result.stats["products"],
            **{name: found.result.stats[name] for name in ("passes", "residual", "stopped_early")},
        }
