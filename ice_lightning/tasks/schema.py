"""What each setting may be: one table in the order of conf/config.yaml, checked before anything is loaded.

Below a `_target_` stand the arguments of a class or function. Its signature says which there are and of which type, so
that a term, network or trainer of anybody's own needs no line here; for the package's own, the table adds ranges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ice_lightning.checks import LARGEST_SEED, nearest, one_of, problem

ANY = "*"
"""In the table, a name that the user chooses."""

MISSING = "???"
"""What Hydra calls a value that has to be given."""


@dataclass(frozen=True)
class Kind:
    """What values a setting takes.

    Attributes:
        description: after "expected NAME as".
        fits: whether a value, of plain YAML types, is one.
        example: as one would write it; "" for none.
        options: names to which a wrong one is compared.
        needed: whether the setting has to be there.
        called: whether what lies below are the arguments of a `_target_`.
    """

    description: str
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
    """Whole numbers from `least` on, up to `most` where there is one.

    Args:
        least: the smallest that fits, which is the example.
        most: the largest; None where there is none.

    Example:
        >>> whole(1, 9).description, whole(1).fits(0)
        ('a whole number from 1 to 9', False)
    """
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(
        f"a whole number {limits}", lambda v: is_whole(v) and least <= v and (most is None or v <= most), str(least)
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
    return Kind(
        f"a list, each {kind.description}",
        lambda v: isinstance(v, list) and all(map(kind.fits, v)),
        f"[{kind.example}]",
        options=kind.options,
    )


def optional(kind: Kind) -> Kind:
    """The same, or null."""
    return replace(kind, description=f"{kind.description}, or null", fits=lambda v: v is None or kind.fits(v))


def omittable(kind: Kind) -> Kind:
    """The same, where the setting may be missing."""
    return replace(kind, needed=False)


TEXT = Kind("text", lambda v: isinstance(v, str))
SWITCH = Kind("true or false", lambda v: isinstance(v, bool), "true")
SHARE = Kind("a number in (0, 1]", lambda v: is_number(v) and 0 < v <= 1, "0.01")
RELAXATION = Kind("a number from 1 to 1e6", lambda v: is_number(v) and 1 <= v <= 1e6, "1")
SEED = whole(0, LARGEST_SEED)
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
    "local": SWITCH,
    "held": SWITCH,
    "criterion.name": TEXT,
    "criterion.description": TEXT,
    "criterion.projection": choice("early", "late", "soft", "mixed"),
    "criterion.late": several(TEXT),
    "criterion.activate_ratio": SHARE,
    "criterion.rank": optional(whole(1)),
    "criterion.local_relaxation": omittable(RELAXATION),
    "criterion.size": whole(4),
    "criterion.layers": optional(LAYERS),
    "criterion.whole_maps": omittable(SWITCH),
    "criterion.activate": TERMS,
    "criterion.activate.*": optional(GROUP),
    "criterion.activate.*.term": TARGET,
    "criterion.activate.*.weight": omittable(above_zero("1")),
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
    "explain.keep_directions": SWITCH,
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
    "classifier": omittable(optional(TARGET)),
    "classifier.network": optional(TARGET),
    "classifier.size": optional(whole(1)),
    "classifier.kind": choice("binary", "multiclass", "regression"),
    "counterfactual": TARGET,
    "counterfactual.bound": optional(above_zero("3")),
    "counterfactual.margin": not_negative("0.1"),
    "counterfactual.steps": whole(1),
    "counterfactual.halvings": whole(0),
    "counterfactual.improve": whole(0),
    "counterfactual.lr": above_zero("1"),
    "counterfactual.momentum": not_negative("0.9"),
    "counterfactual.weight_decay": not_negative("0.001"),
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


def check_values(settings: Mapping[str, Any]) -> None:
    """Refuse settings that the table doesn't know, or whose value is none of theirs; imports nothing.

    Args:
        settings: all of a run, as plain values, resolved.

    Raises:
        IceError: in one sentence.
    """
    visit("", settings, TREE, "")


def visit(name: str, value: Any, tree: Mapping[str, Any], entry: str) -> None:
    """Check a setting and those below it.

    Args:
        name: of the setting, as the user writes it.
        value: plain.
        tree: the table's names below.
        entry: the setting's own name in the table, where * stands for a name that the user chooses.

    Raises:
        IceError: in one sentence.
    """
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
    """Refuse names that a group doesn't have, and a group that lacks one.

    Args:
        name: of the group, as the user writes it.
        group: its settings.
        tree: the table's names below.
        entry: the group's own name in the table.

    Raises:
        IceError: in one sentence.
    """
    if ANY in tree:
        return
    for key in group:
        one_of(f"setting of {name}" if name else "setting", str(key), tree)
    for part in tree:
        kind = TABLE.get(joined(entry, part), GROUP)
        if part not in group and kind.needed:
            raise problem(f"{joined(name, part)} as {kind.description}", "none", fix(joined(name, part), MISSING, kind))


def joined(name: str, part: str) -> str:
    """The name of a setting in a group.

    Args:
        name: of the group, "" for the outermost.
        part: the setting's own.

    Example:
        >>> joined("solver", "rows"), joined("", "space")
        ('solver.rows', 'space')
    """
    return f"{name}.{part}" if name else part


def accept(name: str, value: Any, kind: Kind) -> None:
    """Refuse a value that isn't of its kind.

    Args:
        name: of the setting.
        value: plain.
        kind: what it may be.

    Raises:
        IceError: in one sentence.

    Example:
        >>> accept("latents.count", 3, whole(1))
    """
    if value == MISSING or not kind.fits(value):
        raise problem(
            f"{name} as {kind.description}", "none" if value == MISSING else shown(value), fix(name, value, kind)
        )


def shown(value: Any) -> str:
    """A value as one writes it, in a line of moderate length.

    Example:
        >>> shown("s"), shown(None), shown([1, 2])
        ("'s'", 'null', '[1, 2]')
    """
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=repr)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def fix(name: str, value: Any, kind: Kind) -> str:
    """What to write instead.

    Args:
        name: of the setting.
        value: that isn't of its kind.
        kind: what it may be.

    Example:
        >>> fix("latents.count", 3.0, whole(1))
        'write 3, without point and exponent'
    """
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
