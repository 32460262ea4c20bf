"""Subspaces that were found before, by the settings and networks that lead to them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ice_lightning.files import LAST
from ice_lightning.tasks.build import tracked
from ice_lightning.tasks.discover import discover
from ice_lightning.tasks.settings import digest_of, resolved, settings

if TYPE_CHECKING:
    from ice_lightning.modules.faces import Faces
    from ice_lightning.modules.generator import AnyGenerator

LOG = logging.getLogger("ice_lightning")


def shipped(cfg: DictConfig, fingerprint: str) -> Path | None:
    """The package's own file of the subspace that the settings of a discovery lead to, where it has enough of it.

    A cap on the rank keeps the strongest directions, which are the same under any cap that leaves them.

    Args:
        cfg: all settings.
        fingerprint: SHA-256 of the generator.
    """
    from ice_lightning.checkpoints import ASSETS
    from ice_lightning.subspace import load_subspace

    file = ASSETS / "subspaces" / f"{cfg.criterion.name}.safetensors"
    if not file.is_file() or cfg.explain.directions is None:
        return None
    subspace = load_subspace(file)
    theirs, ours = settings(OmegaConf.create(subspace.provenance["config"])), settings(cfg)
    names = (theirs | ours).keys() - {"criterion.rank"}
    same = all(theirs.get(name) == ours.get(name) for name in names)  # what isn't said is null
    kept, rank = subspace.directions.shape[1], cfg.criterion.rank  # of the eight strongest: fewer are all there are
    enough = cfg.explain.directions <= kept or kept < 8
    enough &= rank is None or rank >= min(kept, cfg.explain.directions)
    return file if same and enough and subspace.provenance["generator_sha256"] == fingerprint else None


def place_of(cfg: DictConfig, generator: AnyGenerator, faces: Faces) -> Path:
    """Where the subspace is kept to which settings and networks lead.

    Networks count by their weights, since another file may lie under the same path by now.

    Args:
        cfg: all settings.
        generator: of the search.
        faces: the face models.
    """
    from ice_lightning.modules.fingerprint import fingerprint

    what = settings(cfg) | {"fingerprint": generator.fingerprint, "faces": fingerprint(faces)}
    return Path(cfg.explain.subspaces) / f"{cfg.criterion.name}_{digest_of(what)}"


def found_before(cfg: DictConfig, generator: AnyGenerator, faces: Faces) -> Path:
    """The file or folder of the subspace that settings and networks lead to: shipped, found before, or found now.

    Args:
        cfg: all settings.
        generator: of the search.
        faces: the face models.
    """
    if (file := shipped(cfg, generator.fingerprint)) is not None:
        return file
    folder = place_of(cfg, generator, faces)
    if not (folder / "metrics.json").is_file():
        plain = resolved(cfg)
        names = {"save_dir": str(folder), "job_type": "discover", "name": cfg.criterion.name}
        plain["logger"] = plain["logger"] | names if tracked(cfg) else {"_target_": "builtins.bool"}
        plain |= {"run_dir": str(folder), "ckpt_path": "last" if (folder / LAST).is_file() else None}
        # Ranks come when people are explained.
        plain["trainer"] |= {"devices": 1, "strategy": "auto", "num_nodes": 1}
        parts = OmegaConf.create(plain)
        LOG.info(f"finding {cfg.criterion.name} first, into {folder}")
        discover(parts)
    return folder
