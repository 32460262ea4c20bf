"""A wheel holds the settings and the weights, and runs far from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_runs_in_an_empty_folder(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path / "w"),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "w").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    installed = {str(p.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("*")}
    for wanted in (
        "ice_lightning/conf/criterion/skin_color.yaml",
        "ice_lightning/assets/generator.safetensors",
        "ice_lightning/assets/subspaces/hair_color.safetensors",
    ):
        assert wanted in installed
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [
            sys.executable, "-m", "ice_lightning.run", "space=z", "latents.count=1", "criterion=paper/skin_color",
            "criterion.suppress.residual.ratio=0.2", "criterion.rank=1",
            "logger=none", f"hydra.run.dir={tmp_path}/out",
        ],
        cwd=tmp_path / "empty", env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "traversal.png").exists()
