"""The call of an explanation, the same from Python and from the command line: objects in, a searched module out."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
from torch import nn

from ice_lightning.counterfactuals.base import CounterfactualMethod
from ice_lightning.criterions import Criterion
from ice_lightning.discovery.local import LocalProblem
from ice_lightning.explanation.controls import ControlSettings
from ice_lightning.explanation.module import Explainer
from ice_lightning.explanation.outcomes import RandomOutcomes
from ice_lightning.explanation.rows import Rows
from ice_lightning.latents import LatentDataModule
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.population import POPULATION, layer_covariances
from ice_lightning.subspace import Subspace


def explain(
    generator: AnyGenerator,
    classifier: nn.Module,
    faces: Faces,
    subspace: Subspace,
    criterion: Criterion,
    method: CounterfactualMethod,
    people: LatentDataModule,
    trainer: pl.Trainer,
    *,
    seed: int,
    oracles: Mapping[str, nn.Module],
    controls: ControlSettings,
    convention: str = "own",
    query: str | None = None,
    done: Mapping[int, Rows] | None = None,
    random_done: Mapping[int, RandomOutcomes] | None = None,
    local: LocalProblem | None = None,
    held: bool = False,
    keep_directions: bool = False,
) -> Explainer:
    """Search everyone's counterfactual within a subspace, and measure them.

    Args:
        generator: of the subspace, frozen.
        classifier: images (N, 3, H, W) in 0..1 -> scores (N,), whose sign is the decision.
        faces: face models, for what is measured.
        subspace: where people may move, in all its directions.
        criterion: of the subspace; its activated terms say where a change belongs.
        method: how to search.
        people: latents (N, n) of the subspace's space.
        trainer: runs the search; its callbacks write files and show progress.
        seed: of the first of the other people, on whom the classifier is tried before.
        oracles: other classifiers by name, for attributes that change as well and for slices of the population.
        controls: what the subspace is compared with.
        convention: of the metrics, own or ace.
        query: the oracle that reads what the classifier is asked for; None where none does.
        done: rows of people who were finished before, by their numbers.
        random_done: the same of outcomes in random subspaces.
        local: finds people's own directions; None where everyone moves along the subspace's.
        held: whether flips are held, which takes own directions.
        keep_directions: whether rows hold people's own directions.

    Returns:
        The module, with `rows`, `measured` and `random_done`.

    Raises:
        IceError: in one sentence, for a classifier that can't be explained.
    """
    population = generator.people(POPULATION, seed, subspace.space)
    module = Explainer(
        generator, classifier, faces, subspace, method, layer_covariances(generator, subspace.space), population,
        criterion, oracles, controls, convention, query, done, random_done, local, held, keep_directions,
    )  # fmt: skip
    trainer.test(module, datamodule=people, verbose=False)
    return module
