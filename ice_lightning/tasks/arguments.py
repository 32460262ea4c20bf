"""Arguments of what settings build, checked against signatures before anything is built."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ice_lightning.checks import one_of, problem
from ice_lightning.tasks.schema import MISSING, SWITCH, TEXT, Kind, accept, is_number, is_whole, joined, shown

INJECTED: dict[str, tuple[str, ...]] = {"latents": ("generator", "space")}
"""Arguments that a run fills in itself; a term's are named in its `needs`."""


PLAIN: tuple[tuple[Any, str, Callable[[Any], bool]], ...] = (
    (int, "a whole number", is_whole),
    (float, "a number", is_number),
    (bool, SWITCH.description, SWITCH.fits),
    (str, TEXT.description, TEXT.fits),
    (Path, TEXT.description, TEXT.fits),
    (NoneType, "null", lambda value: value is None),
)
"""Types that YAML has values of, in words, and what is one."""


def check_arguments(settings: Mapping[str, Any]) -> None:
    """Refuse arguments that no `_target_` takes, of a type that it doesn't take, and ones that it lacks.

    Args:
        settings: see check_values, which comes first; this imports what the settings name.

    Raises:
        IceError: in one sentence.
    """
    for name, node in targets("", settings):
        target = found(name, node["_target_"])
        check_call(name, node, target, (*INJECTED.get(name, ()), *getattr(target, "needs", ())))


def targets(name: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and settings of everything that has a `_target_`.

    Args:
        name: of the setting, "" for all of them.
        value: plain.

    Example:
        >>> [name for name, _ in targets("", {"solver": {"_target_": "a.B"}, "space": "s"})]
        ['solver']
    """
    if isinstance(value, Mapping) and "_target_" in value:
        yield name, value
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else pairs:
        yield from targets(joined(name, str(key)), inner)


def found(name: str, path: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names.

    Args:
        name: of the setting.
        path: MODULE.NAME.

    Raises:
        IceError: where there is none.

    Example:
        >>> found("faces", "math.sqrt")(4)
        2.0
    """
    what, fix = f"a class or function as {name}._target_", f"set {name}._target_=MODULE.NAME"
    if path == MISSING:
        raise problem(what, "none", fix)
    try:
        target: Callable[..., Any] = pkgutil.resolve_name(path)
    except Exception as error:  # whatever importing somebody's module may raise
        fix = "check its spelling, and that its folder is the working directory or on PYTHONPATH"
        message = str(error).splitlines() or [type(error).__name__]
        raise problem(what, f"'{path}' ({message[0]})", fix) from error
    if not callable(target):
        raise problem(what, f"'{path}', which can't be called", fix)
    return target


def check_call(name: str, node: Mapping[str, Any], target: Callable[..., Any], injected: Sequence[str]) -> None:
    """Compare the arguments of a node with a signature; of one that takes any name, as far as it goes.

    Args:
        name: of the node.
        node: its arguments; names with an underscore in front are Hydra's.
        target: what is called.
        injected: arguments that come from elsewhere.

    Raises:
        IceError: in one sentence.

    Example:
        >>> check_call("invert", {"steps": 3}, lambda steps: None, ())
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # of some that are written in C
        return
    try:
        signature = inspect.signature(target, eval_str=True)
    except Exception:  # annotations that only a type checker can read; names are compared all the same
        signature = signature.replace(parameters=[p.replace(annotation=Any) for p in signature.parameters.values()])
    named = {
        each.name: each
        for each in signature.parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    open_ended = any(each.kind == each.VAR_KEYWORD for each in signature.parameters.values())
    for key in (str(key) for key in node if not str(key).startswith("_")):
        if key in named:
            default = named[key].default
            if node[key] != default:
                accept(f"{name}.{key}", node[key], of_type(named[key].annotation, default))
        elif not open_ended:
            options = [each for each in named if each not in injected]
            if not options:
                raise problem(f"no settings of {name}", f"'{key}'", "drop it")
            one_of(f"setting of {name}", key, options)
    if "_args_" in node or node.get("_partial_"):
        return
    for key, each in named.items():
        if each.default is each.empty and key not in node and key not in injected:
            kind = of_type(each.annotation, each.default)
            raise problem(f"{name}.{key} as {kind.description}", "none", f"set {name}.{key}")


def of_type(hint: Any, default: Any) -> Kind:
    """The kind of an annotated argument.

    Args:
        hint: the annotation.
        default: the argument's own, which serves as an example.

    Example:
        >>> of_type(int | None, 3).description
        'a whole number or null'
    """
    example = shown(default).strip("'") if isinstance(default, str | int | float | list | tuple) else ""
    return Kind(in_words(hint), lambda value: suits(value, hint), example)


def suits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of an annotated type; true where this can't be told.

    Args:
        value: as YAML has it.
        hint: the annotation.

    Example:
        >>> suits([1, 2], list[int]), suits([1, "a"], list[int])
        (True, False)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(suits(value, each) for each in inner)
    if isinstance(value, dict) and "_target_" in value:
        return True  # it becomes something else
    if origin is Literal:
        return value in inner
    if is_list(hint):
        same = inner[0] if inner and not (origin is tuple and Ellipsis not in inner) else Any
        return isinstance(value, list) and all(suits(each, same) for each in value)
    return all(fits(value) for kind, _, fits in PLAIN if hint is kind)


def is_list(hint: Any) -> bool:
    """Whether an annotation is that of a list or tuple."""
    return any((get_origin(hint) or hint) is kind for kind in (list, tuple, Sequence))


def in_words(hint: Any) -> str:
    """An annotated type in words."""
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(each) for each in inner))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if is_list(hint):
        return f"a list, each {in_words(inner[0])}" if inner else "a list"
    for kind, words, _ in PLAIN:
        if hint is kind:
            return words
    return "a value"
