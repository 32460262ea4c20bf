"""Discovery: people in, a named subspace out; every epoch of `trainer.fit` answers one ask of the search."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.latents import NOBODY
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.operators import Jacobian, pullback, pushforward
from ice_lightning.search import BlockKrylov, Found, Problem, Sums, Whole
from ice_lightning.solvers import EigenResult, Exact, thin_factor

FEW = 48
"""A term that declares at most so many features is summed exactly, by one backward pass each; others are large."""


class Discovery(pl.LightningModule):
    """Sums over people what a search asks for, until it has found what is activated and not suppressed.

    Args:
        generator: frozen.
        faces: face models; the analysis of each person comes from them.
        criterion: what to change, and what to leave.
        solver: whose search it is.
        space: of the latents in the batches.
        layers: which of the space's layers may move, such as "4-8" or "coarse"; None for all.

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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        one_of("space", space, generator.spaces)
        self.generator, self.faces, self.criterion = generator, faces, criterion
        self.solver, self.space, self.layers = solver, space, layers
        self.coordinates: Tensor
        self.register_buffer("coordinates", generator.coordinates(space, layers), persistent=False)
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
        self.told: list[Sums] = []
        self.analyses: dict[int, Analysis | str] = {}
        self.factors: list[Tensor] = []
        self.products: list[Tensor | None] = []
        self.people_used = 0
        self.people_skipped: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.tell: Callable[[str, int, float], None] = lambda stage, person, share: None

    def configure_optimizers(self) -> None:
        """Nothing is trained."""

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
        v = u[:, self.coordinates]

        def features(v: Tensor, large_only: bool) -> list[Tensor]:
            image = self.generator(self.whole(v, u), self.space)
            terms = zip(self.terms, self.small, strict=True)
            return [term(image, analysis) for term, small in terms if not (small and large_only)]

        with self.stage("products", person):
            if self.ask.V is not None:
                self.add_products(lambda v: features(v, large_only=True), v, self.ask.V)
            else:
                rows = self.rows(lambda v: features(v, large_only=False), v, person, self.ask.rows)
                self.add_factors(rows)
        self.people_used += 1

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
            for term in self.terms:
                if not bool(term(image, analysis).isfinite().all()):
                    return f"finite {term.label}"
        return analysis

    def rows(
        self, features: Callable[[Tensor], list[Tensor]], v: Tensor, person: int, count: int | None
    ) -> list[Tensor]:
        """J_i (m_i, n) of every term, or where `count` says so, random combinations of its rows for the large ones."""
        J = Jacobian(lambda v: torch.cat(features(v), 1), v, self.forward_mode)
        sizes = [part.shape[1] for part in features(v)]
        if count is None:
            whole = Exact(self.solver.chunk).matrix(J, lambda done, total: self.tell("products", person, done / total))
            return list(whole.split(sizes))
        pull, found = pullback(features, v), []
        draw = torch.Generator().manual_seed(person)
        for index, (small, size) in enumerate(zip(self.small, sizes, strict=True)):
            Y = torch.eye(size) if small else torch.randn(size, count, generator=draw) / count**0.5
            found.append(pull(index, Y.to(v)).T.double())
        return found

    def add_factors(self, rows: list[Tensor]) -> None:
        """Add rows (m_i, n) of every term."""
        old = self.factors or [each[:0] for each in rows]
        self.factors = [thin_factor(list(pair)) for pair in zip(old, rows, strict=True)]

    def add_products(self, features: Callable[[Tensor], list[Tensor]], v: Tensor, V: Tensor) -> None:
        """Add J_i^T J_i V (n, b) of every large term, whose features these are."""
        large = [index for index, small in enumerate(self.small) if not small]
        pull = pullback(features, v)
        sizes = [part.shape[1] for part in features(v)]
        sums: list[list[Tensor]] = [[] for _ in large]
        for part in V.to(v).split(self.solver.chunk, 1):
            moved = pushforward(lambda v: torch.cat(features(v), 1), v, part, self.forward_mode)
            for place, JV in enumerate(moved.split(sizes)):
                sums[place].append(pull(place, JV).double())
        found: list[Tensor | None] = [None] * len(self.small)
        for index, each in zip(large, sums, strict=True):
            found[index] = torch.cat(each, 1)
        self.add_up(found)

    def add_up(self, products: list[Tensor | None]) -> None:
        """Add J_i^T J_i V of every large term, None for the others."""
        old = self.products or [None if each is None else torch.zeros_like(each) for each in products]
        self.products = [
            None if had is None or each is None else had + each for had, each in zip(old, products, strict=True)
        ]

    def whole(self, v: Tensor, u: Tensor) -> Tensor:
        """The latent u (1, n) with the coordinates that may move replaced by v (B, k)."""
        if self.layers is None:
            return v
        return u.expand(len(v), -1).index_copy(1, self.coordinates, v)

    def gather(self) -> None:
        """Give every rank what all of them have added up."""
        everyone: list[Any] = [None] * self.trainer.world_size
        own = self.factors, self.products, self.people_used, self.people_skipped
        torch.distributed.all_gather_object(everyone, own)
        self.factors, self.products, self.people_used, self.people_skipped = [], [], 0, Counter()
        for factors, products, used, skipped in everyone:
            if factors:
                self.add_factors(factors)
            if products:
                self.add_up(products)
            self.people_used += used
            self.people_skipped += skipped

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
                sums = self.sums()
                self.ask = self.search.send(sums)
                self.told.append(sums)
                self.factors, self.products, self.people_used, self.people_skipped = [], [], 0, Counter()
            except StopIteration as end:
                self.finish(end.value)
                self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the search was told, from which all else follows; the networks are frozen and come from their files."""
        checkpoint["state_dict"] = {}
        checkpoint["problem"], checkpoint["told"] = repr(self.problem), [tuple(sums) for sums in self.told]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Tell the search again; raises IceError for a checkpoint of another criterion."""
        if checkpoint["problem"] != repr(self.problem):
            raise problem(
                "a checkpoint of the same criterion and space", "another", "drop ckpt_path, or its other settings"
            )
        for sums in checkpoint["told"]:
            self.told.append(Sums(*sums))
            self.ask = self.search.send(self.told[-1])

    def sums(self) -> Sums:
        """The means over people of this pass."""
        whole = self.ask.rows is None and self.ask.V is None
        spent = self.problem.n if whole else self.few + self.small.count(False) * (self.ask.rows or 0)
        return Sums(
            [R * self.people_used**-0.5 for R in self.factors],
            [whole or small for small in self.small],
            [None if G is None else G / self.people_used for G in self.products],
            spent,
        )

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
            "skipped_because_empty": dict(self.people_skipped),
            "products_per_person": found.result.stats["products"],
            **{name: found.result.stats[name] for name in ("passes", "residual", "stopped_early")},
        }
