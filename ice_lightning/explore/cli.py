"""The command line of the explorer: `python -m ice_lightning.explore [RUN...]`, sliders in a browser.

Nothing heavy is imported up here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from getpass import getpass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ice_lightning.checks import IceError, at_least, problem
from ice_lightning.progress import LOG, shown_log

if TYPE_CHECKING:
    from torch import Tensor

    from ice_lightning.explore.model import Explorer
    from ice_lightning.subspace import Subspace


SUBSPACE, LATENTS = "subspace.safetensors", "latents.safetensors"
ABOUT = """Move people along named directions, and see what changes and what classifiers say.

Answers on 127.0.0.1 only; from another machine: ssh -L 7860:127.0.0.1:7860 HOST."""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the user asked for."""
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
    return parser.parse_args(given)


def subspace_files(runs: Sequence[Path]) -> list[Path]:
    """Files of subspaces in run folders and below; without runs, the newest first hereabouts, or the package's own.

    Raises:
        IceError: where there are none.
    """
    missing = [str(run) for run in runs if not run.is_dir()]
    if missing:
        raise problem("folders of runs", f"no folder at {', '.join(missing)}", "check the path")
    folders = runs or (Path("outputs"), Path("multirun"))
    files = list(dict.fromkeys(file for folder in folders for file in sorted(folder.rglob(SUBSPACE))))
    if not files and runs:
        got = f"none in {', '.join(map(str, runs))}"
        raise problem("a subspace", got, "run python -m ice_lightning.run criterion=skin_color first")
    if not files:
        say("no runs in outputs/ and multirun/: here are the subspaces that ship with the package")
        return sorted(Path(str(resources.files("ice_lightning.assets"))).glob("subspaces/*.safetensors"))
    return files if runs else sorted(files, key=lambda file: -file.stat().st_mtime)


def chosen(files: Sequence[Path], newest: bool) -> Iterator[tuple[str, Subspace]]:
    """Subspaces by unique names, those of the first one's generator and space; says which ones are left out.

    Args:
        files: of subspaces.
        newest: whether the first of each criterion is enough.
    """
    from ice_lightning.subspace import load_subspace

    names: set[str] = set()
    first: tuple[str, str] | None = None
    for file in files:
        subspace = load_subspace(file)
        criterion = subspace.provenance["criterion"].replace("_", " ")
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
    """Latents (n,) by the names of their pictures, those in the subspace's space; says which files are left out."""
    from ice_lightning.checks import finite
    from ice_lightning.latents import read_latents

    people: dict[str, Tensor] = {}
    for file in files:
        u, facts = read_latents(file)
        names, shape = facts["names"], (len(facts["names"]), len(subspace.directions))
        if (facts["space"], facts["generator_sha256"]) != (subspace.space, subspace.provenance["generator_sha256"]):
            say(f"left out {file}: it is in {facts['space']} of generator {facts['generator_sha256'][:12]}")
            continue
        if u.shape != shape:
            raise problem(f"latents of shape {shape} in {file}", tuple(u.shape), "invert the pictures again")
        for name, latent in zip(names, finite(str(file), u), strict=True):
            people[name if name not in people else f"{name} ({file.parent})"] = latent
    return people


def explorer_of(args: argparse.Namespace, files: Sequence[Path]) -> Explorer:
    """What the page shows of these files of subspaces, loaded and measured."""
    from ice_lightning.checkpoints.generators import generator_of
    from ice_lightning.classifiers import EMBEDDED, embedded_classifier
    from ice_lightning.explore.model import build

    at_least("--directions", args.directions, 1)
    subspaces: Mapping[str, Subspace] = dict(chosen(files, newest=not args.runs))
    first = next(iter(subspaces.values()))
    generator = generator_of(first)
    inverted = [file for run in args.runs for file in sorted(run.rglob(LATENTS))]
    people = pictures([*inverted, *filter(None, [args.latents])], first)
    classifiers = {name: embedded_classifier(name) for name in EMBEDDED}

    def tell(name: str) -> None:
        say(f"{name}: looking for where a change is plain to see")

    return build(generator, subspaces, classifiers, people, args.directions, tell)


def check_free(port: int) -> None:
    """Refuse a port that can't be had."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise problem("a free port", f"{port} ({error})", "pass another one by --port") from error


def threads() -> int:
    """Half of the cores draw: the browser has to as well, and threads that wait for a busy core make a frame slow."""
    return max(1, (os.cpu_count() or 2) // 2)


def say(line: str) -> None:
    """Tell the user, who may send stdout elsewhere."""
    LOG.info(f"ice_lightning: {line}")


@shown_log()
def main(given: Sequence[str] | None = None) -> int:
    """Run the explorer until it is interrupted; bad input ends in one sentence and exit status 2."""
    args = arguments(given)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
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
            raise problem("the package gradio", str(error), 'pip install "ice_lightning[ui]"') from error
        import torch

        torch.set_num_threads(threads())
        explorer = explorer_of(args, files)
        from ice_lightning.explore.page import serve

        say(f"http://127.0.0.1:{args.port} shows {len(explorer.sliders)} directions; Ctrl-C ends it")
        serve(explorer, args.port, (user, password) if args.auth else None)
    except IceError as error:
        LOG.error(error)
        return 2
    return 0
