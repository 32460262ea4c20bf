"""What made a subspace, as it stands in its file."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ice_lightning.discovery.module import Discovery

PACKAGES = ("ice_lightning", "torch", "pytorch-lightning")


def provenance(module: Discovery, config: Mapping[str, Any]) -> dict[str, Any]:
    """Criterion, generator, people, settings and versions, as JSON has them.

    Args:
        module: a discovery that has found its subspace.
        config: the settings that led to it, with `latents.seed` among them.
    """
    return {
        "criterion": module.criterion.name,
        "generator": module.generator.name,
        "generator_sha256": module.generator.fingerprint,
        "seed": config["latents"]["seed"],
        "config": dict(config),
        "people_used": module.people_used,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }
