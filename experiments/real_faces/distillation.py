"""Training the student: pairs of pictures of the same z, and later an adversary that sees both populations.

Distillation of a generator into another (Aguinaldo et al. 2019, arXiv 1902.00159) ends in means where the student
can't follow; the adversary turns those into pictures again. The teacher draws fresh people at every step.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytorch_lightning as pl
import torch
from discriminator import Discriminator
from losses import deceive, discern, matching, pyramid, r1
from plan import Phase, Plan
from student import drawn
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.modules.stylegan2 import Generator

SEED = 2_000_000_000
"""Training's people come from seeds above it, held-out ones from seeds below."""


class Distillation(pl.LightningModule):
    """Student and adversary.

    Args:
        teacher: z (N, z_dim) -> pictures (N, 3, 64, 64) in 0..1; no part of this module, nor of its checkpoints.
        generator: the student.
        discriminator: the adversary.
        plan: what holds when.
        minutes: how long the whole training takes, all its runs together.
        compiled: compile both networks.

    `average` is the student whose weights are running means, which is the one to keep.
    """

    def __init__(
        self,
        teacher: Callable[[Tensor], Tensor],
        generator: Generator,
        discriminator: Discriminator,
        plan: Plan,
        minutes: float,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.teacher, self.plan, self.minutes = teacher, plan, minutes
        self.generator, self.discriminator = generator, discriminator
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.steps, self.images, self.seconds = 0, 0, 0.0
        self.began = time.monotonic()
        draw = torch.compile(drawn) if compiled else drawn
        judge = torch.compile(discriminator.forward) if compiled else discriminator.forward
        self.draw: Callable[[Tensor, int], Tensor] = lambda z, side: draw(self.generator, z, side)
        self.judge: Callable[[Tensor], tuple[Tensor, list[Tensor]]] = judge

    def train_dataloader(self) -> Iterator[int]:
        """Nothing but steps: people come from the number of the step, so that a resumed training goes on with them."""
        return count()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for both, as in Karras et al. 2019b: no momentum, beta2 = 0.99, epsilon = 1e-8."""
        halves = (self.generator.mapping, self.generator.synthesis)
        student: list[dict[str, Any]] = [{"params": list(half.parameters())} for half in halves]
        adversary = [{"params": list(self.discriminator.parameters())}]
        # Fused, a step takes a third of the time.
        return [
            torch.optim.Adam(groups, lr=0.0, betas=(0.0, 0.99), eps=1e-8, fused=True) for groups in (student, adversary)
        ]

    def on_train_start(self) -> None:
        """The clock goes on from where it was."""
        self.began = time.monotonic() - self.seconds

    @property
    def progress(self) -> float:
        """Share of the time that has passed, 1 at the end."""
        return self.seconds / (60 * self.minutes)

    def people(self, count: int) -> Tensor:
        """The latents (count, z_dim) of this step."""
        draw = torch.Generator().manual_seed(SEED + self.steps)
        return torch.randn(count, self.generator.z_dim, generator=draw).to(self.device)

    def training_step(self, _: int) -> None:
        """One step of the student and, once there is one, of the adversary."""
        now = self.plan.at(self.progress)
        student, adversary = self.optimizers()  # type: ignore[attr-defined]
        groups = [*student.param_groups, *adversary.param_groups]
        for group, rate in zip(groups, (now.mapping_rate, now.rate, now.rate), strict=True):
            group["lr"] = rate * min(1.0, (self.steps + 1) / 100)
        z = self.people(now.batch)
        with torch.no_grad():
            real = self.teacher(z).float() * 2 - 1
        fake = self.draw(z, now.side).float()
        target = F.adaptive_avg_pool2d(real, now.side)
        told = {"paired": pyramid(fake, target)}
        self.descend(student, self.student_loss(now, fake, real, told))
        self.follow()
        if now.adversarial:
            self.descend(adversary, self.adversary_loss(real, fake.detach(), told))
        self.steps, self.images = self.steps + 1, self.images + now.batch
        self.seconds = time.monotonic() - self.began
        self.log_dict(told, on_step=False, on_epoch=True, batch_size=1)

    def descend(self, optimiser: Any, loss: Tensor) -> None:
        """One step of an optimiser."""
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimiser.step()

    def student_loss(self, now: Phase, fake: Tensor, real: Tensor, told: dict[str, Tensor]) -> Tensor:
        """What the student is to lower; its parts join `told`."""
        loss = now.paired * told["paired"]
        if now.adversarial:
            with frozen(self.discriminator):
                logits, found = self.judge(fake)
                with torch.no_grad():
                    _, wanted = self.judge(real)
            told["matched"], told["deceive"] = matching(found, wanted), deceive(logits)
            loss = loss + now.matched * told["matched"] + now.adversarial * told["deceive"]
        return loss

    def adversary_loss(self, real: Tensor, fake: Tensor, told: dict[str, Tensor]) -> Tensor:
        """What the adversary is to lower; its parts join `told`."""
        trusted, suspected = self.judge(real)[0], self.judge(fake)[0]
        told["discern"] = loss = discern(trusted, suspected)
        told["trusted"], told["suspected"] = (trusted > 0).float().mean(), (suspected > 0).float().mean()
        if self.steps % self.plan.r1_every == 0:
            with torch.autocast(self.device.type, enabled=False):  # squares of small gradients
                told["r1"] = r1(self.discriminator, real)  # compiled code has no second derivatives
            loss = loss + self.plan.gamma * self.plan.r1_every * told["r1"]
        return loss

    @torch.no_grad()
    def follow(self) -> None:
        """Let the averaged student follow after a step, faster in the beginning."""
        keep = 0.5 ** (1 / min(self.plan.half_life, 0.05 * (self.steps + 1)))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - keep)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Steps, pictures and seconds go with the weights."""
        checkpoint["course"] = {"steps": self.steps, "images": self.images, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """And come back."""
        self.steps, self.images, self.seconds = (checkpoint["course"][name] for name in ("steps", "images", "seconds"))


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """No gradients for its weights meanwhile."""
    net.requires_grad_(False)
    try:
        yield
    finally:
        net.requires_grad_(True)
