from dataclasses import replace

import pytest
import torch

from ice_lightning.checkpoints import ASSETS
from ice_lightning.subspace import load_subspace
from ice_lightning.traversal import FARTHEST, VISIBLE, most_changed, visible_strength

SUBSPACE = ASSETS / "subspaces" / "hair_color.safetensors"


@pytest.mark.parametrize("direction", [0, 4])
def test_the_strength_is_where_the_change_is_as_large_as_wanted(generator, direction):
    S = load_subspace(SUBSPACE)
    u = generator.convert(generator.sample(2, 50), "z", "s")
    strength = visible_strength(generator, S, u, direction)
    original = generator(u, "s").clamp(0, 1)
    sides = [generator(S.edit(u, direction, s), "s").clamp(0, 1) for s in (-strength, strength)]
    seen = torch.stack([most_changed(side, original).mean() for side in sides]).mean()
    assert float(seen) == pytest.approx(VISIBLE, rel=0.031)


def test_a_direction_that_shows_nothing_is_walked_to_the_end(generator):
    S = load_subspace(SUBSPACE)
    still = replace(S, directions=1e-30 * S.directions)
    u = generator.convert(generator.sample(1), "z", "s")
    assert visible_strength(generator, still, u) > 0.99 * FARTHEST
