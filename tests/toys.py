"""Small networks of one's own."""

from pathlib import Path

import torch
from torch import nn


class Toy(nn.Module):
    """A face-like drawing: the embedded generator behind two spaces, the second of them in two layers."""

    spaces = ("z", "s")

    def __init__(self, shift=0.0):
        super().__init__()
        from ice_lightning import load_generator

        self.inner = load_generator("embedded")
        self.shift = nn.Parameter(torch.tensor(float(shift)))

    def sample(self, n, seed=0):
        return self.inner.sample(n, seed)

    def convert(self, u, src, dst):
        return self.inner.convert(u, src, "w").repeat(1, 2) if (src, dst) == ("z", "s") else u

    def widths(self, space):
        return {"z": [self.inner.z_dim], "s": [self.inner.w_dim] * 2}[space]

    def resolutions(self, space):
        return {"z": [128], "s": [16, 64]}[space]

    def forward(self, u, space):
        if space == "z":
            return self.inner(u, "z") + self.shift
        low, high = u.chunk(2, 1)
        rows = torch.cat([low.repeat(1, 6), high.repeat(1, self.inner.num_ws - 6)], 1)
        return self.inner(rows, "w+") + self.shift


def truncated(path: Path, side: int) -> Path:
    """Write the embedded generator without its last blocks: the same portraits, coarser, for a fraction of the cost.

    It draws by skips (Karras et al. 2020), so that every block has a picture of its own.

    Args:
        path: of the file.
        side: of its pictures, 32 or 64. Face models read 64 px as they read 128; at 32 they find skin and hair.
    """
    from ice_lightning.checkpoints import ASSETS, read_network, save_network
    from ice_lightning.modules.stylegan2 import Generator

    state, config = read_network(ASSETS / "generator.safetensors", "generator")
    G = Generator(**(config | {"img_resolution": side}))
    assert not G.load_state_dict(state, strict=False).missing_keys
    save_network(path, G, "generator", config | {"img_resolution": side})
    return path
