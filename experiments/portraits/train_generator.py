"""Fit a StyleGAN2 of the embedded size to the portraits with light and depth: regression from z, 32 -> 64 -> 128 px.

    python experiments/portraits/train_generator.py --minutes 180

Every step renders fresh people. Half of them mix two latents (Karras et al. 2019, section 3.1): the fine styles come
from another z, which what has no shape in the render follows, so that colours are the fine layers' business and shapes
the coarse ones'. A checkpoint every two minutes makes it resumable; each size gets a share of the time with its own
cosine of the learning rate, and the weights that are kept are their running mean. Renderer and generator are compiled;
the held-out figures are in float32.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checkpoints import save_network
from ice_lightning.files import write_json
from ice_lightning.labels import REGIONS
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.portraits import FACTORS, Z_DIM, Portraits, factor_index, factors_from_z, render
from ice_lightning.portraits.render import draw

HERE = Path(__file__).parent
CONFIG = {
    "z_dim": Z_DIM,
    "w_dim": 96,
    "mapping_layers": 4,
    "lr_multiplier": 1.0,
    "channel_base": 4096,
    "channel_max": 96,
}
STAGES = ((32, 0.05), (64, 0.25), (128, 0.70))
"""Image side, share of the time."""
COLOURS = [name for name in FACTORS if name.endswith(("_tone", "_warmth", "_colour", "_hue"))] + [
    "blush", "hair_sheen", "gloss", "clothes_light", "background_light", "light_strength", "light_fill",
]  # fmt: skip
FINE = 7
"""First row of w+ that follows the colours: the layers from 64 px on, and the torgb at 32 px."""


def build(size: int) -> Generator:
    """The embedded architecture at one image side."""
    return Generator(img_resolution=size, architecture="skip", **CONFIG)  # type: ignore[arg-type]


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


@torch.no_grad()
def psnr(generator: Generator, size: int, people: int = 256, seed: int = 10_000_000) -> float:
    """Held-out PSNR in dB, over all pixels of people whose seeds training never draws."""
    z = generator.sample(people, seed)
    errors = [
        (generator(part).clamp(0, 1) - render(factors_from_z(part), size).image).square().mean((1, 2, 3))
        for part in z.split(16)
    ]
    return -10 * math.log10(torch.cat(errors).mean().item())


WEIGHT = {"skin": 2, "l_brow": 6, "r_brow": 6, "l_eye": 8, "r_eye": 8, "eye_g": 6, "ear_r": 6, "nose": 6, "mouth": 8,
          "u_lip": 8, "l_lip": 8}  # fmt: skip
"""How much more a pixel of a small region counts: without it brows, eyes and mouths come out as a blur."""


def loss_of(image: Tensor, people: Portraits) -> Tensor:
    """L1 + 4 MSE + L1 of slopes, with the weight of each pixel's region, softened so that its surroundings count."""
    table = torch.tensor([float(WEIGHT.get(name, 1)) for name in REGIONS], device=image.device)
    r = image.shape[-1] // 32
    weight = F.avg_pool2d(F.pad(table[people.parse][:, None], (r, r, r, r), mode="replicate"), 2 * r + 1, 1)
    weight = weight / weight.mean()
    error = image - people.image
    across, down = error.diff(dim=3).abs() * weight[..., 1:], error.diff(dim=2).abs() * weight[..., 1:, :]
    return (weight * (error.abs() + 4 * error.square())).mean() + across.mean() + down.mean()


def main() -> None:
    """Train, log to generator_curve.csv, save the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("outputs/portraits"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    state_file, curve, out = (
        args.work / "generator.pt",
        HERE / "generator_curve.csv",
        args.work / "generator.safetensors",
    )

    torch.manual_seed(0)
    state = torch.load(state_file, weights_only=True) if state_file.exists() else None
    stage, spent, step = (state["stage"], state["spent"], state["step"]) if state else (0, 0.0, 0)
    if state is None:
        curve.write_text("size,step,minutes,loss,heldout_psnr\n")
    weights = state["ema"] if state else {}
    numbers = torch.Generator().manual_seed(1 + step)
    paint = torch.compile(draw, dynamic=False)

    for number, (size, share) in enumerate(STAGES):
        if number < stage:
            continue
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
                cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * elapsed / budget)) / 2
                group["lr"] = args.rate * cosine * min(1, (step + 1) / 100)
            z = torch.randn(args.batch, 2, Z_DIM, generator=numbers).to(args.device)
            z[::2, 1] = z[::2, 0]
            with torch.no_grad():
                people = paint(mixed_factors(z), size)
            loss = loss_of(draw_image(z), people)
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
                    size, step, f"{elapsed / 60:.1f} min  loss {loss.item():.4f}  held-out {score:.2f} dB", flush=True
                )
                part = {"stage": number, "size": size, "spent": elapsed, "step": step}
                nets = {"net": net.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict()}
                torch.save(part | nets, state_file.with_suffix(".part"))
                state_file.with_suffix(".part").replace(state_file)
        weights, spent, state = weights | ema.state_dict(), 0.0, None
        torch.save({"stage": number + 1, "size": 0, "spent": 0.0, "step": step, "ema": weights}, state_file)

    ema.cpu().mapping.w_avg.copy_(ema.convert(ema.sample(4096, 20_000_000), "z", "w").mean(0))
    save_network(out, ema, "generator", CONFIG | {"img_resolution": STAGES[-1][0], "architecture": "skip"})
    figures = {"heldout_psnr_db": round(psnr(ema, STAGES[-1][0]), 2), "steps": step, "s_dim": ema.dim("s")}
    write_json(HERE / "generator.json", figures, indent=1)
    print(figures)


if __name__ == "__main__":
    main()
