"""Fetch the networks of other people that the study looks at, and convert them; nothing of theirs is executed.

    python experiments/real_faces/get.py

From PyPI gan_face_generate 1.1.1 (MIT): a DCGAN. It was trained on renders of DigiFace-1M, whose licence is for
research only. From npm @vladmandic/face-api 1.7.15 (MIT): landmarks, recognition, expression, age and gender. Both are
checked by their SHA-256; what comes out lies in ~/.cache/ice_lightning/real_faces, and what is there already isn't
fetched again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from dcgan import WHAT
from safetensors.torch import save_file
from torch import Tensor

from ice_lightning.checkpoints import sha256
from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.formats.pickles import Budget
from ice_lightning.checkpoints.weights import flat, read, read_untrusted
from ice_lightning.checks import IceError, problem
from ice_lightning.files import atomic_write, cached

WHEEL = ("gan_face_generate-1.1.1-py3-none-any.whl", "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569")
TGZ = ("vladmandic-face-api-1.7.15.tgz", "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031")
"""Names and SHA-256 of the packages."""
PIP = "-m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --ignore-requires-python".split()
FACES = {
    "landmarks": "face_landmark_68_model",
    "recognition": "face_recognition_model",
    "expression": "face_expression_model",
    "age_gender": "age_gender_model",
}
"""What the package's networks are called here and there."""


def fetched(command: Sequence[str], package: tuple[str, str], folder: Path, flag: str) -> Path:
    """The package that a command puts into a folder.

    Raises:
        IceError: when the command is missing, fails or takes ten minutes.
    """
    name, _ = package
    fix = f"fetch it elsewhere and pass {flag} FILE"
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)
    except FileNotFoundError as error:
        raise problem(f"{Path(command[0]).name}, to fetch {name}", "none", f"install it, or {fix}") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        raise problem(f"{name} from its registry", said[-1] if said else "nothing", fix) from error
    if not (folder / name).is_file():
        raise problem(f"{name} from its registry", "another file", fix)
    return folder / name


def checked(path: Path, package: tuple[str, str]) -> Path:
    """The path itself, of the very file that was looked at when this study was written.

    Raises:
        IceError: for no file, or another one.
    """
    name, digest = package
    if not path.is_file():
        raise problem(f"{name} at {path}", "none", "check the path")
    if (got := sha256(path)) != digest:
        raise problem(f"{name} with SHA-256 {digest}", got, "fetch the file again")
    return path


def copied(member: IO[bytes] | None, out: Path) -> Path:
    """A member of an archive as a file `out`, whose name is ours, not the archive's."""
    assert member is not None  # the SHA-256 says so
    with member, out.open("wb") as file:
        shutil.copyfileobj(member, file)
    return out


def convert_dcgan(wheel: Path, folder: Path, out: Path) -> None:
    """weights.tar of the wheel, which is torch's zip -> the generator's tensors as safetensors."""
    with zipfile.ZipFile(wheel) as archive:
        weights = copied(archive.open("gan_face_generate/weights.tar"), folder / "weights.tar")

    def generator(content: Any, budget: Budget) -> dict[str, Tensor]:
        if not isinstance(content, dict) or "netG_state_dict" not in content:
            raise Refused("a file without netG_state_dict", "fetch the file again")
        return read(flat(content["netG_state_dict"]), budget, lambda name: not name.endswith("num_batches_tracked"))

    state = read_untrusted(weights, WHAT, generator)
    state = {name.removeprefix("module."): tensor.contiguous() for name, tensor in state.items()}
    with atomic_write(out) as part:
        save_file(
            state, part, metadata={"source": WHEEL[0]}
        )  # one entry: the order of several changes, and so the SHA-256


def convert_face(tgz: Path, folder: Path, name: str, out: Path) -> None:
    """A manifest of TensorFlow.js and its weights in the tarball -> safetensors."""
    from ice_lightning.checkpoints import convert_face_api

    with tarfile.open(tgz) as archive:
        files = [
            copied(archive.extractfile(f"package/model/{file}"), folder / file)
            for file in (f"{FACES[name]}-weights_manifest.json", f"{FACES[name]}.bin")
        ]
    convert_face_api(files[0], out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch and convert what isn't there; the exit status, 2 after a sentence on what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help=f"{WHEEL[0]}, where it is there already")
    parser.add_argument("--tgz", type=Path, help=f"{TGZ[0]}, likewise")
    args = parser.parse_args(arguments)
    pip = [sys.executable, *PIP, "gan_face_generate==1.1.1", "-d", "."]
    npm = [shutil.which("npm") or "npm", "pack", "--silent", "--ignore-scripts", "@vladmandic/face-api@1.7.15"]
    try:
        with TemporaryDirectory() as name:
            folder = Path(name)
            out = cached("dcgan.safetensors")
            if not out.exists():
                wheel = checked(args.wheel or fetched(pip, WHEEL, folder, "--wheel"), WHEEL)
                convert_dcgan(wheel, folder, out)
            missing = [face for face in FACES if not cached(f"{face}.safetensors").exists()]
            if missing:
                tgz = checked(args.tgz or fetched(npm, TGZ, folder, "--tgz"), TGZ)
                for face in missing:
                    convert_face(tgz, folder, face, cached(f"{face}.safetensors"))
    except IceError as error:
        print(error, file=sys.stderr)
        return 2
    for face in ("dcgan", *FACES):
        print(cached(f"{face}.safetensors"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
