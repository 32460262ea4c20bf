"""Train second readers for photographic faces: landmarks and identity that no search has used.

    OMP_NUM_THREADS=1 python experiments/real_faces/second.py --minutes 20

Nobody has labelled these generators' people, so the second networks learn from face-api's own answers, on pictures of
the DCGAN and of its student, half of them with coordinates of other people. What a search can exploit of a network,
the odd answers to small changes that no face shows, isn't learnt by another one of another architecture; what it takes
a face to be is.

Identity is learnt to be blind to colours: regions of a picture are repainted, each in a tone of its own, and the answer
wanted is that to the picture as it was. (Of face-api's own identity mere colours move as much as the skin's do.)

The budget is in minutes of one thread; the same command goes on where it was. second/second.json says how well they
read.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from dcgan import load as load_dcgan
from torch import Tensor, nn

from ice_lightning.checkpoints import load_generator, load_network, save_network
from ice_lightning.faces import landmark_faces
from ice_lightning.files import write_json
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.modules.identity import IdentityNet
from ice_lightning.modules.landmark_regions import UNSEEN, LandmarkRegions
from ice_lightning.modules.landmarks import LandmarkNet

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
sys.path.insert(0, str(Path(__file__).parents[1] / "embedded_zoo"))
sys.path.insert(0, str(Path(__file__).parents[1] / "local"))
from readings import shape_of
from train_faces import augment
from train_readers import SEED, interocular, train

HERE = Path(__file__).parent
FOLDER = HERE / "second"
SETTINGS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "landmarks": (LandmarkNet, {"size": 64, "widths": (24, 40, 64, 96)}),
    "identity": (IdentityNet, {"size": 64, "widths": (24, 48, 64, 96), "dim": 128}),
}
SPACES = (("dcgan", "z"), ("dcgan", "s"), ("student", "z"), ("student", "w"), ("student", "s"))
MIXED = 0.4
"""Largest share of a picture's coordinates that are another person's."""
PAINTED = 5
"""One in so many pictures is repainted; to outline regions takes longer than all the rest."""
TONE = 0.2
"""Standard deviation of the logarithm of what a region's red, green and blue are multiplied by."""


@cache
def generators() -> dict[str, AnyGenerator]:
    """Both, frozen."""
    return {
        "dcgan": load_dcgan().requires_grad_(False),
        "student": load_generator(HERE / "student.safetensors").requires_grad_(False),
    }


def second_readers(outlines: str = "first") -> Faces:
    """The second landmarks and identity; regions are what face-api's landmarks outline, or the second ones."""
    nets = {name: load_network(FOLDER / f"{name}.safetensors", name, make) for name, (make, _) in SETTINGS.items()}
    parser = landmark_faces().parser if outlines == "first" else LandmarkRegions(nets["landmarks"])
    return Faces(parser, nets["landmarks"], nets["identity"])


@torch.no_grad()
def pictures(count: int, draw: torch.Generator) -> Tensor:
    """People of both generators in every space, (count, 3, 64, 64); every other one mixed with another person."""
    images = []
    for i, (name, space) in enumerate(SPACES):
        n = count // len(SPACES) + (i < count % len(SPACES))
        G = generators()[name]
        z = torch.randn(2 * n, G.dim("z"), generator=draw)
        u, other = G.convert(z, "z", space).chunk(2)
        share = MIXED * torch.rand(n, 1, generator=draw) * (torch.arange(n)[:, None] % 2)
        mixed = torch.where(torch.rand(u.shape, generator=draw) < share, other, u)
        images.append(G(mixed, space).clamp(0, 1))
    return torch.cat(images)


def repainted(image: Tensor, parse: Tensor, draw: torch.Generator) -> Tensor:
    """Images (N, 3, H, W) whose regions by (N, H, W) are each in a tone of their own."""
    gains = (TONE * torch.randn(len(image), UNSEEN + 1, 3, generator=draw)).exp()
    kept = torch.rand(len(image), UNSEEN + 1, 1, generator=draw) < 0.5
    gains = torch.where(kept, torch.ones(()), gains)
    return (image * torch.stack([g[p] for g, p in zip(gains, parse, strict=True)]).permute(0, 3, 1, 2)).clamp(0, 1)


@torch.no_grad()
def held_out(second: Faces, first: Faces, people: int = 500) -> dict[str, Any]:
    """How well the second networks read people whom they haven't seen, and what repainting moves of either identity."""
    draw = torch.Generator().manual_seed(SEED + 1)
    parts = pictures(people, draw).split(25)
    both: dict[str, list[Tensor]] = {name: [] for name in ("truth", "points", "e", "own", "e painted", "own painted")}
    for image in parts:
        painted = repainted(image, first.parser(image).argmax(1), draw)
        columns = {"truth": first.landmarks(image), "points": second.landmarks(image),
                   "e": first.identity(image), "own": second.identity(image),
                   "e painted": first.identity(painted), "own painted": second.identity(painted)}  # type: ignore[misc]  # fmt: skip
        for name, column in columns.items():
            both[name].append(column)
    seen = {name: torch.cat(column) for name, column in both.items()}
    distance = (seen["points"] - seen["truth"]).norm(dim=-1) / interocular(seen["truth"])
    shapes, true = shape_of(seen["points"]), shape_of(seen["truth"])
    pairs = torch.ones(people, people, dtype=torch.bool).triu(1)
    cosines = torch.stack([(e @ e.T)[pairs] for e in (seen["e"], seen["own"])])

    def moved(name: str) -> float:
        e, painted = seen[name], seen[f"{name} painted"]
        return round(float((e - painted).norm(dim=1).mean() / (e - e.mean(0)).norm(dim=1).mean()), 3)

    return {
        "landmark_error_percent_of_interocular": round(100 * distance.mean().item(), 3),
        "correlation_with_face_api": {
            name: round(torch.corrcoef(torch.stack([shapes[name], true[name]])).tolist()[0][1], 3) for name in true
        },
        "correlation_of_identity_cosines": round(torch.corrcoef(cosines).tolist()[0][1], 3),
        "repainting_moves_identity": {"face_api": moved("e"), "second": moved("own")},
    }


def main() -> None:
    """Train, save both networks and second.json beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="of one thread, all runs together")
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--work", type=Path, default=Path("outputs/real_faces"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    first = landmark_faces().requires_grad_(False)
    nets = nn.ModuleDict({name: make(**config) for name, (make, config) in SETTINGS.items()})

    def drawn(draw: torch.Generator) -> Tensor:
        image = pictures(args.batch, draw)
        with torch.no_grad():
            points, e = first.landmarks(image), first.identity(image)  # type: ignore[misc]
            painted = repainted(image[::PAINTED], first.parser(image[::PAINTED]).argmax(1), draw)
        distance = (nets["landmarks"](augment(image, draw)) - points).norm(dim=-1) / interocular(points)
        image[::PAINTED] = painted
        own = nets["identity"](augment(image, draw))
        return 10 * distance.mean() + (1 - (own * e).sum(1)).mean() * 3

    step = train(nets, drawn, args.work / "second.pt", args.minutes, args.rate)
    for name, (_, config) in SETTINGS.items():
        save_network(FOLDER / f"{name}.safetensors", nets[name].eval(), name, config)
    facts = {"steps": step, "pictures": args.batch * step, "minutes_of_one_thread": args.minutes, "seed": SEED}
    write_json(FOLDER / "second.json", facts | {"held_out": held_out(second_readers(), first)})


if __name__ == "__main__":
    main()
