"""The command line of the explorer: `python -m ice_lightning.explore [RUN...]`, sliders in a browser.

Nothing heavy is imported up here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from getpass import getpass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ice_lightning.checks import IceError, Mismatch, NotFound, at_least, problem
from ice_lightning.progress import LOG, exit_status
from ice_lightning.wording import words

if TYPE_CHECKING:
    from torch import Tensor

    from ice_lightning.discovery.local import LocalProblem
    from ice_lightning.explore.model import Explorer
    from ice_lightning.modules.generator import AnyGenerator
    from ice_lightning.subspace import Subspace


ABOUT = """Move people along named directions, and see what changes and what classifiers say.

Answers on 127.0.0.1 only; from another machine: ssh -L 7860:127.0.0.1:7860 HOST."""


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command line; None for those of this process."""
    parser = argparse.ArgumentParser(
        "python -m ice_lightning.explore", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN",
        help="folder of a discovery or of a sweep, or of inverted pictures; "
        "without one, the newest of each criterion in outputs/ and multirun/, or those that ship with the package",
    )  # fmt: skip
    parser.add_argument("--latents", type=Path, metavar="FILE", help="people by task=invert, beside those in RUNs")
    parser.add_argument("--directions", type=int, default=3, metavar="N", help="of each subspace, the strongest (3)")
    parser.add_argument("--port", type=int, default=7860, help="(7860)")
    parser.add_argument(
        "--auth",
        metavar="USER[:PASSWORD]",
        help="let in nobody else (USER alone: type the password, so that no process list shows it); "
        "without, everyone on this machine sees the page",
    )
    return parser.parse_args(argv)


def subspace_files(runs: Sequence[Path]) -> list[Path]:
    """Files of subspaces in run folders and below.

    Args:
        runs: folders; without any, outputs/ and multirun/ of this folder, the newest file first, or where there is
            nothing, what ships with the package.

    Raises:
        IceError: for a folder that isn't there, or runs without a subspace.
    """
    from ice_lightning.subspace import FILE

    missing = [str(run) for run in runs if not run.is_dir()]
    if missing:
        raise problem("folders of runs", f"no folder at {', '.join(missing)}", "check the path", NotFound)
    folders = runs or (Path("outputs"), Path("multirun"))
    files = list(dict.fromkeys(file for folder in folders for file in sorted(folder.rglob(FILE))))
    if not files and runs:
        got = f"none in {', '.join(map(str, runs))}"
        raise problem("a subspace", got, "run python -m ice_lightning.run criterion=skin_color first", NotFound)
    if not files:
        say("no runs in outputs/ and multirun/: here are the subspaces that ship with the package")
        return sorted(Path(str(resources.files("ice_lightning.assets"))).glob("subspaces/*.safetensors"))
    return files if runs else sorted(files, key=lambda file: -file.stat().st_mtime)


def chosen(files: Sequence[Path], newest: bool) -> Iterator[tuple[str, Subspace]]:
    """Subspaces of the first one's generator and space; prints which files are left out.

    Args:
        files: of subspaces.
        newest: take only the first of each criterion.

    Yields:
        A unique name, and the subspace.
    """
    from ice_lightning.subspace import load_subspace

    names: set[str] = set()
    first: tuple[str, str] | None = None
    for file in files:
        subspace = load_subspace(file)
        criterion = words(subspace.provenance["criterion"])
        lies_in = subspace.provenance["generator_sha256"], subspace.space
        first = first or lies_in
        if lies_in != first:
            where = f"in {subspace.space} of generator {lies_in[0][:12]}"
            say(f"left out {file}: it is {where}, the first in {first[1]} of {first[0][:12]}")
        elif criterion not in names or not newest:
            name = criterion if criterion not in names else f"{criterion} ({file.parent})"
            names |= {criterion, name}
            yield name, subspace


def pictures(files: Sequence[Path], subspace: Subspace) -> dict[str, Tensor]:
    """Latents of inverted pictures; prints which files are left out, of another generator or space.

    Args:
        files: of latents.
        subspace: in whose space and of whose generator they must be.

    Returns:
        (n,) by the name of the picture.

    Raises:
        IceError: for a broken file, latents of another shape, or NaN.
    """
    from ice_lightning.checks import finite
    from ice_lightning.latents import read_latents

    people: dict[str, Tensor] = {}
    for file in files:
        saved = read_latents(file)
        shape = (len(saved.names), len(subspace.directions))
        if not saved.belongs_to(subspace.provenance["generator_sha256"], subspace.space):
            say(f"left out {file}: it is in {saved.space} of generator {saved.generator_sha256[:12]}")
            continue
        if saved.u.shape != shape:
            got = tuple(saved.u.shape)
            raise problem(f"latents of shape {shape} in {file}", got, "invert the pictures again", Mismatch)
        for name, latent in zip(saved.names, finite(str(file), saved.u), strict=True):
            people[name if name not in people else f"{name} ({file.parent})"] = latent
    return people


def explorer_of(args: argparse.Namespace, files: Sequence[Path]) -> Explorer:
    """Load what the page shows, and measure how far its sliders go.

    Args:
        args: of the command line.
        files: of subspaces.

    Returns:
        What the page shows.

    Raises:
        IceError: for a broken file, or a generator that isn't there any more.
    """
    from ice_lightning.checkpoints.generators import generator_of
    from ice_lightning.classifiers import EMBEDDED, embedded_classifier
    from ice_lightning.explore.model import build
    from ice_lightning.latents import FILE

    at_least("--directions", args.directions, 1)
    subspaces: Mapping[str, Subspace] = dict(chosen(files, newest=not args.runs))
    first = next(iter(subspaces.values()))
    generator = generator_of(first)
    inverted = [file for run in args.runs for file in sorted(run.rglob(FILE))]
    people = pictures([*inverted, *filter(None, [args.latents])], first)
    classifiers = {name: embedded_classifier(name) for name in EMBEDDED}

    def searching(name: str) -> None:
        say(f"{name}: looking for where a change is plain to see")

    problems = own_problems(subspaces, generator)
    return build(generator, subspaces, classifiers, people, args.directions, searching, problems)


def own_problems(subspaces: Mapping[str, Subspace], generator: AnyGenerator) -> dict[str, Callable[[], LocalProblem]]:
    """What finds people's own directions, by subspace, each made when it is asked for; prints what hasn't got it.

    Args:
        subspaces: by name.
        generator: of all of them.
    """
    from ice_lightning.discovery.local import check_charges
    from ice_lightning.tasks.build import local_problem_of, part_of

    made: dict[str, Callable[[], LocalProblem]] = {}
    for name, subspace in subspaces.items():
        try:
            check_charges(subspace)
            for part in ("faces", "criterion"):
                part_of(subspace, part, "find it again with the package's own parts")
        except IceError as error:
            say(f"{name}: everyone moves along the average's directions: {error}")
        else:
            made[name] = lru_cache(maxsize=1)(partial(local_problem_of, subspace, generator))
    return made


def check_free(port: int) -> None:
    """Refuse a port that another program has; raises IceError."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise problem("a free port", f"{port} ({error})", "pass another one by --port") from error


def threads() -> int:
    """How many threads draw: half of the cores, since the browser needs some, and a busy core makes the others wait."""
    return max(1, (os.cpu_count() or 2) // 2)


def say(line: str) -> None:
    """Tell the user, who may send stdout elsewhere."""
    LOG.info(f"ice_lightning: {line}")


def explore(args: argparse.Namespace) -> int:
    """Serve the explorer until it is interrupted; returns 0.

    Raises:
        IceError: for an empty password, a port that can't be had, no subspaces, or no gradio.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    user, _, password = (args.auth or "").partition(":")
    if user and not password:
        password = getpass("password: ")
    if args.auth is not None and not (user and password):
        raise problem("--auth USER:PASSWORD or USER", "an empty user or password", "give both")
    check_free(args.port)
    files = subspace_files(args.runs)
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise problem("the package gradio", str(error), 'pip install "ice_lightning[ui]"', NotFound) from error
    import torch

    torch.set_num_threads(threads())
    explorer = explorer_of(args, files)
    from ice_lightning.explore.page import serve

    say(f"http://127.0.0.1:{args.port} shows {len(explorer.sliders)} directions; Ctrl-C ends it")
    serve(explorer, args.port, (user, password) if args.auth else None)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    args = arguments(argv)
    return exit_status(lambda: explore(args))
