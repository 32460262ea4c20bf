"""Discovery: people in, a named subspace out; every epoch of `trainer.fit` answers one ask of the search."""

from __future__ import annotations

import copy
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.krylov import BlockKrylov, Whole
from ice_lightning.latents import NOBODY
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.operators import probe
from ice_lightning.products import Batch, Linear, as_bytes, batch_size, graph_bytes, linearise
from ice_lightning.search import Found, Problem, Sums, together
from ice_lightning.solvers import EigenResult, thin_factor
from ice_lightning.stability import GROUPS

FEW = 48
"""A term that declares at most so many features is summed exactly, by one backward pass each; others are large."""

HALVED = 8
"""From so many people on, sums are kept by groups, for the stability figure."""


PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of the generator, while products are taken: tf32 is for GPUs, and rounds what goes into convolutions to ten bits;
bfloat16 has eight, of weights and activations. Face models, features and sums are not touched."""


@dataclass
class Tally:
    """What has been added up over a group of people.

    Attributes:
        factors: (r_i, n) of every term; the energies are the sums of R^T R.
        products: (n, b) of every term, None where none is asked.
        people: how many.
    """

    factors: list[Tensor] = field(default_factory=list)
    products: list[Tensor | None] = field(default_factory=list)
    people: int = 0

    def add(self, factors: list[Tensor], products: list[Tensor | None], people: int = 1) -> None:
        """Add someone, or a group; an empty list adds nothing."""
        if factors:
            old = self.factors or [R[:0] for R in factors]
            self.factors = [thin_factor(list(pair)) for pair in zip(old, factors, strict=True)]
        if products:
            had = self.products or [None if G is None else torch.zeros_like(G) for G in products]
            self.products = [None if a is None or b is None else a + b for a, b in zip(had, products, strict=True)]
        self.people += people


class Discovery(pl.LightningModule):
    """Sums over people what a search asks for, until it has found what is activated and not suppressed.

    Args:
        generator: frozen.
        faces: face models; the analysis of each person comes from them.
        criterion: what to change, and what to leave.
        solver: whose search it is.
        space: of the latents in the batches.
        layers: which of the space's layers may move, such as "4-8" or "coarse"; None for all.
        precision: of the generator while products are taken, see PRECISIONS.
        settings: what a checkpoint has to agree in, flat.

    After the fit, `result` holds the eigenpairs and `metrics` the numbers of metrics.json.
    """

    result: EigenResult
    metrics: dict[str, Any]

    def __init__(
        self,
        generator: Generator,
        faces: Faces,
        criterion: Criterion,
        solver: Whole | BlockKrylov,
        space: str = "s",
        layers: str | None = None,
        precision: str = "float32",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        one_of("precision", precision, PRECISIONS)
        one_of("space", space, generator.spaces)
        self.generator, self.faces, self.criterion = generator, faces, criterion
        self.drawer = copy.deepcopy(generator).bfloat16() if precision == "bfloat16" else generator
        self.solver, self.space, self.precision = solver, space, precision
        self.settings = dict(settings or {})
        self.coordinates: Tensor
        self.register_buffer("coordinates", generator.coordinates(space, layers), persistent=False)
        # Layers that stay where they are need no derivative, and are told apart where a space has any.
        whole_layers = space in ("w+", "s") and layers is not None
        widths = generator.widths(space) if whole_layers else [generator.dim(space)]
        moving = torch.zeros(generator.dim(space), dtype=torch.bool)
        moving[self.coordinates] = True
        self.pieces = [(width, bool(part[0])) for width, part in zip(widths, moving.split(widths), strict=True)]
        wanted, unwanted = criterion.activate.values(), criterion.suppress.values()
        terms = [each.term for each in wanted] + [each.term for each in unwanted]
        self.terms = nn.ModuleList(terms)
        self.small = [term.features is not None and term.features <= FEW for term in terms]
        self.few = sum(term.features or 0 for term, small in zip(terms, self.small, strict=True) if small)
        self.forward_mode = all(term.forward_mode for term in terms)
        for term in terms:
            if term.size is not None and term.size > generator.img_resolution:
                raise problem(
                    f"a size of at most {generator.img_resolution}, the side of the image, for {term.label}",
                    term.size,
                    "lower its size",
                )
        self.problem = Problem(
            n=len(self.coordinates),
            weights=tuple(each.weight for each in wanted),
            ratios={name: each.ratio for name, each in criterion.suppress.items()},
            projection=criterion.projection,
            late=criterion.late,
            activate_ratio=criterion.activate_ratio,
            rank=criterion.rank,
        )
        self.strict_loading = False
        self.unused = nn.Parameter(torch.zeros(()))  # DistributedDataParallel refuses a module that trains nothing
        self.search = solver.search(self.problem)
        self.ask = next(self.search)
        self.told: list[list[Sums]] = []
        self.analyses: dict[int, Analysis | str] = {}
        self.energies: dict[int, float] = {}
        self.tallies = [Tally() for _ in range(GROUPS)]
        self.batch: Batch | None = None
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
        """Add the energy of each person of a batch {"index": (B,), "u": (B, n)}."""
        for person, u in zip(batch["index"].tolist(), batch["u"], strict=True):
            if person != NOBODY:
                self.add(person, u[None])

    def add(self, person: int, u: Tensor) -> None:
        """Add what is asked of one person (u is (1, n)), or count why they were skipped."""
        if person not in self.analyses:
            with self.stage("analyse", person):
                self.analyses[person] = self.analyse(u)
        analysis = self.analyses[person]
        if isinstance(analysis, str):
            self.people_skipped[analysis] += 1
            return
        analysis = analysis._replace(parse=analysis.parse.long())
        large_only = self.ask.V is not None

        def features(v: Tensor) -> list[Tensor]:
            image = self.draw(v, u)
            terms = zip(self.terms, self.small, strict=True)
            return [term(image, analysis) for term, small in terms if not (small and large_only)]

        tally = self.tallies[person % GROUPS]
        with self.stage("products", person):
            v = u[:, self.coordinates]
            linear = linearise(features, v, self.forward_mode, self.batch_for(features, v))
            if self.ask.V is not None:
                tally.add([], self.products(linear, self.ask.V.to(v)))
            else:
                rows = self.rows(linear, person, self.ask.rows)
                weighted = zip(rows, self.problem.weights, strict=False)
                self.energies[person] = sum(float(R.square().sum()) * w for R, w in weighted)
                tally.add(rows, [])
        self.people_used += 1

    def draw(self, v: Tensor, u: Tensor) -> Tensor:
        """The image of the latent u (1, n) with the coordinates that may move replaced by v (B, k)."""
        like = next(self.drawer.parameters())
        if len(self.pieces) == 1:
            return self.drawer(v.to(like.dtype), self.space).to(v.dtype)
        moving = iter(v.split([width for width, moves in self.pieces if moves], 1))
        kept = u.expand(len(v), -1).split([width for width, _ in self.pieces], 1)
        layers = [next(moving) if moves else still for (_, moves), still in zip(self.pieces, kept, strict=True)]
        return self.drawer.draw([layer.to(like.dtype) for layer in layers], self.space).to(v.dtype)

    def batch_for(self, features: Callable[[Tensor], list[Tensor]], v: Tensor) -> Batch:
        """How many products at once: the user's choice, or what suits the device; halved for good when too many."""
        if self.batch is None:
            chunk = self.solver.chunk
            if chunk is None and v.device.type == "cpu":
                chunk = 1
            if chunk is None:
                chunk = batch_size(v.device, as_bytes(self.solver.memory), graph_bytes(features, v))
            self.batch = Batch(chunk)
        return self.batch

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
            if not self.analyses:
                probe(features, [term(self.generator(u, self.space), analysis) for term in self.terms])
        return analysis._replace(parse=analysis.parse.to(torch.uint8))  # bytes: it is kept for every person

    def rows(self, linear: Linear, person: int, count: int | None) -> list[Tensor]:
        """J_i (m_i, n) of every term, or where `count` says so, random combinations of its rows for the large ones."""
        sizes = [part.shape[1] for part in linear.parts]
        if count is None:
            return list(self.jacobian(linear, person).split(sizes))
        draw = torch.Generator().manual_seed(person)
        found = []
        for index, (small, size) in enumerate(zip(self.small, sizes, strict=True)):
            Y = torch.eye(size) if small else torch.randn(size, count, generator=draw) / count**0.5
            found.append(linear.pull(index, Y.to(linear.parts[index])).T.double())
        return found

    def jacobian(self, linear: Linear, person: int) -> Tensor:
        """The whole Jacobian (m, n) of all terms, by whichever is fewer of columns and rows."""
        sizes, like = [part.shape[1] for part in linear.parts], linear.parts[0]
        total, step = self.problem.n, max(8, self.batch.size if self.batch else 1)
        if sum(sizes) < total:
            eyes = [torch.eye(size).to(like) for size in sizes]
            return torch.cat([linear.pull(index, eye).T for index, eye in enumerate(eyes)]).double()
        columns = []
        for done, part in enumerate(torch.eye(total).to(like).split(step, 1)):
            self.tell("products", person, done * step / total)
            columns.append(torch.cat(linear.push(part)))
        return torch.cat(columns, 1).double()

    def products(self, linear: Linear, V: Tensor) -> list[Tensor | None]:
        """J_i^T J_i V (n, b) of every large term, whose parts these are; None for the others."""
        found: list[Tensor | None] = [None] * len(self.small)
        large = [index for index, small in enumerate(self.small) if not small]
        for place, (index, JV) in enumerate(zip(large, linear.push(V), strict=True)):
            found[index] = linear.pull(place, JV).double()
        return found

    def gather(self) -> None:
        """Give every rank what all of them have added up."""
        everyone: list[Any] = [None] * self.trainer.world_size
        own = self.tallies, self.people_used, self.people_skipped, self.energies
        torch.distributed.all_gather_object(everyone, own)
        self.clear()
        for tallies, used, skipped, energies in everyone:
            for tally, other in zip(self.tallies, tallies, strict=True):
                tally.add(other.factors, other.products, other.people)
            self.people_used += used
            self.people_skipped += skipped
            self.energies |= energies

    def clear(self) -> None:
        """Begin a pass."""
        self.tallies = [Tally() for _ in range(GROUPS)]
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
            try:
                groups = self.groups()
                self.ask = self.search.send(groups)
                self.told.append(groups)
                self.clear()
            except StopIteration as end:
                self.finish(end.value)
                self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the search was told, from which all else follows; the networks are frozen and come from their files."""
        checkpoint["state_dict"] = {}
        checkpoint["settings"], checkpoint["energies"] = self.settings, self.energies
        checkpoint["told"] = [[tuple(sums) for sums in groups] for groups in self.told]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Tell the search again; raises IceError for a checkpoint of a run with other settings."""
        other = checkpoint["settings"]
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
            self.told.append([Sums(*sums) for sums in groups])
            self.ask = self.search.send(self.told[-1])

    def groups(self) -> list[Sums]:
        """The means over people of this pass, by groups, or all in one where they are few."""
        whole = self.ask.rows is None and self.ask.V is None
        spent = self.problem.n if whole else self.few + self.small.count(False) * (self.ask.rows or 0)
        exact = [whole or small for small in self.small]
        sums = [
            Sums(
                each.people,
                [R * each.people**-0.5 for R in each.factors],
                exact,
                [None if G is None else G / each.people for G in each.products],
                spent,
            )
            for each in self.tallies
            if each.people
        ]
        return sums if len(sums) == GROUPS and self.people_used >= HALVED else [together(sums)]

    def finish(self, found: Found) -> None:
        """Fill `result` and `metrics`."""
        V = found.result.vectors
        directions = V.new_zeros(self.generator.dim(self.space), V.shape[1]).index_copy(0, self.coordinates, V)
        self.result = replace(found.result, vectors=directions)
        split, c = len(self.problem.weights), found.coefficients
        leakage = {}
        for (name, each), R in zip(self.criterion.suppress.items(), found.factors[split:], strict=True):
            first = (
                float(torch.linalg.matrix_norm(R, 2).square()) if len(R) else 0.0
            )  # nothing, where no one has its region
            share = (R @ c).square().sum(0).max() / first if first > 0 else 0.0
            leakage[f"{name} ({each.term.label}), ratio {each.ratio:g}"] = float(share)
        orthonormal = torch.linalg.qr(c).Q
        weighted = list(zip(found.factors, self.problem.weights, strict=False))
        energy = sum(float((R @ orthonormal).square().sum()) * w for R, w in weighted)
        self.metrics = {
            "rank": V.shape[1],
            "eigenvalues": self.result.values.tolist(),
            "explained_energy": energy / found.energy,
            "leakage": leakage,
            "suppressed_rank": found.result.stats["suppressed_rank"],
            "latent_dim": self.generator.dim(self.space),
            "coordinates": self.problem.n,
            "people_used": self.people_used,
            "people_skipped": self.people_skipped.total(),
            "skipped_for_want_of": dict(self.people_skipped),
            "energy_of_person": {str(person): self.energies[person] for person in sorted(self.energies)},
            "stability": found.result.stats["stability"],
            "products_per_person": found.result.stats["products"],
            **{name: found.result.stats[name] for name in ("passes", "residual", "stopped_early")},
        }
