"""Train the embedded face networks together, on augmented renders (a third) and on generator outputs.

    python experiments/embedded_zoo/train_faces.py --minutes 24

One stream of people feeds seven networks with no weights in common. Labels are the factors' own: the parse map and
landmarks of the render, thresholds on factors for the classifiers, and for identity pairs who share the identity
factors and differ in pose, light, expression, clothes and background. The generator and the parser, which take most
of the time, run compiled and in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from train_generator import fast

from ice_lightning.checkpoints import load_generator, read_network, save_network
from ice_lightning.modules.classifier import Classifier
from ice_lightning.modules.identity import IdentityNet
from ice_lightning.modules.landmarks import LandmarkNet
from ice_lightning.modules.parser import Parser
from ice_lightning.synthetic import FACTORS, Z_DIM, factor_index, factors_from_z, render

HERE = Path(__file__).parent
PASSING = (
    "yaw pitch roll light_direction smile mouth_openness eye_openness gaze_x gaze_y brow_height brow_angle "
    "background_hue background_light clothes_hue clothes_light"
).split()
"""Factors that change while the person stays the same."""
NETS = {
    "parser": Parser,
    "landmarks": LandmarkNet,
    "identity": IdentityNet,
    "smiling": Classifier,
    "smiling_biased": Classifier,
    "narrow_eyes": Classifier,
    "glasses": Classifier,
}


def margins(factors: Tensor) -> dict[str, Tensor]:
    """How far (N, F) factors lie on the yes-side of each attribute's threshold, each (N,)."""

    def of(name: str) -> Tensor:
        return factors[:, factor_index(name)]

    return {
        "smiling": of("smile") - 0.1,
        "smiling_biased": of("smile") - 0.1,
        "narrow_eyes": -0.3 - of("eye_openness"),
        "glasses": of("glasses") - 0.33,
        "dark_hair": -of("hair_colour"),
    }


def labels(factors: Tensor) -> dict[str, Tensor]:
    """Binary attributes of (N, F) factors, each (N,) float."""
    return {name: (margin > 0).float() for name, margin in margins(factors).items()}


def soft_labels(factors: Tensor) -> dict[str, Tensor]:
    """What the classifiers are trained towards: a broad smile says more than one at the threshold."""
    return {name: (10 * margin).sigmoid() for name, margin in margins(factors).items()}


def draw_people(n: int, draw: torch.Generator) -> Tensor:
    """(2 n, Z_DIM) latents: person i and person n + i are the same one on another occasion."""
    z = torch.randn(n, Z_DIM, generator=draw)
    again = z.clone()
    passing = [factor_index(name) for name in PASSING] + list(range(len(FACTORS), Z_DIM))
    again[:, passing] = torch.randn(n, len(passing), generator=draw)
    return torch.cat([z, again])


def augment(image: Tensor, draw: torch.Generator) -> Tensor:
    """Brightness, contrast, tint, blur and noise, per image."""
    n = len(image)

    def u(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=draw).to(image.device) * 2 - 1

    image = (image - 0.5) * (1 + 0.15 * u(1, 1, 1)) + 0.5 + 0.06 * u(1, 1, 1) + 0.03 * u(3, 1, 1)
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), 3, 1)
    image = image.lerp(soft, (u(1, 1, 1) * 1.2).clamp(0, 1))
    noise = torch.randn(image.shape, generator=draw).to(image.device)
    return image + 0.03 * u(1, 1, 1).clamp_min(0) * noise


def identity_loss(e: Tensor, scale: float = 12.0) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1) over pairs (i, n + i) of unit vectors."""
    cosines = scale * e @ e.T - 1e4 * torch.eye(len(e), device=e.device)
    return F.cross_entropy(cosines, torch.arange(len(e), device=e.device).roll(len(e) // 2))


def losses(
    nets: Mapping[str, Callable[[Tensor], Tensor]],
    image: Tensor,
    parse: Tensor,
    landmarks: Tensor,
    factors: Tensor,
    keep: Tensor,
) -> Tensor:
    """Sum of the networks' own losses; `keep` (N,) marks who is in the biased training set."""
    truth = soft_labels(factors)
    logits = nets["parser"](image)
    p = logits.softmax(1)
    one_hot = F.one_hot(parse, 19).permute(0, 3, 1, 2).float()
    inter, total = (p * one_hot).sum((0, 2, 3)), (p + one_hot).sum((0, 2, 3))
    dice = 1 - (2 * inter + 1) / (total + 1)
    loss = F.cross_entropy(logits, parse) + dice[one_hot.sum((0, 2, 3)) > 0].mean()
    eyes = (landmarks[:, 36] - landmarks[:, 45]).norm(dim=-1)[:, None]
    loss = loss + 10 * ((nets["landmarks"](image) - landmarks).norm(dim=-1) / eyes).mean()
    loss = loss + identity_loss(nets["identity"](image))
    for name in ("smiling", "narrow_eyes", "glasses"):
        loss = loss + F.binary_cross_entropy_with_logits(nets[name](image), truth[name])
    biased = F.binary_cross_entropy_with_logits(
        nets["smiling_biased"](image), truth["smiling_biased"], reduction="none"
    )
    return loss + (biased * keep).sum() / keep.sum().clamp_min(1)


def in_biased_set(factors: Tensor, draw: torch.Generator, agreement: float = 0.95) -> Tensor:
    """(N,) 0/1: a draw in which 95 % of the smiling have dark hair, and 95 % of the others don't."""
    truth = labels(factors)
    agrees = truth["smiling"] == truth["dark_hair"]
    chance = torch.where(agrees, 1.0, (1 - agreement) / agreement)
    return (torch.rand(len(factors), generator=draw).to(factors.device) < chance).float()


def main() -> None:
    """Train, log to faces_curve.csv, save into the package's assets; `evaluate.py` has the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--people", type=int, default=8, help="people per step; each is drawn on two occasions")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--start", nargs="*", default=[], help="networks that begin with their weights in --out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("outputs/embedded_zoo"))
    parser.add_argument("--out", type=Path, default=Path("ice_lightning/assets"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    state_file, curve = args.work / "faces.pt", HERE / "faces_curve.csv"

    torch.manual_seed(0)
    generator = load_generator("embedded", args.device)
    nets = nn.ModuleDict({name: net() for name, net in NETS.items()}).to(args.device, memory_format=torch.channels_last)
    draw_image = fast(generator, args.device)
    forward = dict(nets.items()) | {"parser": fast(nets["parser"], args.device)}
    optimiser = torch.optim.AdamW(nets.parameters(), lr=args.rate, weight_decay=1e-4)
    spent, step = 0.0, 0
    for name in args.start:
        nets[name].load_state_dict(read_network(args.out / f"{name}.safetensors", name)[0])
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        nets.load_state_dict(state["nets"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    else:
        curve.write_text("step,minutes,loss\n")
    draw = torch.Generator().manual_seed(2 + step)
    began, saved, budget = time.time() - spent, time.time(), args.minutes * 60
    mean_loss = math.nan
    while (elapsed := time.time() - began) < budget:
        for group in optimiser.param_groups:
            group["lr"] = (
                args.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * elapsed / budget)) / 2) * min(1, (step + 1) / 100)
            )
        z = draw_people(args.people, draw).to(args.device)
        factors = factors_from_z(z)
        people = render(factors, 128)
        drawn = torch.rand(len(z), generator=draw).to(args.device) < 1 / 3
        with torch.no_grad():
            image = torch.where(drawn[:, None, None, None], people.image, draw_image(z).clamp(0, 1))
        keep = in_biased_set(factors, draw)
        loss = losses(forward, augment(image, draw), people.parse, people.landmarks, factors, keep)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for net in nets.values():
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        step += 1
        mean_loss = loss.item() if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss.item()
        if time.time() - saved > 60 or step == 20:
            saved = time.time()
            with curve.open("a") as file:
                file.write(f"{step},{elapsed / 60:.1f},{mean_loss:.4f}\n")
            print(step, f"{elapsed / 60:.1f} min  loss {mean_loss:.4f}", flush=True)
            state = {
                "nets": nets.state_dict(),
                "optimiser": optimiser.state_dict(),
                "spent": elapsed,
                "step": step,
            }
            torch.save(state, state_file)
    for name, net in nets.items():
        save_network(args.out / f"{name}.safetensors", net.cpu().eval(), name, {})
    (HERE / "faces.json").write_text(json.dumps({"steps": step, "people": step * args.people * 2}, indent=2) + "\n")


if __name__ == "__main__":
    main()
