"""Convert a checkpoint, and say what it is.

    python -m ice_lightning.checkpoints stylegan2-ffhq-config-f.pkl ffhq.safetensors --verify
    python -m ice_lightning.checkpoints stylegan2-ffhq-config-f.pkl ffhq.pt --to ada
    python -m ice_lightning.checkpoints face_expression_model-weights_manifest.json expression.safetensors

Without OUT it only says what IN is. `--to ada` writes the weights alone, a torch file that
`stylegan2-ada-pytorch`'s Generator takes by load_state_dict. A manifest of face-api is written as safetensors, which
the networks of `ice_lightning.modules.face_api` and `face_recognition` load. Bad input ends in one sentence and exit
status 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ice_lightning.checks import problem
from ice_lightning.progress import exit_status

if TYPE_CHECKING:
    from ice_lightning.modules.stylegan2 import Generator


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        "python -m ice_lightning.checkpoints", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint", metavar="IN", help="a StyleGAN2 checkpoint or a manifest of face-api; nothing in it is executed"
    )
    parser.add_argument("out", metavar="OUT", nargs="?", type=Path, help="what to write")
    parser.add_argument("--to", choices=("ice_lightning", "ada"), default="ice_lightning", help="whose format")
    parser.add_argument("--verify", action="store_true", help="read OUT again and compare images")
    args = parser.parse_args(arguments)
    return exit_status(lambda: checked_convert(args))


def checked_convert(args: argparse.Namespace) -> int:
    """Convert what the command line names; returns an exit status.

    Raises:
        IceError: for a missing or wrong OUT, one that can't be written, or what `convert` refuses.
    """
    if args.out is None and (args.verify or args.to == "ada"):
        raise problem("a path OUT to write to", "none", "name one behind IN")
    if args.out is not None and args.out.resolve() == Path(args.checkpoint).resolve():
        raise problem("a path OUT of its own", "that of IN", "name another one")
    try:
        return convert(args.checkpoint, args.out, args.to, args.verify)
    except OSError as error:
        raise problem("a place to write to", f"{error}", "name another OUT") from error


def convert(checkpoint: str, out: Path | None, to: str, verify: bool) -> int:
    """Read a checkpoint, print what it is, write it, and read it again.

    Args:
        checkpoint: a path, or "embedded".
        out: where to write; None to print only.
        to: whose format, ice_lightning or ada.
        verify: whether to read `out` again and to compare images.

    Returns:
        1 where images of `out` differ by more than 1e-5, else 0.

    Raises:
        IceError: for what isn't a checkpoint or can't be written in that format.
    """
    import torch

    from ice_lightning.checkpoints import is_manifest, load_generator, save_network
    from ice_lightning.files import atomic_write

    if is_manifest(checkpoint):
        if verify or to == "ada":
            raise problem("a StyleGAN2 checkpoint for --verify and --to ada", "a manifest", "leave them out")
        return convert_manifest(checkpoint, out)
    G = load_generator(checkpoint)
    for name, value in description(G).items():
        print(f"{name:14}{value}")
    if out is None:
        return 0
    state = {name: tensor.contiguous() for name, tensor in G.state_dict().items()}
    if to == "ada":
        if G.settings["label_norm"] == "joint":
            fix = "ADA's mapping has no such thing; take the default format"
            raise problem("a generator that ADA can express", "one that scales z and labels together", fix)
        with atomic_write(out) as part:
            torch.save(state, part)
    else:
        save_network(out, G, "generator", G.settings, half=False)
    print(f"{'written':14}{out}")
    if not verify:
        return 0
    again = load_generator(out)
    z = G.sample(4, seed=0)
    labels = torch.eye(G.c_dim)[torch.arange(4) % G.c_dim] if G.c_dim else None
    with torch.no_grad():
        worst = max(
            float((again(one, psi=psi, c=c) - G(one, psi=psi, c=c)).abs().max())
            for psi in (1.0, 0.7)
            for one, c in zip(z.split(1), labels.split(1) if labels is not None else [None] * 4, strict=True)
        )
    print(f"{'verified':14}images of 4 people, with and without truncation, differ by {worst:.1e} at most")
    return 0 if worst <= 1e-5 else 1


def convert_manifest(manifest: str, out: Path | None) -> int:
    """Read a manifest of face-api, print what it is, and write it.

    Args:
        manifest: the .json.
        out: a .safetensors file; None to print only.

    Returns:
        0.
    """
    from ice_lightning.checkpoints import convert_face_api, read_manifest, sha256

    tensors = read_manifest(manifest, "a face-api manifest")
    print(f"{'file':14}{manifest}\n{'dialect':14}TensorFlow.js\n{'SHA-256':14}{sha256(Path(manifest))} of the manifest")
    print(f"{'tensors':14}{len(tensors)}, {sum(each.numel() for each in tensors.values()):,} numbers")
    if out is not None:
        convert_face_api(manifest, out)
        print(f"{'written':14}{out}")
    return 0


def description(G: Generator) -> dict[str, str]:
    """A generator's facts by headings."""
    config = G.settings
    channels = config.get("channels") or f"min({config['channel_base']} / resolution, {config['channel_max']})"
    spaces = ", ".join(f"{space} {G.dim(space):,}" for space in G.spaces)
    layers, lr = config["mapping_layers"], config["lr_multiplier"]
    return {
        "file": str(G.name),
        "dialect": G.dialect,
        "SHA-256": G.fingerprint,
        "resolution": f"{G.resolution} x {G.resolution}, {config['img_channels']} channels",
        "spaces": spaces,
        "classes": str(G.c_dim or "none"),
        "mapping": f"{layers} layers, learning rate times {lr:g}",
        "synthesis": f"{config['architecture']}, channels {channels}",
        "clamp": "none" if config["conv_clamp"] is None else f"{config['conv_clamp']:g}",
        "filter": " ".join(f"{tap:g}" for tap in config["resample_filter"]),
    }


if __name__ == "__main__":
    sys.exit(main())
