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
from ice_lightning.search import Ask, Found, Problem, Rows, Sums, together
from ice_lightning.solvers import EigenResult, thin_factor
from ice_lightning.stability import GROUPS

HALVED = 8
"""From so many people on, sums are kept by groups, for the stability figure."""


PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of the generator, while products are taken: tf32 is for GPUs, and rounds what goes into convolutions to ten bits;
bfloat16 has eight, of weights and activations. Face models, features and sums are not touched."""


@dataclass
class Tally:
    """What has been added up over a group of people.

    Attributes:
        rows: see Sums, as are products and grams; here sums, not means.
        products: (n, b) each.
        grams: (b, b) each.
        people: how many.
        spent: products with a Jacobian that the last one took.
    """

    rows: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=list)
    grams: list[Tensor] = field(default_factory=list)
    people: int = 0
    spent: int = 0

    def add(self, other: Tally) -> None:
        """Add someone, or a group."""
        if not self.people:
            self.rows, self.products, self.grams = other.rows, other.products, other.grams
        elif other.people:
            self.rows = [thin_factor(list(pair)) for pair in zip(self.rows, other.rows, strict=True)]
            self.products = [a + b for a, b in zip(self.products, other.products, strict=True)]
            self.grams = [a + b for a, b in zip(self.grams, other.grams, strict=True)]
        self.people += other.people
        self.spent = max(self.spent, other.spent)

    def mean(self) -> Sums:
        """Per person."""
        share = 1 / self.people
        rows = [R * share**0.5 for R in self.rows]
        products, grams = ([each * share for each in sums] for sums in (self.products, self.grams))
        return Sums(self.people, rows, products, grams, self.spent)


def used_terms(ask: Ask, count: int) -> list[int]:
    """Which of the terms an ask looks at."""
    weights = [each.weights for each in ask.rows] + [each.weights for each in ask.products]
    return [i for i in range(count) if ask.grams is not None or any(each[i] for each in weights)]


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
        people: int,
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
            sizes=tuple(term.features for term in terms),
            people=people,
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
        used = used_terms(self.ask, len(self.terms))

        def features(v: Tensor) -> list[Tensor]:
            image = self.draw(v, u)
            return [self.terms[i](image, analysis) for i in used]

        with self.stage("products", person):
            v = u[:, self.coordinates]
            linear = linearise(features, v, self.forward_mode, self.batch_for(features, v))
            told = self.answer(linear, used, person)
            self.tallies[person % GROUPS].add(told)
        wanted = [(each, R) for each, R in zip(self.ask.rows, told.rows, strict=True) if self.is_wanted(each)]
        for each, R in wanted:
            part = float(R.square().sum()) * self.scale(each)
            self.energies[person] = self.energies.get(person, 0.0) + part
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

    def answer(self, linear: Linear, used: list[int], person: int) -> Tally:
        """What is asked of one person, whose `used` terms are the parts of `linear`."""
        ask, place, spent = self.ask, {term: i for i, term in enumerate(used)}, 0
        sizes = [part.shape[1] for part in linear.parts]
        like, n = linear.parts[0], self.problem.n
        if ask.rows and all(each.random is None for each in ask.rows) and not ask.products and sum(sizes) > n:
            J = torch.cat(linear.push(torch.eye(n).to(like))).double().split(sizes)
            parts = [[J[place[i]] * w**0.5 for i, w in enumerate(each.weights) if w] for each in ask.rows]
            return Tally([torch.cat(each) for each in parts], people=1, spent=n)
        draw = torch.Generator().manual_seed(person + 1_000_003 * len(self.told))
        rows = []
        for each in ask.rows:
            weights = {place[i]: w**0.5 for i, w in enumerate(each.weights) if w}
            if each.random is None:
                found = [linear.pull({i: torch.eye(sizes[i]).to(like) * w}).T for i, w in weights.items()]
            else:
                scale = each.random**-0.5
                random = {
                    i: torch.randn(sizes[i], each.random, generator=draw) * (w * scale) for i, w in weights.items()
                }
                found = [linear.pull({i: Y.to(like) for i, Y in random.items()}).T] if random else []
            spent += sum(len(R) for R in found)
            rows.append(torch.cat(found).double() if found else like.new_zeros(0, n).double())
        moved: dict[int, list[Tensor]] = {}
        products = []
        for wanted in ask.products:
            V, weights = wanted.V, {i: w for i, w in enumerate(wanted.weights) if w}
            if not weights or not V.shape[1]:
                products.append(torch.zeros_like(V))
                continue
            if id(V) not in moved:
                moved[id(V)] = linear.push(V.to(like))
                spent += V.shape[1]
            products.append(linear.pull({place[i]: moved[id(V)][place[i]] * w for i, w in weights.items()}).double())
            spent += V.shape[1]
        grams = []
        if ask.grams is not None:
            grams = [JQ.T @ JQ for JQ in (part.double() for part in linear.push(ask.grams.to(like)))]
            spent += ask.grams.shape[1]
        return Tally(rows, products, grams, 1, spent)

    def is_wanted(self, rows: Rows) -> bool:
        """Whether only activated terms count in some rows."""
        split = len(self.problem.weights)
        return any(rows.weights[:split]) and not any(rows.weights[split:])

    def scale(self, rows: Rows) -> float:
        """What turns the energy of rows of activated terms into what their weights make of it."""
        return next(w / asked for w, asked in zip(self.problem.weights, rows.weights, strict=False) if asked)

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
        sums = [each.mean() for each in self.tallies if each.people]
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
