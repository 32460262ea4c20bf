"""How close our face networks are to face-api itself, run in node on the same pixels.

    python experiments/real_faces/parity.py --package PACKAGE --images gan_face_generate-1.1.1-py3-none-any.whl

PACKAGE is the unpacked npm package @vladmandic/face-api 1.7.15; node must be on PATH. The images are samples of
the DCGAN in the wheel, enlarged to the side of each network, so that neither resizes. Writes parity.json here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ice_lightning.checkpoints import convert_face_api, read_weights
from ice_lightning.modules.face_api import AgeGender, Expression, LandmarkNet68
from ice_lightning.modules.face_recognition import Recognition
from ice_lightning.ops.sampling import resize

HERE = Path(__file__).parent
MEMBER, KEY = "weights.tar", "netG_state_dict"
MANIFESTS = {
    "landmarks": ("face_landmark_68_model", 112),
    "expression": ("face_expression_model", 112),
    "age": ("age_gender_model", 112),
    "gender": ("age_gender_model", 112),
    "recognition": ("face_recognition_model", 150),
}
"""Each output's file, and the side of its network."""
UNITS = {
    "landmarks": "pixels of 112", "expression": "logits", "age": "years", "gender": "logits",
    "recognition": "numbers of the descriptor",
}  # fmt: skip


def samples(wheel: Path, count: int, folder: Path) -> Tensor:
    """(count, 3, 64, 64) in 0..1 by the wheel's DCGAN: transposed convolutions with batch norm between, tanh last."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(MEMBER))
        (folder / MEMBER).write_bytes(archive.read(member))
    state = torch.load(folder / MEMBER, map_location="cpu", weights_only=True)[KEY]
    convolutions = [name for name, t in state.items() if t.ndim == 4]
    x = torch.randn(count, state[convolutions[0]].shape[0], 1, 1, generator=torch.Generator().manual_seed(0))
    for i, name in enumerate(convolutions):
        x = nn.functional.conv_transpose2d(x, state[name], stride=2 if i else 1, padding=1 if i else 0)
        if i + 1 < len(convolutions):
            norm = f"main.{int(name.split('.')[1]) + 1}"
            mean, var, weight, bias = (
                state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            )
            x = nn.functional.batch_norm(x, mean, var, weight, bias).relu()
    return (x.tanh() + 1) / 2


def ours(model: Path, folder: Path, images: dict[int, Tensor]) -> dict[str, Tensor]:
    """What our networks say, from safetensors that are converted first, in face-api's conventions."""
    networks = {
        "landmarks": LandmarkNet68(),
        "expression": Expression(),
        "age": AgeGender("age"),
        "gender": AgeGender("gender"),
        "recognition": Recognition(),
    }
    found = {}
    for name, network in networks.items():
        file, side = MANIFESTS[name]
        convert_face_api(model / f"{file}-weights_manifest.json", folder / f"{file}.safetensors")
        network.load_state_dict(read_weights(folder / f"{file}.safetensors", name))
        found[name] = network.eval()(images[side])
    found["landmarks"] = found["landmarks"] + 0.5
    return {name: each.flatten(1) for name, each in found.items()}


@torch.no_grad()
def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--package", type=Path, required=True, help="unpacked @vladmandic/face-api")
    parser.add_argument("--images", type=Path, required=True, help="the wheel gan_face_generate")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--out", type=Path, default=HERE / "parity.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        faces = samples(args.images, args.count, folder)
        # Rounded to float32 as node reads them, so that both see the same.
        pixels = {side: (resize(faces, side) * 255).clamp(0, 255) for side in (112, 150)}
        for side, each in pixels.items():
            each.permute(0, 2, 3, 1).contiguous().numpy().astype("<f4").tofile(folder / f"images_{side}.f32")
        command = ["node", str(HERE / "parity.js"), str(args.package), str(folder)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        mine = ours(args.package / "model", folder, {side: each / 255 for side, each in pixels.items()})
        package = json.loads((args.package / "package.json").read_text())
        record = {"face_api": package["version"], "run_by": told.splitlines()[-1], "images": args.count, "outputs": {}}
        for name, each in mine.items():
            theirs = torch.from_numpy(np.fromfile(folder / f"{name}.f32", "<f4")).view(each.shape)
            theirs = theirs * 112 if name == "landmarks" else theirs
            difference = (each - theirs).abs()
            record["outputs"][name] = {
                "unit": UNITS[name],
                "largest_difference": float(difference.max()),
                "mean_difference": float(difference.mean()),
                "largest_value": float(theirs.abs().max()),
            }
            print(f"{name:12} {difference.max():.2e} at most, {difference.mean():.2e} mean, in {UNITS[name]}")
    args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
