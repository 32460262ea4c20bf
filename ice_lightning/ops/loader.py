"""The native kernels: built once, kept, loaded; where that fails torch does their work, and one line says why."""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ice_lightning.checks import one_of, problem
from ice_lightning.files import user_cache

LOG = logging.getLogger("ice_lightning")
MODES = ("auto", "python", "native")
"""What ICE_LIGHTNING_OPS may be: whichever is faster, torch operations, our own kernels."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What the kernels compute in."""
SOURCES = Path(__file__).parents[1] / "csrc"
FLAGS = {"DEFAULT": [], "AVX2": ["-mavx2", "-mfma"], "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma"]}
"""Of the C++ compiler, by what torch finds the processor to be capable of; as torch compiles its own kernels."""


class Unavailable(Exception):
    """Why there are no native kernels, in a few words."""


@dataclass(frozen=True)
class Kernels:
    """The native kernels of this process.

    Attributes:
        file: the library, None where there is none.
        reason: why there is none, "" where there is one.
    """

    file: Path | None
    reason: str = ""


def mode() -> str:
    """ICE_LIGHTNING_OPS, auto unless it is set.

    Raises:
        IceError: for anything but auto, python and native.
    """
    chosen = os.environ.get("ICE_LIGHTNING_OPS", "auto")
    return chosen if chosen in MODES else one_of("ICE_LIGHTNING_OPS", chosen, MODES)


@contextmanager
def forced(chosen: str) -> Iterator[None]:
    """Within the block ICE_LIGHTNING_OPS is `chosen`."""
    before = os.environ.get("ICE_LIGHTNING_OPS")
    os.environ["ICE_LIGHTNING_OPS"] = chosen
    try:
        yield
    finally:
        if before is None:
            del os.environ["ICE_LIGHTNING_OPS"]
        else:
            os.environ["ICE_LIGHTNING_OPS"] = before


def wanted(x: Tensor, faster: bool) -> bool:
    """Whether the native kernel is to compute on a tensor.

    Args:
        x: the tensor.
        faster: whether the kernel was measured to be faster on a CPU for tensors of this shape.

    Returns:
        False where the kernels can't be had, and where torch is to compute.

    Raises:
        IceError: where native kernels are asked for by name and can't be had.
    """
    chosen = mode()
    if chosen == "auto" and not (faster and x.device.type == "cpu"):  # on CUDA nothing is gained, experiments/ops
        return False
    if chosen == "python" or x.device.type not in ("cpu", "cuda") or x.dtype not in DTYPES:
        return False
    found = kernels()
    if found.file is None and chosen == "native":
        raise problem("native operations", f"none ({found.reason})", "set ICE_LIGHTNING_OPS=auto, or mend that")
    return found.file is not None


_lock = threading.Lock()
_found: list[Kernels] = []


def kernels() -> Kernels:
    """The kernels, loaded; looked for once in a process. Where they can't be had under auto, stderr says why."""
    with _lock:
        if not _found:
            try:
                _found.append(Kernels(load()))
            except (Unavailable, OSError) as error:
                _found.append(Kernels(None, str(error)))
                if mode() == "auto":
                    LOG.warning(f"native operations are left out, torch does their work: {error}")
        return _found[0]


def load() -> Path:
    """The library that was built ahead of time for this torch, or the one in the cache, which is built if need be.

    Raises:
        Unavailable: where it can't be built.
        OSError: where the cache can't be written, or the library can't be loaded.
    """
    ahead = sorted(SOURCES.parent.glob(f"{ahead_of_time_name()}.*so"))
    file = ahead[0] if ahead else cached_library()
    torch.ops.load_library(str(file))
    return file


def ahead_of_time_name() -> str:
    """The module of a library that was built ahead of time; one for another torch or processor has another name."""
    name = f"native_torch_{torch.__version__}_{torch.backends.cpu.get_cpu_capability()}"
    return "".join(c if c.isalnum() else "_" for c in name)


def cache() -> Path:
    """Where libraries are kept: ICE_LIGHTNING_CACHE, or our folder in the user's cache."""
    return Path(os.environ.get("ICE_LIGHTNING_CACHE") or user_cache())


def compiler() -> str:
    """The first line that the C++ compiler prints of itself.

    Raises:
        Unavailable: where there is none.
    """
    command = shlex.split(os.environ.get("CXX", "c++"))
    try:
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"the C++ compiler '{' '.join(command)}' doesn't run; set CXX to one that does") from error
    return version.splitlines()[0] if version else command[0]


def flags() -> list[str]:
    """The C++ compiler's flags for this machine's processor."""
    return [
        "-O3",
        "-fopenmp",
        "-fno-math-errno",
        "-fno-trapping-math",
        *FLAGS.get(torch.backends.cpu.get_cpu_capability(), []),
    ]


def cuda_flags() -> list[str]:
    """The flags of nvcc: PyTorch forbids implicit conversions of half and bfloat16, which these kernels rely on."""
    forbidden = ("__CUDA_NO_HALF_CONVERSIONS__", "__CUDA_NO_BFLOAT16_CONVERSIONS__")
    return ["-O3", *(f"-U{name}" for name in forbidden)]


def sources() -> list[Path]:
    """The files to compile, which include the headers; those of CUDA where torch, a GPU and nvcc are there."""
    found = sorted(SOURCES.glob("*.cpp"))
    if torch.cuda.is_available():
        from torch.utils import cpp_extension  # which takes a second

        if cpp_extension.CUDA_HOME:
            return [*found, *sorted(SOURCES.glob("*.cu"))]
    return [file for file in found if file.stem != "cuda"]


def key(version: str) -> str:
    """A hash of what a library depends on: the sources, torch, the compiler, its flags and the GPU.

    Args:
        version: of the compiler, see `compiler`.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in [*sources(), *sorted(SOURCES.glob("*.h"))]:
        digest.update(file.read_bytes())
    gpu = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    digest.update(repr((torch.__version__, version, flags(), gpu)).encode())
    return digest.hexdigest()[:16]


def cached_library() -> Path:
    """The library in the cache, built if need be: by one process, whose lock dies with it, where several ask for it.

    Raises:
        Unavailable: where it can't be built.
        OSError: where the cache can't be written.
    """
    name = key(compiler())
    file = cache() / f"{name}.so"
    if file.exists():
        return file
    import fcntl

    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            for left in cache().glob(f"{name}-*"):  # by a build that was killed
                shutil.rmtree(left, ignore_errors=True)
            LOG.warning("building native operations, once, about 20 seconds")
            with TemporaryDirectory(prefix=f"{name}-", dir=cache()) as scratch:
                os.replace(build(Path(scratch)), file)
    return file


def build(folder: Path) -> Path:
    """Compile into a folder; returns the library.

    Raises:
        Unavailable: without ninja, or with the compiler's first error.
    """
    from torch.utils import cpp_extension

    beside = Path(sys.executable).parent  # where pip puts ninja, which PATH may not have
    if shutil.which("ninja") is None and (beside / "ninja").exists():
        os.environ["PATH"] = f"{beside}{os.pathsep}{os.environ.get('PATH', '')}"
    if shutil.which("ninja") is None:
        raise Unavailable("ninja isn't there; pip install ninja")
    try:
        cpp_extension.load(
            "native", [str(file) for file in sources()], extra_cflags=flags(), extra_ldflags=["-fopenmp"],
            extra_cuda_cflags=cuda_flags(),
            build_directory=str(folder), is_python_module=False, verbose=False,
        )  # fmt: skip
    except (RuntimeError, ImportError) as error:
        lines = [line for line in str(error).splitlines() if "rror:" in line] or str(error).splitlines() or ["?"]
        raise Unavailable(f"the compiler failed: {lines[0].strip()}") from error
    return folder / "native.so"
