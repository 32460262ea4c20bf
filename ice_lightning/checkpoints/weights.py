"""Weights alone, as tensors by name, from any file that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import Tensor

from ice_lightning.checkpoints.containers import mapped, tree
from ice_lightning.checkpoints.dialects import flat, read
from ice_lightning.checkpoints.pickles import Budget, Refused
from ice_lightning.checks import IceError, finite, problem

T = TypeVar("T")


@contextmanager
def worded(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a file that is read inside makes go wrong into one sentence.

    Raises:
        IceError: for everything that can be wrong with the file.
    """
    try:
        yield
    except Refused as error:
        raise problem(f"{what} at {path}", error.got, error.fix) from None
    except SafetensorError as error:
        raise problem(f"{what} at {path}", f"a broken safetensors file ({error})", "fetch it again") from error
    except OSError as error:
        raise problem(f"{what} at {path}", f"one that can't be read ({error.strerror})", "check the path") from error
    except IceError:
        raise
    except Exception as error:  # what a stranger's file holds can break an assumption that no check names
        got = f"one with parts that don't fit together ({type(error).__name__})"
        raise problem(f"{what} at {path}", got, "fetch or write the file again") from error


def inspected(path: str | Path, what: str, use: Callable[[Any, Budget], T]) -> T:
    """What `use` makes of a file's content, read without executing anything.

    Args:
        path: any file.
        what: what is expected there, for the sentence.
        use: takes what the container holds, and the budget for reading tensors from it.

    Raises:
        IceError: for everything that can be wrong with the file.
    """
    path = Path(path)
    with worded(path, what):
        data = mapped(path)
        budget = Budget(len(data))
        return use(tree(path, data, budget), budget)


def read_weights(path: str | Path, what: str) -> dict[str, Tensor]:
    """Tensors of a file by name: safetensors, torch's zip or its older format, or a plain pickle of arrays.

    A `state_dict` round them and `module.` before all of them are taken off; nothing is executed.

    Args:
        path: the file.
        what: what is expected there, for the sentence.

    Raises:
        IceError: for a missing, broken or hostile file, one without tensors, or NaN weights.
    """

    def use(content: Any, budget: Budget) -> dict[str, Tensor]:
        found = flat(content.get("state_dict", content) if isinstance(content, dict) else content)
        if not found:
            raise Refused("a file without tensors", "pass the file of a state_dict")
        prefix = "module." if all(name.startswith("module.") for name in found) else ""
        return {name.removeprefix(prefix): tensor for name, tensor in read(found, budget).items()}

    tensors = inspected(path, what, use)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            finite(f"{name} of {path}", tensor)
    return tensors
