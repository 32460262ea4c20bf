"""Small networks of one's own, and people who are their own image."""

from pathlib import Path

import torch
from torch import nn

from ice_lightning.criterions import Activate, Analysis, Criterion, Suppress, Term
from ice_lightning.discovery.features import MovingCoordinates, problem_of
from ice_lightning.discovery.local import LocalProblem
from ice_lightning.solvers.local import Average
from ice_lightning.solvers.problem import WANTED

N = 5
"""Coordinates of people who are their own image."""


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


class Drawer(nn.Module):
    """Latents are their own image, of three channels."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, v, space):
        return v[:, None, None, :].expand(-1, 3, 1, -1)

    def people(self, n, seed, space):
        return 0.1 * torch.randn(n, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def dim(self, space):
        return N


class Seen(Term):
    """Features by a formula of the latent; whose x_4 is below -1 hasn't got what it looks at."""

    def __init__(self, formula, label):
        super().__init__()
        self.formula, self.label = formula, label

    def forward(self, image, analysis):
        return self.formula(image[:, 0, 0])

    def empty(self, analysis):
        return analysis.parse[:, 0, 0] == 1


class Faces:
    """The parse is 1 where somebody has no hair."""

    def analyse(self, image):
        bald = (image[:, 0, 0, 4] < -1).long()
        return Analysis(bald[:, None, None].expand(-1, 1, N), torch.zeros(len(image), 68, 2))


def problem_for(wanted, kept, first, **others):
    """A criterion that changes one formula and keeps others, whose average direction is the coordinate `first`."""
    suppress = {name: Suppress(Seen(formula, name), 1e-2) for name, formula in {"rest": kept, **others}.items()}
    criterion = Criterion(
        "x", "a coordinate", {"hair": Activate(Seen(wanted, "hair"))}, suppress,
        projection="soft",
    )  # fmt: skip
    coordinates = MovingCoordinates(Drawer(), "w", torch.arange(N), ((N, True),), None)
    problem = problem_of(criterion, N, 1)
    X = torch.eye(N, dtype=torch.float64)[:, first : first + 1]
    deviations = dict.fromkeys(problem.suppressed, 1.0) | {WANTED: 1.0}
    average = Average(X, dict.fromkeys(problem.suppressed, 1e4), X[:, :0].T, deviations)
    return LocalProblem(coordinates.drawer, Faces(), criterion, coordinates, problem, average)
