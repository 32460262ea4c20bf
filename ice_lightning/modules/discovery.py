"""Discovery: people in, a named subspace out, as one epoch of `trainer.fit`."""

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
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.operators import Dense, Jacobian
from ice_lightning.projection import Bad, bad_basis, project
from ice_lightning.solvers import EigenResult, Exact, thin_factor


class Discovery(pl.LightningModule):
    """Sums the energy of a criterion's terms over people and solves for what is activated and not suppressed.

    Args:
        generator: frozen.
        faces: face models; the analysis of each person comes from them.
        criterion: what to change, and what to leave.
        solver: how to get matrices and eigenpairs.
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
        solver: Exact,
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
        self.forward_mode = all(term.forward_mode for term in terms)
        for term in terms:
            if term.size is not None and term.size > generator.img_resolution:
                raise problem(
                    f"a size of at most {generator.img_resolution}, the side of the image, for {term.label}",
                    term.size,
                    "lower its size",
                )
        self.factors: list[Tensor] = []
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
            self.add(person, u[None])

    def add(self, person: int, u: Tensor) -> None:
        """Add one person's Jacobians (u is (1, n)), or count why they were skipped."""
        with self.stage("analyse", person):
            with torch.no_grad():
                analysis = Analysis(*self.faces.analyse(self.generator(u, self.space)))
            for each in self.criterion.activate.values():
                if bool(each.term.empty(analysis)):
                    self.people_skipped[each.term.label] += 1
                    return
        sizes: list[int] = []

        def features(v: Tensor) -> Tensor:
            image = self.generator(self.whole(v, u), self.space)
            parts = [term(image, analysis) for term in self.terms]
            sizes[:] = [part.shape[1] for part in parts]
            return torch.cat(parts, 1)

        with self.stage("jacobian", person):
            J = Jacobian(features, u[:, self.coordinates], self.forward_mode)
            matrix = self.solver.matrix(J, lambda done, total: self.tell("jacobian", person, done / total))
        with self.stage("reduce", person):
            parts = list(matrix.split(sizes))
            old = self.factors or [part[:0] for part in parts]
            self.factors = [thin_factor(list(pair)) for pair in zip(old, parts, strict=True)]
        self.people_used += 1

    def whole(self, v: Tensor, u: Tensor) -> Tensor:
        """The latent u (1, n) with the coordinates that may move replaced by v (B, k)."""
        if self.layers is None:
            return v
        return u.expand(len(v), -1).index_copy(1, self.coordinates, v)

    def on_train_epoch_end(self) -> None:
        """Solve, once everyone is in."""
        if not self.people_used:
            what = ", ".join(self.people_skipped)
            raise problem(
                f"people who have what the criterion looks at ({what})",
                f"{self.people_skipped.total()} people without it",
                "raise latents.count, change latents.seed or choose another region",
            )
        with self.stage("solve", self.people_used):
            self.solve()

    def solve(self) -> None:
        """Fill `result` and `metrics` from the factors of the terms."""
        wanted, unwanted = self.criterion.activate, self.criterion.suppress
        mean = self.people_used**-0.5
        factors = [R * mean for R in self.factors]
        weighted = zip(wanted.values(), factors, strict=False)
        A = Dense(torch.cat([R * each.weight**0.5 for each, R in weighted]))
        S = {name: Dense(R) for name, R in zip(unwanted, factors[len(wanted) :], strict=True)}
        bad = {name: Bad(self.solver.solve(S[name]), each.ratio) for name, each in unwanted.items()}
        c = self.criterion
        self.result = project(A, bad, c.projection, c.late, c.activate_ratio, self.solver, c.rank)
        V = self.result.vectors
        directions = V.new_zeros(self.generator.dim(self.space), V.shape[1]).index_copy(0, self.coordinates, V)
        self.result = replace(self.result, vectors=directions)
        leakage = {}
        for name, each in unwanted.items():
            values = bad[name].spectrum.values
            top = float(values[0]) if len(values) else 0.0  # nothing, where no one has its region
            share = S[name].matmat(V).square().sum(0).max() / top if top > 0 else 0.0
            leakage[f"{name} ({each.term.label}), ratio {each.ratio:g}"] = float(share)
        self.metrics = {
            "rank": V.shape[1],
            "eigenvalues": self.result.values.tolist(),
            "explained_energy": float(A.matmat(torch.linalg.qr(V).Q).square().sum() / A.matrix.square().sum()),
            "leakage": leakage,
            "suppressed_rank": 0 if c.projection == "soft" else bad_basis(bad.values(), A.shape[1]).shape[1],
            "latent_dim": self.generator.dim(self.space),
            "coordinates": A.shape[1],
            "people_used": self.people_used,
            "people_skipped": self.people_skipped.total(),
            "skipped_because_empty": dict(self.people_skipped),
        }
