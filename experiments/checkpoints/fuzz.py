"""Coverage-guided fuzzing of the loader; needs `pip install atheris`.

    python experiments/checkpoints/fuzz.py CORPUS -max_total_time=600 -max_len=60000 -timeout=10 -rss_limit_mb=2048

CORPUS is a folder, which is filled with a small file of each dialect. Ends at the first traceback or hang.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ice_lightning.checkpoints", "pickletools", "zipfile"]):
    import ice_lightning.checkpoints as loader

sys.path.insert(0, str(Path(__file__).parent))

import torch
from measure import small

from ice_lightning.checks import IceError

FILE = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "g"


def one(data: bytes) -> None:
    """Read a file; only a sentence may be raised, and never the one for what no check names."""
    FILE.write_bytes(data)
    try:
        loader.load_generator(FILE)
    except IceError as error:
        if "don't fit together" in str(error):
            raise RuntimeError(str(error)) from error.__cause__


if __name__ == "__main__":
    torch.set_num_threads(1)
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for dialect, content in small().items():
        (corpus / dialect.replace(" ", "_")).write_bytes(content)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
