"""The artefact between the two halves: named directions in a latent space, on disk."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ice_lightning.checks import Mismatch, NotFound, Unreadable, at_least, finite, is_number, one_of, problem
from ice_lightning.files import atomic_write
from ice_lightning.renamed import renamed
from ice_lightning.wording import words

FILE = "subspace.safetensors"
KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Of directions and eigenvalues."""
RECORD: dict[str, type] = {"criterion": str, "generator": str, "generator_sha256": str, "config": dict}
"""What in a provenance is read, where it is there."""


class OfSpaces(Protocol):
    """What is asked of a generator; see `modules.generator.AnyGenerator`."""

    fingerprint: str
    spaces: tuple[str, ...]

    def widths(self, space: str) -> list[int]:
        """Coordinates of each layer."""


@dataclass(frozen=True)
class Charges:
    """What a search has learnt of the terms that its criterion suppresses, for the searches of single people.

    Attributes:
        charged: (p, m) of the m coordinates that may move: charged^T charged is about what all terms charge.
        charges: by name of the term, 1 / (ratio * largest eigenvalue); 0 for one without energy.
        deviations: by name of the term, and of the activated ones together under "": how far features are moved by a
            step that is a deviation long in every coordinate, to first order.
    """

    charged: Tensor
    charges: dict[str, float]
    deviations: dict[str, float]


def strengths_of(strength: float | Tensor, u: Tensor) -> Tensor:
    """How far each of some people is moved.

    Args:
        strength: a number, or a Tensor (N,) of real ones.
        u: people (N, n).

    Returns:
        (N,) in the type of u.

    Raises:
        IceError: for anything else, or what isn't finite in that type.

    Example:
        >>> strengths_of(2.0, torch.zeros(2, 3))
        tensor([2., 2.])
    """
    fix = "1 is the direction's length"
    if not (is_number(strength) or isinstance(strength, Tensor)):
        raise problem("a strength as a number or a Tensor (N,)", repr(strength), fix)
    if isinstance(strength, Tensor):
        if strength.ndim > 1 or len(strength.reshape(-1)) not in (1, len(u)):
            got = f"a Tensor of shape {tuple(strength.shape)}"
            raise problem(f"one strength, or one for each of {len(u)} people", got, "pass a number or (N,)")
        if strength.dtype == torch.bool or strength.is_complex():
            raise problem("strengths that are real numbers", f"a Tensor of {strength.dtype}", fix)
    elif abs(strength) > torch.finfo(u.dtype).max:
        raise problem("a finite strength", f"{strength:.3g}" if isinstance(strength, float) else "a larger one", fix)
    found = torch.as_tensor(strength, dtype=u.dtype, device=u.device).reshape(-1)
    if not found.isfinite().all():
        raise problem("finite strengths", "NaN or infinite ones", fix)
    return found.expand(len(u))


@dataclass(frozen=True)
class Subspace:
    """Directions of one latent space that change one named thing.

    Attributes:
        directions: (n, k) columns, strongest first, of length 1 in the inner product of the search: the population's,
            where a unit is one population deviation, or the euclidean one; orthonormal, but where the projection was
            soft.
        eigenvalues: (k,), descending: squared feature change per squared unit of that length.
        space: z, w, w+ or s.
        provenance: criterion, generator and its SHA-256, seed, versions: JSON.
        charges: what finds single people's own directions; None where directions come from elsewhere.

    Raises:
        IceError: unless there is at least one direction, each with its eigenvalue, of finite numbers that aren't all 0.
    """

    directions: Tensor
    eigenvalues: Tensor
    space: str
    provenance: dict[str, Any] = field(default_factory=dict)
    charges: Charges | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what has no directions."""
        fix = "pass what discover or load_subspace returns, or tensors like theirs"
        for name, kind in {"directions": Tensor, "eigenvalues": Tensor, "space": str, "provenance": dict}.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise problem(f"{name} as a {kind.__name__}", f"a {type(value).__name__}", fix)
        for name, kind in RECORD.items():
            if name in self.provenance and not isinstance(self.provenance[name], kind):
                got = f"a {type(self.provenance[name]).__name__}"
                raise problem(f"{name} in the provenance as a {kind.__name__}", got, fix)
        for name, shape in {"directions": "(n, k)", "eigenvalues": "(k,)"}.items():
            tensor: Tensor = getattr(self, name)
            if tensor.dtype not in KINDS:
                raise problem(f"{name} as floating numbers", tensor.dtype, fix)
            if tensor.layout != torch.strided or tensor.is_meta or tensor.is_nested:
                raise problem(f"{name} as a dense tensor with values", "one without", fix)
            if tensor.ndim != len(shape.split()) or not tensor.numel():
                raise problem(f"{name} of shape {shape}, none of them 0", tuple(tensor.shape), fix)
            finite(name, tensor)
        k = self.directions.shape[1]
        if len(self.eigenvalues) != k:
            raise problem(f"{k} eigenvalues, one for each direction", len(self.eigenvalues), fix)
        if not self.directions.any(0).all():
            raise problem("directions along which something moves", "one that is 0 everywhere", fix)

    def edit(self, u: Tensor, direction: int = 0, strength: float | Tensor = 1.0) -> Tensor:
        """People moved along one direction.

        Args:
            u: (N, n).
            direction: column, 0 is the strongest.
            strength: times the direction's length, in latent units; a number or (N,).

        Returns:
            (N, n).

        Raises:
            IceError: for latents of another space, or a direction that there isn't.

        Example:
            >>> S = Subspace(torch.eye(3)[:, :1], torch.ones(1), "w")
            >>> S.edit(torch.zeros(1, 3), direction=0, strength=2.0).tolist()
            [[2.0, 0.0, 0.0]]
        """
        n, k = self.directions.shape
        if not isinstance(u, Tensor):
            raise problem("latents as a Tensor", f"a {type(u).__name__}", "convert them with torch.as_tensor")
        if u.ndim != 2 or u.shape[1] != n:
            raise problem(f"latents of shape (N, {n}) in {self.space}", tuple(u.shape), "convert them first")
        if not 0 <= at_least("direction", direction, 0) < k:
            raise problem(f"a direction from 0 to {k - 1}", direction, "the subspace has no more")
        step = strengths_of(strength, u)[:, None]
        return u + step * self.directions[:, direction].to(u)

    def check_generator(self, generator: OfSpaces) -> None:
        """Refuse the subspace of another generator, or of other latents than this one's."""
        made, fingerprint = self.provenance, generator.fingerprint
        if made.get("generator_sha256") != fingerprint:
            got = f"one of {made.get('generator', 'nobody knows which')} ({made.get('generator_sha256', '')[:12]})"
            fix = "put that one back, set generator.checkpoint to it, or find the subspace again"
            raise problem(f"a subspace of this generator ({fingerprint[:12]})", got, fix, Mismatch)
        one_of("space", self.space, generator.spaces)
        n, own = sum(generator.widths(self.space)), len(self.directions)
        if own != n:
            raise problem(f"directions ({n}, k) in {self.space}", f"{own} coordinates", "find them again", Mismatch)

    def _repr_html_(self) -> str:
        """For notebooks: what it is, and a bar for the energy of each direction."""
        name = words(str(self.provenance.get("criterion", "a subspace")))
        (n, k), values = self.directions.shape, self.eigenvalues.tolist()
        bars = "".join(
            f"<tr><td>{i}</td><td>{value:.2e}</td><td><div style='background:#c2410c;height:.8em;"
            f"width:{10 * value / max(values[0], 1e-300):.2f}em'></div></td></tr>"
            for i, value in enumerate(values)
        )
        heads = "<tr><th>direction</th><th>energy</th><th></th></tr>"
        about = f"<b>{html.escape(name)}</b>: {k} directions of {n} coordinates of {html.escape(self.space)}"
        return f"<p>{about}</p><table>{heads}{bars}</table>"

    def strongest(self, count: int) -> Subspace:
        """The subspace of the first `count` directions, or of all where they are fewer."""
        at_least("directions", count, 1)
        return replace(self, directions=self.directions[:, :count], eigenvalues=self.eigenvalues[:count])

    def angles(self, other: Subspace) -> Tensor:
        """Principal angles in radians to another subspace of the same space, ascending, (min(k, k'),)."""
        if self.directions.shape[0] != other.directions.shape[0]:
            raise problem(f"a subspace of {self.space}", other.space, "compare within one space", Mismatch)
        return principal_angles(self.directions, other.directions)

    def save(self, path: str | Path) -> Path:
        """Write the file, whole or not at all."""
        path = Path(path)
        tensors = {"directions": self.directions.contiguous(), "eigenvalues": self.eigenvalues.contiguous()}
        header = {"space": self.space, "provenance": json.dumps(self.provenance)}
        if self.charges is not None:
            tensors["charged"] = self.charges.charged.half().contiguous()  # a preconditioner, for which ten bits do
            header["charges"] = json.dumps([self.charges.charges, self.charges.deviations])
        with atomic_write(path) as part:
            save_file(tensors, part, metadata=header)
        return path


def principal_angles(A: Tensor, B: Tensor) -> Tensor:
    """Angles between the spans of two bases (Bjorck & Golub 1973), exact for small ones as well.

    Args:
        A: (n, k), of full rank.
        B: (n, j), of full rank.

    Returns:
        (min(k, j),) in radians, ascending, 0 to pi/2.

    Example:
        >>> float(principal_angles(torch.eye(3)[:, :1], torch.tensor([[1.0], [1.0], [0.0]])).rad2deg().round())
        45.0
    """
    A, B = (torch.linalg.qr(basis.double()).Q for basis in (A, B))
    if A.shape[1] < B.shape[1]:
        A, B = B, A
    cosines = torch.linalg.svdvals(A.T @ B).clamp(max=1)
    sines = torch.linalg.svdvals(B - A @ (A.T @ B)).clamp(max=1).flip(0)
    return torch.where(cosines.square() < 0.5, cosines.acos(), sines.asin())


def file_of(path: str | PathLike[str]) -> Path:
    """The file of a subspace, by itself or by its run folder."""
    path = Path(path)
    return path / FILE if path.is_dir() else path


def load_subspace(path: str | PathLike[str]) -> Subspace:
    """A subspace from its file or from its run folder.

    Raises:
        IceError: for a missing or broken file.
    """
    if not isinstance(path, str | PathLike):
        raise problem("the path of a subspace", repr(path), "pass a run folder or its subspace.safetensors")
    missing = problem(f"a subspace at {path}", "none", "pass a run folder or its subspace.safetensors", NotFound)
    try:
        path = file_of(path)
        if not path.is_file():
            raise missing
    except OSError as error:  # a name that no file can have
        raise missing from error
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            provenance = json.loads(header["provenance"])
            if isinstance(provenance, dict) and isinstance(provenance.get("config"), dict):
                provenance["config"] = renamed(provenance["config"])
            charges = None
            if "charges" in header:
                charges = Charges(file.get_tensor("charged").float(), *json.loads(header["charges"]))
            return Subspace(
                file.get_tensor("directions"), file.get_tensor("eigenvalues"), header["space"], provenance, charges
            )
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, NotImplementedError) as error:
        raise problem(f"a whole subspace file at {path}", str(error), "run the discovery again", Unreadable) from error
