"""Measure the embedded zoo on held-out people, and draw some of them.

python experiments/embedded_zoo/evaluate.py
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc
from train_faces import draw_people, labels
from train_generator import psnr

from ice_lightning.checkpoints import ASSETS, load_generator
from ice_lightning.classifiers import EMBEDDED, embedded_classifier
from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.labels import REGIONS
from ice_lightning.synthetic import PALETTE, factors_from_z, render

HERE = Path(__file__).parent
SEED = 30_000_000


def iou(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Intersection over union of every class that occurs in the truth, over all pixels of all people."""
    scores = {}
    for index, name in enumerate(REGIONS):
        p, t = predicted == index, truth == index
        if t.any():
            scores[name] = ((p & t).sum() / (p | t).sum()).item()
    return scores


@torch.no_grad()
def main(people: int = 512) -> None:
    """Write evaluation.json and samples.png."""
    generator, faces = load_generator("embedded"), embedded_faces()
    z = draw_people(people // 2, torch.Generator().manual_seed(SEED))
    factors = factors_from_z(z)
    truth = render(factors, 128)
    eyes = (truth.landmarks[:, 36] - truth.landmarks[:, 45]).norm(dim=-1)[:, None]
    figures: dict[str, object] = {"generator": {"psnr_db": round(psnr(generator, 128), 2), "s_dim": generator.dim("s")}}
    images = {
        "renders": truth.image,
        "generated": torch.cat([generator(part).clamp(0, 1) for part in z.split(32)]),
    }
    for source, image in images.items():
        parse, points = (torch.cat(x) for x in zip(*(faces.analyse(part) for part in image.split(32)), strict=True))
        scores = iou(parse, truth.parse)
        e = torch.cat([faces.identity(part) for part in image.split(32)])
        cosines, same = e @ e.T, torch.arange(people)
        upper = torch.ones(people, people, dtype=torch.bool).triu(1)
        is_same = (same[:, None] - same[None]).abs() == people // 2
        auc = {"identity": binary_auroc(cosines[upper], is_same[upper].long()).item()}
        for name in EMBEDDED:
            net, target = embedded_classifier(name), labels(factors)[name].long()
            logits = torch.cat([net(part) for part in image.split(32)])
            auc[name] = binary_auroc(logits, target).item()
            if name.startswith("smiling"):
                against = labels(factors)["smiling"] != labels(factors)["dark_hair"]
                keep = against | (torch.rand(people, generator=torch.Generator().manual_seed(0)) < 0.05)
                auc[f"{name}, bias reversed"] = binary_auroc(logits[keep], target[keep]).item()
        figures[source] = {
            "parser_mean_iou": round(sum(scores.values()) / len(scores), 3),
            "parser_iou": {k: round(v, 3) for k, v in scores.items()},
            "landmark_error_percent_of_interocular": round(
                100 * ((points - truth.landmarks).norm(dim=-1) / eyes).mean().item(), 2
            ),
            "auc": {k: round(v, 4) for k, v in auc.items()},
        }
        images[source] = torch.cat([image[:10], (PALETTE[parse[:10]].permute(0, 3, 1, 2) / 255)])
    figures["assets_mb"] = round(sum(p.stat().st_size for p in ASSETS.glob("*.safetensors")) / 2**20, 2)
    (HERE / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    rows = torch.cat([images["renders"], images["generated"]]).view(4, 10, 3, 128, 128)
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(4 * 128, 10 * 128, 3)
    Image.fromarray((sheet * 255).round().byte().numpy()).save(HERE / "samples.png")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
