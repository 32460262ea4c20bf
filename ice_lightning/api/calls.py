"""Calls for tasks. Each makes its arguments objects, then calls what the command line calls with those of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ice_lightning import inversion
from ice_lightning.api.arguments import (
    as_classifier,
    as_faces,
    as_generator,
    as_oracles,
    as_subspace,
    check,
    generator_settings,
    instance,
    undisturbed,
)
from ice_lightning.api.results import Discovered, Explanation, Settings, Verdict
from ice_lightning.checks import Mismatch, at_least, problem
from ice_lightning.counterfactuals.base import CounterfactualMethod
from ice_lightning.criterions import Criterion
from ice_lightning.discovery.callbacks import StageProgress
from ice_lightning.discovery.discover import discover as search_subspace
from ice_lightning.discovery.discover import subspace_of
from ice_lightning.explanation import verdict
from ice_lightning.explanation.controls import ControlSettings
from ice_lightning.explanation.explain import explain as search_counterfactuals
from ice_lightning.explanation.own import problem_or_average
from ice_lightning.explanation.rows import Explained
from ice_lightning.faces.embedded import perceptual
from ice_lightning.latents import LatentDataModule
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.solvers import BlockKrylov, FullJacobian
from ice_lightning.subspace import Subspace
from ice_lightning.tasks.build import build, build_criterion, composed, criterion_of, layers_of, local_problem_of
from ice_lightning.tasks.settings import resolved

EXPLAINED = 1_000_000
"""Seed of the first person who is explained, whom no search for a subspace has seen; as on the command line."""


def discover(
    generator: AnyGenerator,
    criterion: str | Criterion,
    people: int = 32,
    *,
    seed: int = 0,
    space: str = "s",
    geometry: str = "population",
    layers: str | int | None = None,
    solver: str | BlockKrylov | FullJacobian = "krylov",
    precision: str = "float32",
    faces: Faces | None = None,
    progress: bool = False,
) -> Discovered:
    """Find a criterion's subspace.

    Args:
        generator: of `load_generator`, or a module of your own (docs/own_generator.md).
        criterion: the name of a preset, or terms of your own.
        people: to average over, at least 1.
        seed: person i is drawn from seed + i.
        space: z, w, w+ or s.
        geometry: population, in whose deviations people are moved by an explanation, or euclidean: latents as they are.
        layers: of w+ or s that may move, such as "4-8" or "coarse"; None for the preset's.
        solver: krylov or exact, or one with settings of its own.
        precision: of the generator: float32, tf32 (on a GPU) or bfloat16.
        faces: the face models; None for those of the embedded generator.
        progress: whether to show how far it is.

    Returns:
        The subspace, with what made it in its provenance.

    Raises:
        IceError: in one sentence.

    Example:
        G = load_generator("embedded")
        S = discover(G, "hair_color", people=8, progress=True)
        y = G(S.edit(G.people(4, 0, "s"), direction=0, strength=2.0), space="s")
    """
    people, seed = check(people=people, seed=seed)
    check(space=space, geometry=geometry, layers=layers, precision=precision, progress=progress)
    instance("the name of a preset or a Criterion", criterion, (str, Criterion), "task=list names the presets")
    instance("a solver", solver, (str, BlockKrylov, FullJacobian), "pass krylov or exact, or an instance of one")
    groups = {"criterion": criterion, "solver": solver}
    cfg = composed(**{group: name for group, name in groups.items() if isinstance(name, str)})
    with undisturbed():
        generator, embedded = as_generator(generator), faces is None
        faces = as_faces(faces, generator)
    cfg.space, cfg.geometry, cfg.layers, cfg.precision = space, geometry, layers, precision
    cfg.latents.count, cfg.latents.seed = people, seed
    config = resolved(cfg) | {"generator": generator_settings(generator)}
    if not isinstance(solver, str):
        config["solver"] = {"_target_": f"ice_lightning.solvers.{type(solver).__name__}"} | asdict(solver)
    if not embedded:
        config["faces"] = {"_target_": f"{type(faces).__module__}.{type(faces).__qualname__}"}
    with undisturbed(generator, faces):
        if isinstance(criterion, str):
            chosen, moving = build_criterion(cfg.criterion, faces, generator.resolution), layers_of(cfg, generator)
        else:
            chosen, moving = criterion, None if layers in (None, "all") else str(layers)
            config["criterion"] = {"name": criterion.name}
        module = search_subspace(
            generator, faces, chosen, build(cfg.solver) if isinstance(solver, str) else solver,
            LatentDataModule(generator, space, people, seed), _trainer(generator, [StageProgress()] * progress),
            space=space, layers=moving, precision=precision, geometry=geometry,
        )  # fmt: skip
    return Discovered(**vars(subspace_of(module, config)), module=module)


def explain(
    generator: AnyGenerator,
    classifier: str | nn.Module | Callable[[Tensor], Tensor],
    subspace: Subspace,
    people: int = 64,
    *,
    name: str | None = None,
    seed: int = EXPLAINED,
    directions: int | None = 8,
    method: str | CounterfactualMethod = "gradient",
    controls: ControlSettings | None = None,
    oracles: Mapping[str, nn.Module | Callable[[Tensor], Tensor]] | None = None,
    faces: Faces | None = None,
    criterion: str | Criterion | None = None,
    alike: Explanation | None = None,
    local: bool | None = None,
    held: bool = False,
) -> Explanation:
    """Find the smallest moves within a subspace that change a classifier's mind, for every person of a population.

    Args:
        generator: of the subspace.
        classifier: the name of an embedded one, or anything that maps images (N, 3, H, W) in 0..1 to scores (N,), whose
            sign is the decision.
        subspace: of `discover` or `load_subspace`.
        people: how many, at least 1.
        name: of the classifier, for sentences.
        seed: person i is drawn from seed + i.
        directions: at most so many, the strongest; None for all.
        method: of search: gradient, line or paper, or one with settings of its own.
        controls: what the subspace is compared with; None for twenty random subspaces.
        oracles: other classifiers by name, for what changes as well and for slices.
        faces: the face models; None for those of the embedded generator.
        criterion: of the subspace, where it isn't a preset.
        alike: an explanation of the same classifier and people, whose outcomes in random subspaces of the same
            dimension are taken instead of being searched again; refused where it scores otherwise by now.
        local: whether everyone moves along directions of their own; None where the subspace has what finds them.
        held: whether what the criterion suppresses is held still at the flips, which takes own directions.

    Returns:
        What was found of everyone, in `explained.rows`, and its summary.

    Raises:
        IceError: in one sentence.

    Example:
        E = explain(G, "smiling", S, people=64)
        print(E.sentence)
        before, after = E.counterfactuals(8)
    """
    people, seed, directions, _ = check(people=people, seed=seed, directions=directions, name=name)
    check(local=local, held=held)
    if controls is None:
        controls = ControlSettings()
    instance("controls as ControlSettings", controls, ControlSettings, "import it from ice_lightning.explanation")
    if criterion is not None:
        instance("the name of a preset or a Criterion", criterion, (str, Criterion), "pass it as discover took it")
    if alike is not None:
        instance("an Explanation as alike", alike, Explanation, "pass one that explain returned")
    with undisturbed():
        generator, others, search = as_generator(generator), as_oracles(oracles), _method(method)
        subspace, network = as_subspace(subspace, generator), as_classifier(classifier)
        faces = as_faces(faces, generator)
        if isinstance(criterion, str):
            criterion = build_criterion(composed(criterion=criterion).criterion, faces, generator.resolution)
        elif criterion is None:
            criterion = criterion_of(subspace, faces, generator.resolution)
    whole, found_for = subspace, criterion
    subspace = subspace if directions is None else subspace.strongest(directions)
    with undisturbed(generator, faces):
        own = problem_or_average(lambda: local_problem_of(whole, generator, faces, found_for), local, held)
    space, dimension = subspace.space, subspace.directions.shape[1]
    dimension = dimension if own is None else own.most(dimension)
    settings = Settings(classifier, generator.fingerprint, space, dimension, people, seed, search, controls)
    if alike is not None and alike.settings != settings:
        what = "an explanation of the same classifier, people, dimension and settings"
        raise problem(what, "another", "drop alike", Mismatch)
    with undisturbed(network, generator, faces, *others.values()):
        module = search_counterfactuals(
            generator, network, faces, subspace, criterion, search, LatentDataModule(generator, space, people, seed),
            _trainer(generator, [], inference_mode=False), seed=seed, oracles=others, controls=controls,
            random_done=None if alike is None else alike.module.random_done, local=own, held=held,
        )  # fmt: skip
    if alike is not None and not torch.equal(module.rows.before, alike.explained.rows.before):
        got = "other scores of the same people"
        raise problem("the classifier and generator of that explanation", got, "drop alike", Mismatch)
    label = name or (classifier if isinstance(classifier, str) else getattr(classifier, "__name__", None))
    preset = subspace.provenance.get("criterion", "subspace")
    explained = Explained(Path(), label or type(classifier).__name__, preset, dimension, module.rows, tuple(others))
    return Explanation(explained, module.measured, module, settings)


def judge(explanations: Sequence[Explanation | Explained]) -> Verdict:
    """Which subspaces one classifier looks at, from an explanation for each.

    Args:
        explanations: of `explain`, or of run folders by `ice_lightning.explanation.load_explained`.

    Returns:
        The verdict, with a sentence, a table and a figure.

    Raises:
        IceError: where they aren't of the same classifier and people, or none is given.
    """
    fix = "judge([E]) takes what explain returned"
    runs = list(instance("a list of explanations", explanations, (list, tuple), fix))
    at_least("explanations to judge", len(runs), 1)
    for each in runs:
        instance("explanations in the list", each, (Explanation, Explained), fix)
    made = [each.settings if isinstance(each, Explanation) else None for each in runs]
    rows = [each.explained if isinstance(each, Explanation) else each for each in runs]
    classifiers = [one.classifier if one else each.classifier for one, each in zip(made, rows, strict=True)]
    if any(each != classifiers[0] for each in classifiers):
        names = ", ".join(dict.fromkeys(each.classifier for each in rows))
        raise problem("explanations of one classifier", names, "judge each by itself", Mismatch)
    who = {(one.people, one.seed): f"{one.people} from seed {one.seed}" for one in made if one}
    if len(who) > 1:
        fix = "give explain the same people and seed each time"
        raise problem("explanations of the same people", ", ".join(who.values()), fix, Mismatch)
    return Verdict(**vars(verdict.judge(rows)))


def invert(
    generator: AnyGenerator, pictures: str | Path | Tensor, *, space: str = "s", steps: int = 200, rate: float = 0.05
) -> inversion.Inverted:
    """Find latents whose images are given pictures.

    Args:
        generator: whose latents.
        pictures: a file, a folder, or images (N, 3, H, W) in 0..1 at the generator's resolution.
        space: of the latents: z, w, w+ or s.
        steps: gradients, at least 1.
        rate: of Adam, in standard deviations of the population, above 0.

    Returns:
        Latents (N, n), their images, and PSNR in dB.

    Raises:
        IceError: in one sentence.

    Example:
        found = invert(G, "photo.png")
        print(found.psnr)
    """
    _, steps, rate = check(space=space, steps=steps, rate=rate)
    fix = "pass a path, or images (N, 3, H, W) in 0..1"
    instance("pictures", pictures, (str, Path, Tensor), fix)
    with undisturbed():
        generator = as_generator(generator)
    with undisturbed(generator):
        resolution = generator.resolution
        if isinstance(pictures, Tensor):
            images = _images(pictures, resolution).to(next(generator.parameters()))
        else:
            images = inversion.read_pictures(pictures, resolution)[1]
        return inversion.invert_pictures(generator, images, space, perceptual(), steps, rate)


def _method(method: Any) -> CounterfactualMethod:
    """A way to search, by its name or as an object."""
    if isinstance(method, str):
        found: CounterfactualMethod = build(composed(counterfactual=method).counterfactual)
        return found
    if isinstance(method, type) or not callable(method):
        fix = "pass gradient, line or paper, or an instance of ice_lightning.counterfactuals"
        raise problem("a method of search", repr(method), fix)
    search: CounterfactualMethod = method
    return search


def _images(images: Tensor, resolution: int) -> Tensor:
    """Images (N, 3, H, W) in 0..1 of at least one person."""
    if images.ndim != 4 or images.shape[1:] != (3, resolution, resolution) or not len(images):
        fix = "resize them, or pass their files"
        raise problem(f"images (N, 3, {resolution}, {resolution})", tuple(images.shape), fix)
    inside = images.is_floating_point() and bool(((images >= 0) & (images <= 1)).all())
    if not inside:
        real = images.real
        got = f"{images.dtype} from {float(real.min()):.3g} to {float(real.max()):.3g}"
        raise problem("images as floating numbers in 0..1", got, "divide bytes by 255, or clamp(0, 1) them")
    return images.clone()


def _trainer(generator: AnyGenerator, callbacks: list[Any], **more: Any) -> pl.Trainer:
    """One process on the generator's device, which writes and prints nothing."""
    device = next(iter(generator.parameters())).device
    return pl.Trainer(
        accelerator="cpu" if device.type == "cpu" else "gpu", devices=1, max_epochs=-1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=callbacks, **more,
    )  # fmt: skip
