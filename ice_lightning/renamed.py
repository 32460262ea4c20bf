"""Names of classes that files on disk have written down, from before they moved.

A subspace, rows of an explanation and a checkpoint hold the settings that led to them, with the `_target_` of each
part; names of caches are digests of such settings. All of these go on being found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "ice_lightning.krylov.BlockKrylov": "ice_lightning.solvers.BlockKrylov",
    "ice_lightning.krylov.Whole": "ice_lightning.solvers.FullJacobian",
    "ice_lightning.counterfactual.Gradient": "ice_lightning.counterfactuals.Gradient",
    "ice_lightning.counterfactual.Line": "ice_lightning.counterfactuals.Line",
    "ice_lightning.counterfactual.Paper": "ice_lightning.counterfactuals.Paper",
    "ice_lightning.modules.faces.embedded": "ice_lightning.faces.embedded_faces",
    "ice_lightning.modules.pretrained.pretrained": "ice_lightning.faces.pretrained_faces",
    "ice_lightning.modules.landmark_faces.landmark_faces": "ice_lightning.faces.landmark_faces",
    "ice_lightning.modules.classifier.embedded": "ice_lightning.classifiers.embedded_classifier",
    "ice_lightning.modules.classifier.own": "ice_lightning.classifiers.load_classifier",
    "ice_lightning.modules.classifier.timm": "ice_lightning.classifiers.timm_classifier",
    "ice_lightning.tracking.Tracker": "ice_lightning.loggers.Tracker",
    "ice_lightning.run.Comparison": "ice_lightning.tasks.Comparison",
}
"""Old name -> today's."""

GROUPS = {"method": "counterfactual"}
"""Old group of the configuration -> today's."""

ORIGINAL, FORMER_GROUPS = ({new: old for old, new in names.items()} for names in (RENAMED, GROUPS))


def renamed(
    settings: Mapping[str, Any], names: Mapping[str, str] = RENAMED, groups: Mapping[str, str] = GROUPS
) -> dict[str, Any]:
    """Settings as they would be written today.

    Args:
        settings: plain values by group or by dotted names, lists and dictionaries of them; a copy is returned.
        names: what to put in place of what, wherever it stands.
        groups: the same for a group, or the first part of a dotted name.

    Returns:
        The copy.

    Example:
        >>> renamed({"solver._target_": "ice_lightning.krylov.BlockKrylov", "method.bound": None})
        {'solver._target_': 'ice_lightning.solvers.BlockKrylov', 'counterfactual.bound': None}
    """

    def today(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: today(each) for key, each in value.items()}
        if isinstance(value, list):
            return [today(each) for each in value]
        return names.get(value, value) if isinstance(value, str) else value

    def group(name: str) -> str:
        first, dot, rest = name.partition(".")
        return groups.get(first, first) + dot + rest

    return {group(name): today(value) for name, value in settings.items()}


def originally(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they were written first: digests of these name caches."""
    return renamed(settings, ORIGINAL, FORMER_GROUPS)
