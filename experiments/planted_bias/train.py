"""Smile classifiers with a planted bias: among p of their training people, the smiling are those with dark hair.

    python experiments/planted_bias/train.py

Twelve small networks, at p = 60, 75, 90 and 99 % and three seeds each, learn from one pool of generated people whose
factors are known. Files go to outputs/planted_bias; what is there already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ice_lightning import load_generator
from ice_lightning.modules.classifier import Classifier
from ice_lightning.ops.sampling import resize
from ice_lightning.synthetic import factor_index, factors_from_z

HERE = Path(__file__).parent
OUT = Path("outputs/planted_bias")
SHARES, SEEDS = (60, 75, 90, 99), (0, 1, 2)
PEOPLE, HELD_OUT, SEED = 6000, 1000, 10_000_000


@torch.no_grad()
def pool() -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, 3, 64, 64), smile margins (N,) and dark hair (N,) bool of generated people."""
    file = OUT / "pool.pt"
    if not file.exists():
        G = load_generator("embedded")
        z = G.sample(PEOPLE + HELD_OUT, SEED)
        drawn = [resize(G(G.convert(part, "z", "s"), "s").clamp(0, 1), 64).half() for part in z.split(16)]
        factors = factors_from_z(z)
        smile, dark = factors[:, factor_index("smile")] - 0.1, factors[:, factor_index("hair_colour")] < 0
        torch.save((torch.cat(drawn), smile, dark), file)
    images, smile, dark = torch.load(file, weights_only=True)
    return images, smile, dark


def auc(score: Tensor, truth: Tensor) -> float:
    """Chance that someone with the attribute scores above someone without."""
    return float((score[truth][:, None] > score[~truth]).double().mean())


def train(images: Tensor, smile: Tensor, dark: Tensor, share: int, seed: int, steps: int) -> tuple[Classifier, float]:
    """A classifier whose training people agree (smiling and dark, or neither) in `share` percent; its last loss."""
    torch.manual_seed(seed)
    net = Classifier().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    draw = torch.Generator().manual_seed(seed)
    groups = {
        (s, d): ((smile > 0) == s).logical_and(dark == d).nonzero()[:, 0] for s in (True, False) for d in (True, False)
    }
    loss = torch.tensor(math.nan)
    for _ in range(steps):
        smiles = torch.rand(64, generator=draw) < 0.5
        agrees = torch.rand(64, generator=draw) < share / 100
        rows = torch.stack([
            groups[bool(s), bool(s == a)][torch.randint(len(groups[bool(s), bool(s == a)]), (), generator=draw)]
            for s, a in zip(smiles, agrees, strict=True)
        ])  # fmt: skip
        x = images[rows].float()
        x = x + 0.04 * torch.randn(64, 3, 1, 1, generator=draw) + 0.02 * torch.randn(x.shape, generator=draw)
        loss = F.binary_cross_entropy_with_logits(net(x), (10 * smile[rows]).sigmoid())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval().requires_grad_(False), float(loss)


@torch.no_grad()
def evaluate(net: Classifier, images: Tensor, smile: Tensor, dark: Tensor) -> dict[str, float]:
    """AUC of smiles on held-out people, and of dark hair."""
    score = torch.cat([net(part.float()) for part in images.split(64)])
    return {"smile": round(auc(score, smile > 0), 4), "dark_hair": round(auc(score, dark), 4)}


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    images, smile, dark = pool()
    some, rest = slice(0, PEOPLE), slice(PEOPLE, None)
    file = HERE / "classifiers.json"
    table = json.loads(file.read_text()) if file.exists() else {}
    for seed in SEEDS:
        for share in SHARES:
            name = f"biased_{share}_{seed}"
            if (OUT / f"{name}.safetensors").exists():
                continue
            began = time.perf_counter()
            net, loss = train(images[some], smile[some], dark[some], share, seed, args.steps)
            save_file(net.state_dict(), OUT / f"{name}.safetensors")
            table[name] = evaluate(net, images[rest], smile[rest], dark[rest])
            print(name, table[name], f"loss {loss:.3f}, {time.perf_counter() - began:.0f} s", flush=True)
            file.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
