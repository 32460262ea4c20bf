"""Settings as plain values, and which of them decide an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ice_lightning.renamed import originally

if TYPE_CHECKING:
    from torch import nn

    from ice_lightning.modules.generator import AnyGenerator


DECISIVE = ("generator", "criterion", "faces", "solver", "space", "geometry", "layers", "precision", "latents")
"""What decides a search's answer."""


def people_of(cfg: DictConfig) -> dict[str, Any]:
    """Who is explained, and by which file of a classifier: another one may lie under the same path by now."""
    files = {"explain.latents": cfg.explain.latents, "classifier.path": cfg.classifier.get("path")}
    found = {f"content of {name}": digest(Path(path).read_bytes()) for name, path in files.items() if path is not None}
    return found | {"explain.latents": cfg.explain.latents, "explain.seed": cfg.explain.seed}


def digest(data: bytes) -> str:
    """A short name for some content."""
    return hashlib.sha256(data).hexdigest()[:12]


def digest_of(settings: Mapping[str, Any]) -> str:
    """A short name for settings, which stays when a class of theirs moves."""
    return digest(json.dumps(originally(settings), sort_keys=True).encode())


def settings(cfg: DictConfig, parts: Sequence[str] = DECISIVE) -> dict[str, Any]:
    """Some parts of the settings, flat.

    Args:
        cfg: all settings.
        parts: by dotted names.

    Returns:
        Plain values by dotted names, those of lists numbered.

    Example:
        >>> settings(DictConfig({"solver": {"rows": 8}, "late": ["a"], "space": "s"}), ("solver", "late"))
        {'solver.rows': 8, 'late.0': 'a'}
    """

    def flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
        if pairs is None:
            yield name, node
        else:
            for key, value in pairs:
                yield from flat(value, f"{name}.{key}")

    plain = resolved(cfg)

    def find(part: str) -> Any:
        node: Any = plain
        for key in part.split("."):
            node = node[key]
        return node

    return dict(pair for part in parts for pair in flat(find(part), part))


def weights_of(generator: AnyGenerator, **networks: nn.Module) -> dict[str, str]:
    """What a run's answer depends on beside its settings, since another file may lie under the same path by now.

    Args:
        generator: of the run.
        networks: others by name.

    Returns:
        Short digests by name.
    """
    from ice_lightning.modules.fingerprint import fingerprint

    digits = {"generator": generator.fingerprint} | {name: fingerprint(each) for name, each in networks.items()}
    return {f"weights of {name}": each[:12] for name, each in digits.items()}


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The settings as plain values."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
