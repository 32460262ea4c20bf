"""Train second readers: a parser, a landmark and an identity network that no search has used.

    OMP_NUM_THREADS=1 python experiments/local/train_readers.py --minutes 20

They share the embedded ones' classes and nothing else. Weights begin at random from another seed, on other people;
depths, widths and working sizes differ; and of each batch two thirds are renders and one third is what the generator
draws, where the embedded ones saw it the other way round. Labels, augmentation and losses are those of
experiments/embedded_zoo/train_faces.py.

The budget is in minutes of one thread's own time, so a busy machine takes longer and changes nothing. The state is
saved each minute under --work; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_auroc

from ice_lightning.checkpoints import load_generator, load_network, save_network
from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.files import atomic_write, write_json
from ice_lightning.labels import LEFT_EYE_CORNER, REGIONS, RIGHT_EYE_CORNER
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.identity import IdentityNet
from ice_lightning.modules.landmarks import LandmarkNet
from ice_lightning.modules.parser import Parser
from ice_lightning.synthetic import Portraits, factors_from_z, render

sys.path.insert(0, str(Path(__file__).parents[1] / "embedded_zoo"))
sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
from evaluate import SEED as HELD_OUT
from evaluate import iou
from readings import shape_of
from train_faces import augment, draw_people, identity_loss

FOLDER = Path(__file__).parent / "readers"
SEED = 47_000_000
"""Of the weights and of the people; the embedded networks' is 0, and their people's 2."""
SETTINGS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "parser": (Parser, {"size": 128, "widths": (16, 32, 56, 80, 112)}),
    "landmarks": (LandmarkNet, {"size": 96, "widths": (24, 40, 64, 96)}),
    "identity": (IdentityNet, {"size": 64, "widths": (16, 32, 64, 96), "dim": 48}),
}
"""The embedded ones': four stages from 24 channels at 128 px, from 32 at 64 px, from 24 at 64 px with 64 outputs."""
DRAWN = 3
"""One in so many pictures is drawn by the generator."""


def second_readers(folder: Path = FOLDER) -> Faces:
    """The three networks, frozen."""
    return Faces(*(load_network(folder / f"{name}.safetensors", name, make) for name, (make, _) in SETTINGS.items()))


def interocular(points: Tensor) -> Tensor:
    """(N, 68, 2) -> (N, 1), between the outer corners of the eyes."""
    return (points[:, LEFT_EYE_CORNER] - points[:, RIGHT_EYE_CORNER]).norm(dim=-1)[:, None]


def loss_of(nets: nn.ModuleDict, image: Tensor, truth: Portraits) -> Tensor:
    """Sum of the networks' own losses, as the embedded ones had them: cross-entropy and dice, distance, NT-Xent."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = nets["parser"](image)
    logits = logits.float()
    p, one_hot = logits.softmax(1), F.one_hot(truth.parse, len(REGIONS)).permute(0, 3, 1, 2).float()
    inter, total = (p * one_hot).sum((0, 2, 3)), (p + one_hot).sum((0, 2, 3))
    dice = (1 - (2 * inter + 1) / (total + 1))[one_hot.sum((0, 2, 3)) > 0].mean()
    distance = (nets["landmarks"](image) - truth.landmarks).norm(dim=-1) / interocular(truth.landmarks)
    return F.cross_entropy(logits, truth.parse) + dice + 10 * distance.mean() + identity_loss(nets["identity"](image))


@torch.no_grad()
def figures(faces: Faces, image: Tensor, truth: Portraits) -> dict[str, Any]:
    """How well networks read pictures (N, 3, H, W) of people, of whom i and i + N / 2 are one person."""
    read = [(*faces.analyse(part), faces.identity(part)) for part in image.split(32)]  # type: ignore[misc]
    parse, points, e = (torch.cat(x) for x in zip(*read, strict=True))
    scores = iou(parse, truth.parse)
    distance = (points - truth.landmarks).norm(dim=-1) / interocular(truth.landmarks)
    read_shapes, true_shapes = shape_of(points), shape_of(truth.landmarks)
    people, at = len(image), torch.arange(len(image))
    pairs = torch.ones(people, people, dtype=torch.bool).triu(1)
    same = (at[:, None] - at[None]).abs() == people // 2
    return {
        "parser_mean_iou": round(sum(scores.values()) / len(scores), 4),
        "landmark_error_percent_of_interocular": round(100 * distance.mean().item(), 3),
        "identity_auc": round(binary_auroc((e @ e.T)[pairs], same[pairs].long()).item(), 5),
        "correlation_with_truth": {
            name: round(torch.corrcoef(torch.stack([read_shapes[name], true])).tolist()[0][1], 3)
            for name, true in true_shapes.items()
        },
    }


def held_out(second: Faces, people: int = 512) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures of these and of the embedded networks on the people of experiments/embedded_zoo/evaluate.py."""
    generator = load_generator("embedded")
    z = draw_people(people // 2, torch.Generator().manual_seed(HELD_OUT))
    truth = render(factors_from_z(z), 128)
    with torch.no_grad():
        drawn = torch.cat([generator(part).clamp(0, 1) for part in z.split(32)])
    return {
        source: {"second": figures(second, image, truth), "embedded": figures(embedded_faces(), image, truth)}
        for source, image in (("renders", truth.image), ("generated", drawn))
    }


def train(
    nets: nn.ModuleDict, loss_of: Callable[[torch.Generator], Tensor], file: Path, minutes: float, rate: float
) -> int:
    """Train networks, or go on where `file` says, for minutes of one thread's own time, which a busy machine stretches.

    Args:
        nets: what is trained.
        loss_of: one step's loss, of what a source of random numbers draws.
        file: the state, saved each minute.
        minutes: in all, those before included.
        rate: of learning, at most; rises for 100 steps, then falls along a cosine to a hundredth.

    Returns:
        Steps.
    """
    optimiser = torch.optim.AdamW(nets.parameters(), lr=rate, weight_decay=1e-4)
    draw, spent, step = torch.Generator().manual_seed(SEED), 0.0, 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        nets.load_state_dict(state["nets"])
        optimiser.load_state_dict(state["optimiser"])
        draw.set_state(state["draw"])
        spent, step = state["spent"], state["step"]
    began, saved, budget, mean_loss = time.process_time() - spent, spent, minutes * 60, math.nan

    def save(elapsed: float) -> None:
        state = {"nets": nets.state_dict(), "optimiser": optimiser.state_dict(), "draw": draw.get_state()}
        with atomic_write(file) as part:
            torch.save(state | {"spent": elapsed, "step": step}, part)
        print(step, f"{elapsed / 60:.1f} min  loss {mean_loss:.4f}", flush=True)

    while (elapsed := time.process_time() - began) < budget:
        for group in optimiser.param_groups:
            fall = 0.01 + 0.99 * (1 + math.cos(math.pi * elapsed / budget)) / 2
            group["lr"] = rate * fall * min(1, (step + 1) / 100)
        loss = loss_of(draw)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for net in nets.values():
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        step += 1
        mean_loss = loss.item() if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss.item()
        if elapsed - saved > 60:
            saved = elapsed
            save(elapsed)
    if spent < budget:
        save(time.process_time() - began)
    return step


def main() -> None:
    """Train, save the three networks and readers.json beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="of one thread, all runs together")
    parser.add_argument("--people", type=int, default=6, help="people per step; each is drawn on two occasions")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--work", type=Path, default=Path("outputs/local"))
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    generator = load_generator("embedded")
    nets = nn.ModuleDict({name: make(**config) for name, (make, config) in SETTINGS.items()})
    nets = nets.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def drawn(draw: torch.Generator) -> Tensor:
        z = draw_people(args.people, draw)
        truth = render(factors_from_z(z), 128)
        image, rows = truth.image.clone(), torch.randperm(len(z), generator=draw)[: len(z) // DRAWN]
        with torch.no_grad():
            image[rows] = generator(z[rows]).clamp(0, 1)
        return loss_of(nets, augment(image, draw), truth)

    step = train(nets, drawn, args.work / "readers.pt", args.minutes, args.rate)
    for name, (_, config) in SETTINGS.items():
        save_network(args.out / f"{name}.safetensors", nets[name].eval(), name, config)
    facts = {
        "steps": step,
        "pictures": 2 * args.people * step,
        "minutes_of_one_thread": args.minutes,
        "seed": SEED,
        "networks": {
            name: config | {"bytes": (args.out / f"{name}.safetensors").stat().st_size}
            for name, (_, config) in SETTINGS.items()
        },
        "held_out": held_out(second_readers(args.out)),
    }
    write_json(args.out / "readers.json", facts)


if __name__ == "__main__":
    main()
