"""What the program asks of a generator, and an adapter that makes one of a user's own module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ice_lightning.checks import problem
from ice_lightning.modules.fingerprint import fingerprint
from ice_lightning.parallel import one_thread
from ice_lightning.spaces import BANDS

DISPLAYED = (-0.5, 1.5)
"""Images are displayed in 0..1, and a generator's overshoot that by some tenths; what leaves this range has been scaled
to another one, such as 0..255."""


class AnyGenerator(nn.Module):
    """A frozen generator of faces: latents in one of several spaces to images.

    Attributes:
        spaces: names, each convertible to those after it; people are sampled in the first.
        resolution: pixels a side of the images, which are square.
        name: what reports call it.
        fingerprint: hexadecimal, another one for other weights; subspaces and latents are only used with their own.
    """

    spaces: tuple[str, ...]
    resolution: int
    name: str = ""
    fingerprint: str = ""

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """People in the first space.

        Args:
            n: how many, at least 1.
            seed: person i depends on seed + i alone.

        Returns:
            (n, dim(spaces[0])).
        """
        raise NotImplementedError

    def convert(self, u: Tensor, src: str, dst: str) -> Tensor:
        """Latents in a later space.

        Args:
            u: (N, dim(src)).
            src: the space that u lies in.
            dst: the wanted space, src or one after it.

        Returns:
            (N, dim(dst)).
        """
        raise NotImplementedError

    def widths(self, space: str) -> list[int]:
        """Widths of the layers of a latent; one where a space has no layers."""
        raise NotImplementedError

    def resolutions(self, space: str) -> list[int]:
        """The resolution in pixels at which each layer of a latent works."""
        raise NotImplementedError

    def people(self, n: int, seed: int, space: str) -> Tensor:
        """People in any space.

        Args:
            n: how many, at least 1.
            seed: person i depends on seed + i alone.
            space: one of `spaces`.

        Returns:
            (n, dim(space)).
        """
        with one_thread():
            return self.convert(self.sample(n, seed), self.spaces[0], space)

    def dim(self, space: str) -> int:
        """Number of coordinates of a latent."""
        return sum(self.widths(space))

    def draw(self, layers: Sequence[Tensor], space: str) -> Tensor:
        """Images of latents in layers, each on its own, so that some can be constants.

        Args:
            layers: one (N, width) for each of `widths(space)`.
            space: one of `spaces`.

        Returns:
            (N, 3, H, H).
        """
        image: Tensor = self(torch.cat(list(layers), 1), space)
        return image

    def coordinates(self, space: str, layers: str | None = None) -> Tensor:
        """Which coordinates of a latent belong to some layers.

        Args:
            space: any; layers can be told apart in some, in StyleGAN2's w+ (its rows) and s (its styled layers).
            layers: None for all; numbers counted from 0 such as "4-8" or "0,3"; resolutions such as "32px-" or
                "4px-16px"; or "coarse" (up to 8 px), "middle" (16 and 32 px) or "fine" (from 64 px on). A row of w+
                belongs to the resolution of its convolution.

        Returns:
            (k,) int64, ascending.

        Raises:
            IceError: for layers that don't exist, or a space without layers.
        """
        widths = self.widths(space)
        indices = torch.arange(sum(widths))
        if layers is None:
            return indices
        layered = [name for name in self.spaces if len(self.widths(name)) > 1]
        if space not in layered:
            instead = [f"set {' or '.join(f'space={name}' for name in layered)}, or "] if layered else []
            where = f"layers in {' or '.join(layered)}" if layered else "no layers, as this generator has none"
            raise problem(where, f"layers={layers} in {space}", "".join([*instead, "drop layers"]))
        chosen: set[int] = set()
        if band := re.fullmatch(r"(\d+)px-(?:(\d+)px)?", BANDS.get(layers, layers)):
            low, high = int(band[1]), int(band[2] or self.resolution)
            chosen = {i for i, pixels in enumerate(self.resolutions(space)) if low <= pixels <= high}
        elif re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", layers):
            for part in layers.split(","):
                first, _, last = part.partition("-")
                chosen |= set(range(int(first), int(last or first) + 1))
        else:
            fix = "write it like one of them"
            raise problem("layers such as 4-8, 32px-, coarse, middle or fine", f"'{layers}'", fix)
        if not chosen or max(chosen) >= len(widths):
            expected = f"layers from 0 to {len(widths) - 1} in {space}"
            raise problem(expected, f"'{layers}'", "this generator has no others")
        return torch.cat([part for i, part in enumerate(indices.split(widths)) if i in chosen])


class GeneratorAdapter(AnyGenerator):
    """A user's own module as a generator, frozen, in eval mode.

    Two people are drawn to learn what it is, and to refuse in a sentence what would fail later.

    Args:
        module: has

            - `spaces`: names of its latent spaces, such as ("z", "s");
            - `sample(n, seed)`: n people in the first space, (n, d), person i from seed + i alone;
            - a call `module(u, space)`: (N, d) -> (N, 3, H, H), displayable in 0..1;
            - `convert(u, src, dst)`: latents in a later space, where it has more than one;
            - `widths(space)` and `resolutions(space)`, where a space has layers that `layers=` is to tell apart;
            - `draw(layers, space)` of latents in these layers, where those that stay are then cheaper.
        name: what reports call it.

    Raises:
        IceError: for a module that lacks one of these or breaks what is said of it.
    """

    def __init__(self, module: Any, name: str) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            fix = "set generator._target_ to a class of one or a function that returns one"
            raise problem("a generator that is an nn.Module", type(module).__name__, fix)
        frozen: Any = module.eval().requires_grad_(False)
        for needed in ("spaces", "sample"):
            if not hasattr(module, needed):
                raise problem(
                    f"a generator with `{needed}`", f"{type(module).__name__} without", "see GeneratorAdapter"
                )
        self.spaces = tuple(frozen.spaces)
        if not self.spaces or (len(self.spaces) > 1 and not hasattr(module, "convert")):
            got = f"{self.spaces} in {type(module).__name__}"
            raise problem(
                "the names of latent spaces, and `convert` where there are several", got, "see GeneratorAdapter"
            )
        self.module: Any = frozen
        self.name, self.fingerprint = name, fingerprint(module)
        with torch.no_grad():
            self.resolution = self.check_contract()

    def check_contract(self) -> int:
        """Draw two people from every space; returns the resolution of the images.

        Raises:
            IceError: where the module breaks what is asked of it.
        """
        z = self.sample(2, 0)
        first = self.spaces[0]
        if z.ndim != 2 or len(z) != 2:
            raise problem("(2, d) from sample(2, 0)", tuple(z.shape), "return a row for each person")
        if not torch.allclose(z[1:], self.sample(1, 1), rtol=1e-3, atol=1e-4):
            got = "another person from sample(1, 1) than the second of sample(2, 0)"
            raise problem("people who depend on seed + number alone", got, "draw each from a seed of its own")
        drawn = {space: self(self.convert(z, first, space), space) for space in self.spaces}
        for space, image in drawn.items():
            if image.ndim != 4 or image.shape[:2] != (2, 3) or image.shape[2] != image.shape[3]:
                raise problem(f"square images (2, 3, H, H) from {space}", tuple(image.shape), "return colour images")
            low, high = float(image.min()), float(image.max())
            if not DISPLAYED[0] <= low <= high <= DISPLAYED[1]:
                got = f"values from {low:.2g} to {high:.2g} from {space}"
                raise problem("images that are displayed in 0..1", got, "return (image + 1) / 2 of one in -1..1")
            if (image - drawn[first]).abs().max() > 1e-2:
                fix = "let convert find the latent of the same picture"
                raise problem(f"the same picture from {first} and {space}", "another one", fix)
            total, dim = sum(self.widths(space)), self.convert(z, first, space).shape[1]
            resolutions = self.resolutions(space)
            if total != dim or len(resolutions) != len(self.widths(space)):
                got = f"widths of {total} and {len(resolutions)} resolutions"
                expected = f"widths and resolutions of layers of {dim} coordinates in {space}"
                raise problem(expected, got, "list each layer once")
        return int(drawn[first].shape[-1])

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """As the module draws them."""
        people: Tensor = self.module.sample(n, seed)
        return people

    def convert(self, u: Tensor, src: str, dst: str) -> Tensor:
        """As the module converts them; latents of the same space stay as they are."""
        converted: Tensor = u if src == dst else self.module.convert(u, src, dst)
        return converted

    def widths(self, space: str) -> list[int]:
        """As the module says, else one layer."""
        if hasattr(self.module, "widths"):
            return list(self.module.widths(space))
        return [self.convert(self.sample(1), self.spaces[0], space).shape[1]]

    def resolutions(self, space: str) -> list[int]:
        """As the module says, else unknown, which is 0."""
        if hasattr(self.module, "resolutions"):
            return list(self.module.resolutions(space))
        return [0] * len(self.widths(space))

    def draw(self, layers: Sequence[Tensor], space: str) -> Tensor:
        """By the module's own `draw`, where it has one."""
        if not hasattr(self.module, "draw"):
            return super().draw(layers, space)
        image: Tensor = self.module.draw(layers, space)
        return image

    def forward(self, u: Tensor, space: str) -> Tensor:
        """Latents (N, dim) -> images (N, 3, H, H)."""
        image: Tensor = self.module(u, space)
        return image
