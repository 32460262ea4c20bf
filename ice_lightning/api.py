"""A plain Python call for every task: objects in, objects out, and no file is written.

from ice_lightning import discover, explain, judge, load_generator

G = load_generator("embedded")
S = discover(G, "hair_color", people=8, progress=True)
E = explain(G, "smiling_biased", S, people=8)
print(judge([E]).sentence)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ice_lightning import inversion, traversal
from ice_lightning.checks import Mismatch, at_least, one_of, problem
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.counterfactuals import Gradient
from ice_lightning.counterfactuals.base import CounterfactualMethod
from ice_lightning.criterions import Criterion
from ice_lightning.discovery.callbacks import StageProgress
from ice_lightning.discovery.module import Discovery
from ice_lightning.discovery.provenance import provenance
from ice_lightning.explanation import verdict
from ice_lightning.explanation.controls import ControlSettings
from ice_lightning.explanation.module import Explainer
from ice_lightning.explanation.rows import Explained
from ice_lightning.explanation.verdict import SubspaceVerdict, summary
from ice_lightning.faces.embedded import perceptual
from ice_lightning.latents import LatentDataModule
from ice_lightning.metrics import Measurement
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.population import POPULATION, layer_covariances
from ice_lightning.reports import figures
from ice_lightning.reports.explanation import headline
from ice_lightning.reports.page import picture
from ice_lightning.solvers import BlockKrylov, FullJacobian
from ice_lightning.subspace import Subspace
from ice_lightning.tasks.base import quieten
from ice_lightning.tasks.build import build_criterion, built, composed, config_of, layers_of
from ice_lightning.tasks.settings import resolved
from ice_lightning.wording import words

EXPLAINED = 1_000_000
"""Seed of the first person who is explained, whom no search for a subspace has seen; as on the command line."""
WALKED = 2_000_000
"""The same of people who are moved along directions."""


def discover(
    generator: AnyGenerator,
    criterion: str | Criterion,
    people: int = 32,
    *,
    seed: int = 0,
    space: str = "s",
    geometry: str = "population",
    layers: str | None = None,
    solver: str | BlockKrylov | FullJacobian = "krylov",
    precision: str = "float32",
    faces: Faces | None = None,
    progress: bool = False,
) -> Subspace:
    """A criterion's subspace.

    Args:
        generator: of `load_generator`, or one of your own that answers as `AnyGenerator` does.
        criterion: the name of a preset, or terms of your own.
        people: to average over.
        seed: person i is drawn from seed + i.
        space: z, w, w+ or s.
        geometry: population, in whose deviations people are moved by an explanation, or euclidean, which is what the
            command line's discoveries take unless it is told otherwise.
        layers: of w+ or s that may move, such as 4-8 or coarse; None for the preset's.
        solver: krylov or exact, or one with settings of its own.
        precision: of the generator: float32, tf32 (on a GPU) or bfloat16.
        faces: the face models; None for those of the embedded generator.
        progress: whether to show how far it is.

    Returns:
        The subspace, with what made it in its provenance.

    Raises:
        IceError: in one sentence.

    Example:
        >>> from ice_lightning import discover, load_generator
        >>> S = discover(load_generator("embedded"), "hair_color", people=1)
        >>> S.space, S.directions.shape[0]
        ('s', 1408)
    """
    _count("people", people)
    if not isinstance(criterion, str | Criterion):
        raise problem("the name of a preset or a Criterion", repr(criterion), "task=list names the presets")
    named = {"criterion": criterion} if isinstance(criterion, str) else {}
    cfg = composed(**named | ({"solver": solver} if isinstance(solver, str) else {}))
    cfg.space, cfg.geometry, cfg.layers, cfg.precision = space, geometry, layers, precision
    cfg.latents.count, cfg.latents.seed = people, seed
    config, faces = resolved(cfg), _faces(faces, generator)
    if isinstance(criterion, str):
        criterion, layers = build_criterion(cfg.criterion, faces, generator.resolution), layers_of(cfg, generator)
    else:
        config["criterion"] = {"name": criterion.name}
    chosen = built(cfg.solver) if isinstance(solver, str) else solver
    data = LatentDataModule(generator, space, people, seed)
    module = Discovery(generator, faces, criterion, chosen, people, space, layers, precision, metric=geometry)
    trainer = _trainer(generator, [StageProgress()] if progress else [])
    trainer.fit(module, datamodule=data)
    return Subspace(module.result.vectors, module.result.values, space, provenance(module, config))


@dataclass(frozen=True)
class Explanation:
    """Counterfactuals of a classifier within a subspace.

    Attributes:
        explained: what is known of everyone, as `judge` takes it.
        measured: figures by name, each with its value, of how many, and over whom.
        module: what searched, for drawing.
        made: the classifier, and what its outcomes in random subspaces depend on beside it.
    """

    explained: Explained
    measured: Mapping[str, Measurement]
    module: Explainer
    made: tuple[Any, ...]

    @property
    def summary(self) -> SubspaceVerdict:
        """What it says by itself: flips, effort, and against random subspaces."""
        return summary(self.explained)

    @property
    def sentence(self) -> str:
        """In plain words."""
        return headline(self.summary)

    def counterfactuals(self, people: int = 8) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) of at most so many people who flip, and their counterfactuals, least effort first."""
        rows = self.explained.rows
        return self.module.counterfactuals(rows.select(rows.flips_by_effort()[:people]))

    def figure(self, people: int = 8) -> Figure | None:
        """At most so many people who flip, beside their counterfactuals; None where nobody does."""
        rows = self.explained.rows
        before, after = self.counterfactuals(people)
        if not len(before):
            return None
        effort = rows.named.effort[rows.named.flipped].sort().values[:people].tolist()
        labels = [f"{each:.2f} deviations" for each in effort]
        return figures.counterfactuals(torch.stack([before, after], 1), labels, self.sentence)

    def _repr_html_(self) -> str:
        """For notebooks: the sentence and the picture."""
        figure = self.figure()
        return f"<p>{self.sentence}</p>" + ("" if figure is None else picture(figures.png(figure), self.sentence))


def explain(
    generator: AnyGenerator,
    classifier: str | nn.Module | Callable[[Tensor], Tensor],
    subspace: Subspace,
    people: int = 64,
    *,
    name: str | None = None,
    seed: int = EXPLAINED,
    directions: int | None = 8,
    method: CounterfactualMethod | None = None,
    controls: ControlSettings | None = None,
    oracles: Mapping[str, nn.Module] | None = None,
    faces: Faces | None = None,
    criterion: Criterion | None = None,
    alike: Explanation | None = None,
) -> Explanation:
    """The smallest moves within a subspace that change a classifier's mind, for every person of a population.

    Args:
        generator: of the subspace.
        classifier: the name of an embedded one, or anything that maps images (N, 3, H, W) in 0..1 to scores (N,), whose
            sign is the decision.
        subspace: of `discover` or `load_subspace`.
        people: how many.
        name: of the classifier, for sentences.
        seed: person i is drawn from seed + i.
        directions: at most so many, the strongest; None for all.
        method: of search; None for `Gradient()`.
        controls: what the subspace is compared with; None for twenty random subspaces.
        oracles: other classifiers by name, for what changes as well and for slices.
        faces: the face models; None for those of the embedded generator.
        criterion: of the subspace, where it isn't a preset.
        alike: an explanation of the same classifier and people, whose outcomes in random subspaces of the same
            dimension are taken instead of being searched again; refused where it scores otherwise by now.

    Raises:
        IceError: in one sentence.

    Example:
        >>> from ice_lightning import discover, explain, load_generator
        >>> from ice_lightning.explanation import ControlSettings
        >>> G = load_generator("embedded")
        >>> E = explain(G, "smiling", discover(G, "hair_color", 1), 2, controls=ControlSettings(subspaces=0))
        >>> E.summary.flips.of
        2
    """
    _count("people", people)
    subspace.check_generator(generator.fingerprint)
    if directions is not None:
        subspace = subspace.strongest(_count("directions", directions))
    called = name or (classifier if isinstance(classifier, str) else getattr(classifier, "__name__", None))
    network = embedded_classifier(classifier) if isinstance(classifier, str) else classifier
    if not isinstance(network, nn.Module):
        network = Called(network)
    faces = _faces(faces, generator)
    if criterion is None:
        config = subspace.provenance.get("config", {}).get("criterion", {})
        if "activate" not in config:
            raise problem("the criterion of the subspace", "none", "pass criterion=, as discover took it")
        criterion = build_criterion(config_of(config), faces, generator.resolution)
    method, controls, oracles = method or Gradient(), controls or ControlSettings(), dict(oracles or {})
    made = (
        classifier,
        generator.fingerprint,
        subspace.space,
        subspace.directions.shape[1],
        people,
        seed,
        method,
        controls,
    )
    if alike is not None and alike.made != made:
        what = "an explanation of the same classifier, people, dimension and settings"
        raise problem(what, "another", "drop alike", Mismatch)
    module = Explainer(
        generator, network, faces, subspace, method, layer_covariances(generator, subspace.space),
        generator.people(POPULATION, seed, subspace.space), criterion, oracles, controls,
        random_done=None if alike is None else alike.module.random_done,
    )  # fmt: skip
    trainer = _trainer(generator, [], inference_mode=False)
    modes = [(each, each.training) for net in (network, generator, faces, *oracles.values()) for each in net.modules()]
    try:
        trainer.test(module, datamodule=LatentDataModule(generator, subspace.space, people, seed), verbose=False)
    finally:
        for each, training in modes:
            each.training = training
    if alike is not None and not torch.equal(module.rows.before, alike.explained.rows.before):
        raise problem(
            "the classifier and generator of that explanation",
            "other scores of the same people",
            "drop alike",
            Mismatch,
        )
    label, made_of = called or type(classifier).__name__, subspace.provenance.get("criterion", "subspace")
    explained = Explained(Path(), label, made_of, subspace.directions.shape[1], module.rows, tuple(oracles))
    return Explanation(explained, module.measured, module, made)


class Called(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,)."""
        return self.function(image)


@dataclass(frozen=True)
class Verdict(verdict.ClassifierVerdict):
    """What a classifier looks at, with its picture."""

    def figure(self) -> Figure:
        """A bar for each subspace beside what random ones do."""
        return figures.verdict(self)

    def _repr_html_(self) -> str:
        """For notebooks: the sentence and the picture."""
        return f"<p>{self.sentence}</p>{picture(figures.png(self.figure()), self.sentence)}"


def judge(explanations: Sequence[Explanation]) -> Verdict:
    """Which subspaces one classifier looks at, from an explanation for each.

    Raises:
        IceError: where they aren't of the same classifier and people, or none is given.
    """
    at_least("explanations to judge", len(explanations), 1)
    first = explanations[0].made[0]
    if any(each.made[0] != first for each in explanations):
        names = ", ".join(dict.fromkeys(each.explained.classifier for each in explanations))
        raise problem("explanations of one classifier", names, "judge each by itself", Mismatch)
    return Verdict(**vars(verdict.judge([each.explained for each in explanations])))


@torch.no_grad()
def traverse(
    generator: AnyGenerator,
    subspace: Subspace,
    people: int | Tensor = 4,
    *,
    direction: int = 0,
    strength: float | None = None,
    seed: int = WALKED,
) -> Figure:
    """People along a direction, at five strengths.

    Args:
        generator: of the subspace.
        subspace: whose direction it is.
        people: how many, or latents (N, n).
        direction: 0 is the strongest.
        strength: at the ends; None for where the change is plain to see.
        seed: of the first person.
    """
    subspace.check_generator(generator.fingerprint)
    u = people if isinstance(people, Tensor) else generator.people(_count("people", people), seed, subspace.space)
    top = strength or traversal.visible_strength(generator, subspace, u, direction)
    strengths = traversal.strengths_to(top)
    images = traversal.traverse(generator, subspace, u, strengths, direction)
    title = words(f"{subspace.provenance.get('criterion', 'subspace')}: direction {direction}")
    return figures.traversal(images, figures.headings(strengths), title)


def invert(
    generator: AnyGenerator, pictures: str | Path | Tensor, *, space: str = "s", steps: int = 200, rate: float = 0.05
) -> inversion.Inverted:
    """Latents whose images are given pictures.

    Args:
        generator: whose latents.
        pictures: a file, a folder, or images (N, 3, H, W) in 0..1 at the generator's resolution.
        space: z, w, w+ or s.
        steps: gradients.
        rate: of Adam, in standard deviations of the population.
    """
    side = generator.resolution
    target = pictures if isinstance(pictures, Tensor) else inversion.read_pictures(pictures, side)[1]
    one_of("space", space, generator.spaces)
    between = inversion.through(space, generator.spaces)
    with torch.no_grad():
        population = generator.people(POPULATION // 4, 0, between)
    found = inversion.invert(lambda v: generator(v, between), target, population, perceptual(), steps, rate)
    return found._replace(u=generator.convert(found.u, between, space)) if between != space else found


def _count(name: str, value: int) -> int:
    """A whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise problem(f"{name} as a whole number", repr(value), "such as 32")
    return at_least(name, value, 1)


def _faces(faces: Faces | None, generator: AnyGenerator) -> Faces:
    """Those given; else the embedded ones, of the embedded generator alone."""
    from ice_lightning.checkpoints import ASSETS, sha256
    from ice_lightning.faces import embedded_faces

    if faces is not None:
        return faces
    if generator.fingerprint != sha256(ASSETS / "generator.safetensors"):
        fix = "pass faces=, of ice_lightning.faces: landmark_faces(...) or pretrained_faces(...)"
        raise problem("face models for this generator", "none", fix)
    return embedded_faces()


def _trainer(generator: AnyGenerator, callbacks: list[pl.Callback], **more: Any) -> pl.Trainer:
    quieten()
    device = next(iter(generator.parameters())).device
    return pl.Trainer(
        accelerator="cpu" if device.type == "cpu" else "gpu", devices=1, max_epochs=-1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=callbacks, **more,
    )  # fmt: skip
