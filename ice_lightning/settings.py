"""What each setting may be: one table in the order of conf/config.yaml, checked before anything is loaded.

Below a `_target_` stand the arguments of a class or function. Its signature says which there are and of which type, so
that a term, network or trainer of anybody's own needs no line here; for the package's own, the table adds ranges.
"""

from __future__ import annotations

import inspect
import json
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ice_lightning.checks import nearest, one_of, problem

ANY = "*"
"""In the table, a name that the user chooses."""

MISSING = "???"
"""What Hydra calls a value that has to be given."""


@dataclass(frozen=True)
class Kind:
    """What values a setting takes.

    Attributes:
        said: after "expected NAME as".
        fits: whether a value, of plain YAML types, is one.
        example: as one would write it; "" for none.
        options: names to which a wrong one is compared.
        needed: whether the setting has to be there.
        called: whether what lies below are the arguments of a `_target_`.
    """

    said: str
    fits: Callable[[Any], bool]
    example: str = ""
    options: tuple[str, ...] = ()
    needed: bool = True
    called: bool = False


def is_whole(value: object) -> bool:
    """Whether it is a whole number; true and 1.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def whole(least: int, most: int | None = None) -> Kind:
    """Whole numbers from `least` on, up to `most` where there is one."""
    said = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(
        f"a whole number {said}", lambda v: is_whole(v) and least <= v and (most is None or v <= most), str(least)
    )


def above_zero(example: str) -> Kind:
    """Numbers above 0."""
    return Kind("a number above 0", lambda v: is_number(v) and v > 0, example)


def not_negative(example: str) -> Kind:
    """Numbers from 0 on."""
    return Kind("a number of at least 0", lambda v: is_number(v) and v >= 0, example)


def choice(*options: str) -> Kind:
    """One of some names."""
    return Kind(f"one of {', '.join(options)}", lambda v: v in options, options[0], options)


def several(kind: Kind) -> Kind:
    """Lists, which may be empty."""
    said = f"a list, each {kind.said}"
    return Kind(
        said, lambda v: isinstance(v, list) and all(map(kind.fits, v)), f"[{kind.example}]", options=kind.options
    )


def optional(kind: Kind) -> Kind:
    """The same, or null."""
    return replace(kind, said=f"{kind.said}, or null", fits=lambda v: v is None or kind.fits(v))


def unsaid(kind: Kind) -> Kind:
    """The same, where the setting may be missing."""
    return replace(kind, needed=False)


TEXT = Kind("text", lambda v: isinstance(v, str))
SWITCH = Kind("true or false", lambda v: isinstance(v, bool), "true")
SHARE = Kind("a number in (0, 1]", lambda v: is_number(v) and 0 < v <= 1, "0.01")
SEED = whole(0, 10**12)  # multiples of it have to be seeds of torch
LAYERS = Kind("layers such as 4-8, 32px- or fine", lambda v: isinstance(v, str) or (is_whole(v) and v >= 0), "fine")
GROUP = Kind("settings by name", lambda v: isinstance(v, dict), "{}")
TERMS = Kind("at least one term by name", lambda v: isinstance(v, dict) and bool(v))
TARGET = Kind(
    "settings with a _target_", lambda v: isinstance(v, dict) and isinstance(v.get("_target_"), str), called=True
)
DEVICES = Kind(
    "a number of processes, a list of devices, or auto",
    lambda v: (
        (is_whole(v) and (v > 0 or v == -1))
        or (isinstance(v, str) and (v == "auto" or ("," in v and v.replace(",", "").isdigit())))
        or (isinstance(v, list) and bool(v) and all(is_whole(each) and each >= 0 for each in v))
    ),
    "1",
)
EMBEDDED = ("smiling", "smiling_biased", "narrow_eyes", "glasses")
ORACLES = Kind(
    f"a list of classifiers, by settings or each one of {', '.join(EMBEDDED)}",
    lambda v: isinstance(v, list) and all(isinstance(each, dict) or each in EMBEDDED for each in v),
    f"[{EMBEDDED[0]}]",
    EMBEDDED,
)
PASSES = Kind("-1, or a whole number of at least 1", lambda v: is_whole(v) and (v == -1 or v > 0), "-1")

TABLE: dict[str, Kind] = {
    "task.name": choice("discover", "explain", "verdict", "invert", "traverse", "list"),
    "generator": TARGET,
    "generator.label": optional(whole(0)),
    "space": TEXT,  # the generator says which it has
    "geometry": choice("population", "euclidean"),
    "criterion.name": TEXT,
    "criterion.description": TEXT,
    "criterion.projection": choice("early", "late", "soft", "mixed"),
    "criterion.late": several(TEXT),
    "criterion.activate_ratio": SHARE,
    "criterion.rank": optional(whole(1)),
    "criterion.size": whole(4),
    "criterion.layers": optional(LAYERS),
    "criterion.whole_maps": unsaid(SWITCH),
    "criterion.activate": TERMS,
    "criterion.activate.*": optional(GROUP),
    "criterion.activate.*.term": TARGET,
    "criterion.activate.*.weight": unsaid(above_zero("1")),
    "criterion.suppress": optional(GROUP),
    "criterion.suppress.*": optional(GROUP),
    "criterion.suppress.*.term": TARGET,
    "criterion.suppress.*.ratio": SHARE,
    "precision": choice("float32", "tf32", "bfloat16"),
    "layers": optional(LAYERS),
    "ckpt_path": optional(TEXT),
    "run_dir": TEXT,
    "latents": TARGET,
    "latents.count": whole(1),
    "latents.seed": SEED,
    "latents.batch": whole(1),
    "latents.file": optional(TEXT),
    "explain.people": whole(1),
    "explain.latents": optional(TEXT),
    "explain.seed": SEED,
    "explain.batch": whole(1),
    "explain.directions": optional(whole(1)),
    "explain.controls.subspaces": whole(0),
    "explain.controls.people": whole(1),
    "explain.controls.seed": SEED,
    "explain.controls.weights": SWITCH,
    "explain.controls.unrestricted": SWITCH,
    "explain.oracles": ORACLES,
    "explain.subspaces": TEXT,
    "explain.kept_controls": TEXT,
    "metrics.convention": choice("own", "ace"),
    "metrics.query": optional(TEXT),
    "traverse.people": whole(1),
    "traverse.latents": optional(TEXT),
    "traverse.seed": SEED,
    "traverse.directions": whole(1),
    "traverse.strength": optional(above_zero("2")),
    "traverse.frames": whole(4),
    "traverse.rate": above_zero("12"),
    "subspace": optional(TEXT),
    "image": optional(TEXT),
    "invert.steps": whole(1),
    "invert.rate": above_zero("0.05"),
    "runs": optional(TEXT),
    "faces": TARGET,
    "solver": TARGET,
    "solver.rows": whole(1),
    "solver.tolerance": SHARE,
    "solver.passes": whole(4),
    "solver.chunk": optional(whole(1)),
    "classifier": unsaid(optional(TARGET)),
    "classifier.network": optional(TARGET),
    "classifier.size": optional(whole(1)),
    "classifier.kind": choice("binary", "multiclass", "regression"),
    "method": TARGET,
    "method.bound": optional(above_zero("3")),
    "method.margin": not_negative("0.1"),
    "method.steps": whole(1),
    "method.halvings": whole(0),
    "method.improve": whole(0),
    "method.lr": above_zero("1"),
    "method.momentum": not_negative("0.9"),
    "method.weight_decay": not_negative("0.001"),
    "trainer": TARGET,
    "trainer.devices": DEVICES,
    "trainer.num_nodes": whole(1),
    "trainer.max_epochs": PASSES,
    "logger": TARGET,
}
"""What each setting may be, by its name; a name that only begins others is a group of them."""


def nested(names: Iterable[str]) -> dict[str, Any]:
    """Dotted names as dicts in dicts, empty at the ends."""
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for part in name.split("."):
            node = node.setdefault(part, {})
    return tree


TREE = nested(TABLE)

OURS = ("ice_lightning", "pytorch_lightning")
"""Packages whose arguments the table knows; another's argument of the same name may be anything."""

GIVEN: dict[str, tuple[str, ...]] = {"latents": ("generator", "space")}
"""Arguments that a run fills in itself; a term's are named in its `needs`."""


def check_values(settings: Mapping[str, Any]) -> None:
    """Refuse settings that the table doesn't know, or whose value is none of theirs; imports nothing.

    Args:
        settings: all of a run, as plain values, resolved.

    Raises:
        IceError: in one sentence.
    """
    visit("", settings, TREE, "")


def visit(name: str, value: Any, tree: Mapping[str, Any], entry: str) -> None:
    """Check a setting and those below it; `tree` holds the table's names below, `entry` is its own name there."""
    kind = TABLE.get(entry, GROUP)
    if name:
        accept(name, value, kind)
    if not tree or not isinstance(value, Mapping):
        return
    if not kind.called:
        below(name, value, tree, entry)
    elif value["_target_"].partition(".")[0] not in OURS:
        return
    for key, inner in value.items():
        part = str(key) if str(key) in tree else ANY
        if part in tree:
            visit(joined(name, str(key)), inner, tree[part], joined(entry, part))


def below(name: str, group: Mapping[str, Any], tree: Mapping[str, Any], entry: str) -> None:
    """Refuse names that a group doesn't have, and a group that lacks one."""
    if ANY in tree:
        return
    for key in group:
        one_of(f"setting of {name}" if name else "setting", str(key), tree)
    for part in tree:
        kind = TABLE.get(joined(entry, part), GROUP)
        if part not in group and kind.needed:
            raise problem(f"{joined(name, part)} as {kind.said}", "none", fix(joined(name, part), MISSING, kind))


def joined(name: str, part: str) -> str:
    """The name of a setting in a group."""
    return f"{name}.{part}" if name else part


def accept(name: str, value: Any, kind: Kind) -> None:
    """Refuse a value that isn't of its kind."""
    if value == MISSING or not kind.fits(value):
        raise problem(f"{name} as {kind.said}", "none" if value == MISSING else shown(value), fix(name, value, kind))


def shown(value: Any) -> str:
    """A value as one writes it, in a line of moderate length."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def fix(name: str, value: Any, kind: Kind) -> str:
    """What to write instead."""
    if isinstance(value, float) and value.is_integer() and kind.fits(int(value)):
        return f"write {int(value)}, without point and exponent"
    if (is_number(value) or isinstance(value, bool)) and kind.fits(str(value)):
        return f"write it in quotes, '{name}=\"{value}\"'"
    if isinstance(value, str) and kind.fits([value]):
        return f"write it as a list, {name}=[{value}]"
    for each in value if isinstance(value, list) else [value]:
        if each not in kind.options and (close := nearest(str(each), kind.options)):
            return f"did you mean '{close}'?"
    return f"for example {name}={kind.example}" if kind.example else f"set {name}"


def check_arguments(settings: Mapping[str, Any]) -> None:
    """Refuse arguments that no `_target_` takes, of a type that it doesn't take, and ones that it lacks.

    Args:
        settings: see check_values, which comes first; this imports what the settings name.

    Raises:
        IceError: in one sentence.
    """
    for name, node in targets("", settings):
        target = found(name, node["_target_"])
        check_call(name, node, target, (*GIVEN.get(name, ()), *getattr(target, "needs", ())))


def targets(name: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and settings of everything that has a `_target_`."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield name, value
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else pairs:
        yield from targets(joined(name, str(key)), inner)


def found(name: str, path: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names."""
    what, fix = f"a class or function as {name}._target_", f"set {name}._target_=MODULE.NAME"
    if path == MISSING:
        raise problem(what, "none", fix)
    try:
        target: Callable[..., Any] = pkgutil.resolve_name(path)
    except Exception as error:  # whatever importing somebody's module may raise
        fix = "check its spelling, and that its folder is the working directory or on PYTHONPATH"
        told = str(error).splitlines() or [type(error).__name__]
        raise problem(what, f"'{path}' ({told[0]})", fix) from error
    if not callable(target):
        raise problem(what, f"'{path}', which can't be called", fix)
    return target


def check_call(name: str, node: Mapping[str, Any], target: Callable[..., Any], given: Sequence[str]) -> None:
    """Compare the arguments of a node with a signature; of one that takes any name, as far as it goes.

    Args:
        name: of the node.
        node: its arguments; names with an underscore in front are Hydra's.
        target: what is called.
        given: arguments that come from elsewhere.
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
            options = [each for each in named if each not in given]
            if not options:
                raise problem(f"no settings of {name}", f"'{key}'", "drop it")
            one_of(f"setting of {name}", key, options)
    if "_args_" in node or node.get("_partial_"):
        return
    for key, each in named.items():
        if each.default is each.empty and key not in node and key not in given:
            kind = of_type(each.annotation, each.default)
            raise problem(f"{name}.{key} as {kind.said}", "none", f"set {name}.{key}")


def of_type(hint: Any, default: Any) -> Kind:
    """The kind of an annotated argument."""
    example = shown(default).strip("'") if isinstance(default, str | int | float | list | tuple) else ""
    return Kind(worded(hint), lambda value: suits(value, hint), example)


PLAIN: tuple[tuple[Any, str, Callable[[Any], bool]], ...] = (
    (int, "a whole number", is_whole),
    (float, "a number", is_number),
    (bool, SWITCH.said, SWITCH.fits),
    (str, TEXT.said, TEXT.fits),
    (Path, TEXT.said, TEXT.fits),
    (NoneType, "null", lambda value: value is None),
)
"""Types that YAML has values of, in words, and what is one."""


def suits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of an annotated type; true where this can't be told."""
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


def worded(hint: Any) -> str:
    """An annotated type in words."""
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(worded(each) for each in inner))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if is_list(hint):
        return f"a list, each {worded(inner[0])}" if inner else "a list"
    for kind, words, _ in PLAIN:
        if hint is kind:
            return words
    return "a value"
