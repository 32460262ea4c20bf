"""Building the native operations: once, whoever is killed, and with one line where it can't be done."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import Fork, run_code

from ice_lightning.ops import loader
from ice_lightning.ops.__main__ import main

DRAW = "from ice_lightning.ops import bias_act; print(bias_act(torch.ones(1, 1, 512, 512), act='relu').sum())"
INSISTING = "import os; os.environ['ICE_LIGHTNING_OPS'] = 'native'; " + DRAW
pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


def start(cache, code=DRAW, **environment):
    """A program in a session of its own, which has looked for no operations yet."""
    return Fork(run_code, f"import torch; {code}", cwd=Path.cwd(), ICE_LIGHTNING_CACHE=str(cache), **environment)


def told(process):
    done = process.ended()
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "native operations" in line]


STUB = """#!/bin/sh
[ "$1" = --version ] && exec c++ --version
while [ $# -gt 0 ]; do
  case "$1" in -o) out=$2 ;; -MF) dependencies=$2 ;; -shared) links=1 ;; esac
  shift
done
sleep 1
if [ -n "$links" ]; then cp "$LIBRARY" "$out"; else : > "$out"; echo "$out:" > "$dependencies"; fi
"""


def test_a_killed_build_is_no_hindrance_and_three_at_once_build_once(tmp_path):
    """With a compiler that copies the library: who builds, and when, is the same, and takes no minute."""
    if loader.kernels().file is None:
        pytest.skip(f"no native operations: {loader.kernels().reason}")
    stub, cache = tmp_path / "stub", tmp_path / "cache"
    stub.write_text(STUB)
    stub.chmod(0o755)
    environment = {"CXX": str(stub), "LIBRARY": str(loader.kernels().file)}
    killed = start(cache, **environment)
    deadline = time.monotonic() + 100
    while not list(cache.glob("*/build.ninja")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.ended()
    assert [path for path in cache.iterdir() if path.is_dir()], "it was killed too late"
    ended = [told(process) for process in [start(cache, **environment) for _ in range(3)]]
    assert [code for code, *_ in ended] == [0, 0, 0]
    assert len({out for _, out, _ in ended}) == 1
    assert sum("building" in line for *_, lines in ended for line in lines) == 1
    assert [path.suffix for path in sorted(cache.iterdir())] == [".lock", ".so"]


BROKEN = {
    "a compiler that fails": (lambda tmp: {"CXX": "/bin/false"}, "the C++ compiler '/bin/false' doesn't run; set CXX"),
    "no compiler": (lambda tmp: {"CXX": "nowhere++"}, "the C++ compiler 'nowhere++' doesn't run; set CXX"),
    "a cache that can't be written": (lambda tmp: {"ICE_LIGHTNING_CACHE": "/dev/null/cache"}, "Not a directory"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_built_is_one_line_and_torch_goes_on(what, tmp_path):
    environment, reason = BROKEN[what]
    environment = environment(tmp_path)
    cache = environment.pop("ICE_LIGHTNING_CACHE", tmp_path)
    code, out, lines = told(start(cache, f"{DRAW}; {DRAW}; {INSISTING}", **environment))
    assert code == 1 and out.count("tensor(370727") == 2
    assert "left out" in lines[0] and reason in lines[0]
    assert lines[-1].endswith("set ICE_LIGHTNING_OPS=auto, or mend that") and reason in lines[-1]


@pytest.mark.skipif((Path(sys.executable).parent / "ninja").exists(), reason="ninja lies beside python")
def test_without_ninja_torch_goes_on(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "c++").symlink_to(shutil.which("c++"))
    code, _, lines = told(start(tmp_path, PATH=str(tmp_path / "bin")))
    assert code == 0 and "ninja isn't there; pip install ninja" in lines[-1]


def test_a_full_disk_is_one_line(tmp_path):
    compiler = tmp_path / "full"
    compiler.write_text("""#!/bin/sh
[ "$1" = --version ] && exec c++ --version
echo "fatal error: error writing to out.o: No space left on device" >&2; exit 1""")
    compiler.chmod(0o755)
    code, out, lines = told(start(tmp_path / "cache", CXX=str(compiler)))
    assert code == 0 and "370727" in out
    assert "left out" in lines[-1] and "No space left on device" in lines[-1]
    assert not list(tmp_path.rglob("*.so"))


def test_another_torch_compiler_or_source_has_another_library(monkeypatch, tmp_path):
    here = loader.key("gcc 12"), loader.ahead_of_time_name()
    assert loader.key("gcc 13") != here[0]
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    assert loader.key("gcc 12") != here[0] and loader.ahead_of_time_name() != here[1]


def test_a_relative_cache_folder_is_ignored_as_the_xdg_specification_has_it(monkeypatch, tmp_path):
    monkeypatch.delenv("ICE_LIGHTNING_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for value in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert loader.cache() == Path("/home/someone/.cache/ice_lightning")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert loader.cache() == tmp_path / "ice_lightning"


def test_a_wrong_mode_ends_the_command_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("ICE_LIGHTNING_OPS", "nativ")
    assert main() == 2
    assert "ice_lightning: expected a ICE_LIGHTNING_OPS out of auto, python, native, got 'nativ': did you mean" in (
        capsys.readouterr().err
    )


NVCC = shutil.which("nvcc")
ARCHITECTURES = (70, 75, 90)


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("which", ["the oldest", pytest.param("the newer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["cuda_bias_act", "cuda_upfirdn2d"])
def test_cuda_kernels_compile_for_every_architecture_that_nvcc_knows(name, which, tmp_path):
    from torch.utils.cpp_extension import COMMON_NVCC_FLAGS

    known = subprocess.run([NVCC, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    oldest, *newer = [arch for arch in ARCHITECTURES if f"compute_{arch}" in known]
    some = [oldest] if which == "the oldest" else newer
    assert some
    each = [flag for arch in some for flag in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
    source = loader.SOURCES / f"{name}.cu"
    command = [
        NVCC,
        "-c",
        "-std=c++17",
        "-Werror",
        "all-warnings",
        "-Xptxas",
        "-O0",
        *COMMON_NVCC_FLAGS,  # which PyTorch puts before ours
        *loader.cuda_flags(),
        *each,
        str(source),
        "-o",
        str(tmp_path / "out.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_two_sources_compile_to_one_object():
    """setuptools names an object after its source without the ending."""
    stems = [file.stem for pattern in ("*.cpp", "*.cu") for file in loader.SOURCES.glob(pattern)]
    assert len(stems) == len(set(stems)) == 5


@pytest.mark.skipif(NVCC is None, reason="needs CUDA's headers")
def test_the_cuda_operations_compile_against_torch():
    from torch.utils.cpp_extension import include_paths

    dry = subprocess.run([NVCC, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False)
    cuda = shlex.split(re.search(r"INCLUDES=(.*)", dry.stderr)[1])
    includes = [*(f"-I{path}" for path in include_paths()), *(flag.replace("-isystem", "-I") for flag in cuda)]
    command = ["c++", "-std=c++20", "-fsyntax-only", "-DC10_CUDA_NO_CMAKE_CONFIGURE_FILE", *includes]
    done = subprocess.run([*command, str(loader.SOURCES / "cuda.cpp")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
