"""The opt-in build of the native operations ahead of time: ICE_LIGHTNING_BUILD=1 pip install --no-build-isolation ."""

import os
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def native() -> dict:
    """What setuptools has to know to build them for the torch, processor and GPU that are here."""
    sys.path.insert(0, str(ROOT))
    from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

    from ice_lightning.ops.loader import ahead_of_time_name, cuda_flags, flags, sources

    files = [str(file.relative_to(ROOT)) for file in sources()]
    kind, arguments = CppExtension, flags()
    if any(file.endswith(".cu") for file in files):
        kind, arguments = CUDAExtension, {"cxx": flags(), "nvcc": cuda_flags()}
    module = kind(
        f"ice_lightning.{ahead_of_time_name()}", files, extra_compile_args=arguments, extra_link_args=["-fopenmp"]
    )
    return {"ext_modules": [module], "cmdclass": {"build_ext": BuildExtension}}


setup(**native() if os.environ.get("ICE_LIGHTNING_BUILD") == "1" else {})
