"""Discovery: people in, a named subspace out, as one epoch of `trainer.fit`."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.operators import Dense, Jacobian
from ice_lightning.projection import early, kept, union
from ice_lightning.solvers import EigenResult, Exact, thin_factor


class Discovery(pl.LightningModule):
    """Sums the energy of a criterion's terms over people and solves for what is activated and not suppressed.

    Args:
        generator: frozen.
        faces: face models; the analysis of each person comes from them.
        criterion: what to change, and what to leave.
        solver: how to get matrices and eigenpairs.
        space: of the latents in the batches.

    After the fit, `result` holds the eigenpairs and `metrics` the numbers of metrics.json.
    """

    result: EigenResult
    metrics: dict[str, Any]

    def __init__(
        self, generator: Generator, faces: Faces, criterion: Criterion, solver: Exact, space: str = "s"
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        one_of("space", space, generator.spaces)
        self.generator, self.faces, self.criterion = generator, faces, criterion
        self.solver, self.space = solver, space
        self.terms = nn.ModuleList([*criterion.activate, *(each.term for each in criterion.suppress)])
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
            for term in self.terms:
                if bool(term.empty(analysis)):  # type: ignore[operator]
                    self.people_skipped[term.label] += 1  # type: ignore[index]
                    return
        sizes: list[int] = []

        def features(v: Tensor) -> Tensor:
            image = self.generator(v, self.space)
            parts = [term(image, analysis) for term in self.terms]
            sizes[:] = [part.shape[1] for part in parts]
            return torch.cat(parts, 1)

        with self.stage("jacobian", person):
            J = Jacobian(features, u)
            matrix = self.solver.matrix(J, lambda done, total: self.tell("jacobian", person, done / total))
        with self.stage("reduce", person):
            parts = list(matrix.split(sizes))
            old = self.factors or [part[:0] for part in parts]
            self.factors = [thin_factor(list(pair)) for pair in zip(old, parts, strict=True)]
        self.people_used += 1

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
        count = len(self.criterion.activate)
        mean = self.people_used**-0.5
        A = Dense(torch.cat(self.factors[:count]) * mean)
        suppressed = [Dense(R * mean) for R in self.factors[count:]]
        spectra = [self.solver.solve(S) for S in suppressed]
        ratios = [each.ratio for each in self.criterion.suppress]
        Q = union([kept(each, ratio) for each, ratio in zip(spectra, ratios, strict=True)], A.shape[1])
        self.result = early(A, Q, self.criterion.activate_ratio, self.solver)
        V = self.result.vectors
        leakage = {}
        for each, S, spectrum in zip(self.criterion.suppress, suppressed, spectra, strict=True):
            share = S.matmat(V).square().sum(0) / spectrum.values[:1].clamp_min(1e-300)
            leakage[f"{each.term.label} <= {each.ratio:g}"] = float(share.max())
        self.metrics = {
            "rank": V.shape[1],
            "eigenvalues": self.result.values.tolist(),
            "explained_energy": float(self.result.values.sum() / A.matrix.square().sum()),
            "leakage": leakage,
            "suppressed_rank": Q.shape[1],
            "latent_dim": A.shape[1],
            "people_used": self.people_used,
            "people_skipped": self.people_skipped.total(),
            "skipped_because_empty": dict(self.people_skipped),
        }
