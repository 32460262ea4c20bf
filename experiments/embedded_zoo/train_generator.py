"""Fit the embedded StyleGAN2 to the portrait renderer: regression from z, growing 32 -> 64 -> 128 px.

    python experiments/embedded_zoo/train_generator.py --minutes 60

Every step renders fresh people. Half of them mix two latents (Karras et al. 2019, section 3.1): the fine styles come
from another z, which the colours of the render follow, so that colours are the fine layers' business and shapes the
coarse ones'. A checkpoint every two minutes makes it resumable; each size gets a share of the time with its own cosine
of the learning rate, and the weights that are kept are their running mean. Compiled and in bfloat16 a step takes a
quarter of the time; the held-out figures are in float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checkpoints import read_network, save_network
from ice_lightning.labels import REGIONS
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.synthetic import Z_DIM, Portraits, factor_index, factors_from_z, render

HERE = Path(__file__).parent
CONFIG = {
    "z_dim": Z_DIM,
    "w_dim": 96,
    "mapping_layers": 4,
    "lr_multiplier": 1.0,
    "channel_base": 4096,
    "channel_max": 96,
}
STAGES = ((32, 0.06), (64, 0.30), (128, 0.64))
"""Image side, share of the time."""
COLOURS = (
    "skin_tone skin_warmth hair_colour hair_warmth iris_colour lip_colour "
    "background_hue background_light clothes_hue clothes_light"
).split()
FINE = 7
"""First row of w+ that follows the colours: the layers from 64 px on, and the torgb at 32 px."""


def build(size: int) -> Generator:
    """The embedded architecture at one image side."""
    return Generator(img_resolution=size, architecture="skip", **CONFIG)


def fast(function: Callable[[Tensor], Tensor], device: str) -> Callable[[Tensor], Tensor]:
    """The function compiled and under bfloat16 autocast, with a float32 result: a quarter of the time at 128 px."""
    compiled = torch.compile(function)

    def call(x: Tensor) -> Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return compiled(x).float()

    return call


def draw_mixed(net: Generator, z: Tensor) -> Tensor:
    """(N, 2, z_dim) -> images whose coarse styles come from the first latent and fine ones from the second."""
    coarse, fine = net.mapping(z[:, 0]), net.mapping(z[:, 1])
    return net(torch.cat([coarse.repeat(1, FINE), fine.repeat(1, net.num_ws - FINE)], 1), "w+", noise="none")


def mixed_factors(z: Tensor) -> Tensor:
    """(N, 2, z_dim) -> the factors that `draw_mixed` should draw: colours of the second, all else of the first."""
    factors, other = factors_from_z(z[:, 0]), factors_from_z(z[:, 1])
    columns = [factor_index(name) for name in COLOURS]
    factors[:, columns] = other[:, columns]
    return factors


def psnr(generator: Generator, size: int, people: int = 256, seed: int = 10_000_000) -> float:
    """Held-out PSNR in dB, over all pixels of people whose seeds training never draws."""
    z = generator.sample(people, seed)
    with torch.no_grad():
        errors = [
            (generator(part).clamp(0, 1) - render(factors_from_z(part), size).image).square().mean((1, 2, 3))
            for part in z.split(16)
        ]
    return -10 * math.log10(torch.cat(errors).mean().item())


WEIGHT = {"l_brow": 8, "r_brow": 8, "l_eye": 8, "r_eye": 8, "eye_g": 8, "nose": 3, "mouth": 8, "u_lip": 8, "l_lip": 8}
"""How much more a pixel of a small region counts: without it brows, eyes and mouths come out as a blur."""


def loss_of(image: Tensor, people: Portraits) -> Tensor:
    """L1 + 4 MSE, with the weight of each pixel's region, softened so that its surroundings count as well."""
    table = torch.tensor([float(WEIGHT.get(name, 1)) for name in REGIONS], device=image.device)
    r = image.shape[-1] // 32
    weight = F.avg_pool2d(F.pad(table[people.parse][:, None], (r, r, r, r), mode="replicate"), 2 * r + 1, 1)
    weight = weight / weight.mean()
    error = image - people.image
    return (weight * (error.abs() + 4 * error.square())).mean()


def main() -> None:
    """Train, log to curve.csv, save into the package's assets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--start", type=Path, help="weights to begin with, instead of random ones")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("outputs/embedded_zoo"))
    parser.add_argument("--out", type=Path, default=Path("ice_lightning/assets/generator.safetensors"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    state_file, curve = args.work / "generator.pt", HERE / "generator_curve.csv"

    torch.manual_seed(0)
    state = torch.load(state_file, weights_only=True) if state_file.exists() else None
    stage, spent, step = (state["stage"], state["spent"], state["step"]) if state else (0, 0.0, 0)
    if state is None:
        curve.write_text("size,step,minutes,loss,heldout_psnr\n")
    weights = state["ema"] if state else read_network(args.start, "generator")[0] if args.start else {}
    draw = torch.Generator().manual_seed(1 + step)

    for size, share in STAGES[stage:]:
        net = build(size).to(args.device, memory_format=torch.channels_last)
        net.load_state_dict(weights, strict=False)
        ema = copy.deepcopy(net).requires_grad_(False)
        optimiser = torch.optim.Adam(net.parameters(), lr=args.rate, betas=(0.9, 0.99))
        draw_image = fast(lambda z, net=net: draw_mixed(net, z), args.device)
        if state and state["size"] == size:
            net.load_state_dict(state["net"])
            optimiser.load_state_dict(state["optimiser"])
        budget, began, saved = share * args.minutes * 60, time.time() - spent, time.time()
        while (elapsed := time.time() - began) < budget:
            for group in optimiser.param_groups:
                group["lr"] = (
                    args.rate
                    * (0.02 + 0.98 * (1 + math.cos(math.pi * elapsed / budget)) / 2)
                    * min(1, (step + 1) / 100)
                )
            z = torch.randn(args.batch, 2, Z_DIM, generator=draw).to(args.device)
            z[::2, 1] = z[::2, 0]
            loss = loss_of(draw_image(z), render(mixed_factors(z), size))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            step += 1
            with torch.no_grad():
                decay = min(0.998, (1 + step) / (20 + step))
                torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
            if time.time() - saved > 120 or step == 50:
                saved = time.time()
                score = psnr(ema.cpu() if args.device != "cpu" else ema, size, people=64)
                ema.to(args.device)
                with curve.open("a") as file:
                    file.write(f"{size},{step},{elapsed / 60:.1f},{loss.item():.4f},{score:.2f}\n")
                print(
                    size,
                    step,
                    f"{elapsed / 60:.1f} min  loss {loss.item():.4f}  held-out {score:.2f} dB",
                    flush=True,
                )
                part = {
                    "stage": [s for s, _ in STAGES].index(size),
                    "size": size,
                    "spent": elapsed,
                    "step": step,
                }
                torch.save(
                    part | {"net": net.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict()},
                    state_file,
                )
                if size == STAGES[-1][0]:
                    save_network(args.out, ema, "generator", CONFIG | {"img_resolution": size, "architecture": "skip"})
        weights, spent, state = weights | ema.state_dict(), 0.0, None
        torch.save(
            {"stage": stage, "size": 0, "spent": 0.0, "step": step, "ema": weights},
            state_file.with_suffix(f".{size}.pt"),
        )

    ema.cpu().mapping.w_avg.copy_(ema.convert(ema.sample(4096, 20_000_000), "z", "w").mean(0))
    save_network(args.out, ema, "generator", CONFIG | {"img_resolution": STAGES[-1][0], "architecture": "skip"})
    figures = {"heldout_psnr_db": round(psnr(ema, STAGES[-1][0]), 2), "steps": step, "s_dim": ema.dim("s")}
    (HERE / "generator.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(figures)


if __name__ == "__main__":
    main()
