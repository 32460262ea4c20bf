"""Pickles read as data: a stack machine that builds inert records and calls nothing that the file names.

The opcodes are parsed by the standard library's `pickletools.genops`; what they would construct is looked up in a short
table of names. A name outside it is refused, so that no import, no constructor and no `__reduce__` of a stranger runs.
Work and memory are bounded by a budget, however much the file asks for.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ice_lightning.checkpoints.errors import Refused

OPCODES = 300_000
"""A file's limit; a generator in one of NVIDIA's pickles has 24,000, a snapshot of three networks 80,000."""
LONG = 4096
"""From this length on, bytes are handed out as views of the file instead of copies."""


@dataclass(slots=True)
class Name:
    """A global that the file names, never imported.

    Attributes:
        full: its module and name, with dots.
    """

    full: str


@dataclass(slots=True, eq=False)
class Record:
    """What the file would have constructed.

    Attributes:
        name: of the class or function, with its module.
        args: that it would have been called with.
        state: set afterwards.
    """

    name: str
    args: tuple[Any, ...]
    state: Any = None


class Budget:
    """Opcodes that may still be executed, and bytes that may still be copied.

    Args:
        size: of the file, in bytes: it may be copied once, and a megabyte more.
    """

    def __init__(self, size: int) -> None:
        self.opcodes, self.bytes = OPCODES, size + 2**20

    def spend(self, opcodes: int = 0, copied: int = 0) -> None:
        """Count what is about to be done.

        Args:
            opcodes: to execute.
            copied: bytes to copy.

        Raises:
            Refused: when more than is left.
        """
        self.opcodes -= opcodes
        self.bytes -= copied
        if self.opcodes < 0 or self.bytes < 0:
            raise Refused("one that asks for more work than any checkpoint needs", "don't trust this file")


class _Window:
    """A part of a file as the stream that genops reads."""

    def __init__(self, data: memoryview, start: int) -> None:
        self.data, self.at = data, start

    def read(self, n: int) -> bytes | memoryview:
        part = self.data[self.at : self.at + n]
        self.at += len(part)
        return part if n >= LONG else bytes(part)

    def readline(self) -> bytes:
        line = io.BytesIO(self.data[self.at : self.at + LONG]).readline()
        self.at += len(line)
        return line

    def tell(self) -> int:
        return self.at


Known = Mapping[str, Callable[..., Any] | None]
"""Which globals a file may name: those with None become a Record, others are built by our function."""

_PUSH_ARGUMENT = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8""".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
_MARK = object()


def load(
    data: memoryview,
    known: Known,
    budget: Budget,
    persistent: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """The value of the pickle at `start`, and where it ends.

    Args:
        data: a file, or a part of one.
        known: which globals it may name.
        budget: shared by everything that is read from one file.
        persistent: what a persistent id stands for; None refuses them.
        start: where the pickle begins.

    Returns:
        Containers, numbers, text, bytes (long ones as memoryviews), `Name`s, `Record`s and what `known` builds.

    Raises:
        Refused: for a name that isn't known, an opcode out of place, a truncated file, or an empty budget.
    """
    machine = Machine(known, budget, persistent)
    window = _Window(data, start)
    try:
        for opcode, argument, _ in pickletools.genops(window):  # type: ignore[arg-type]
            budget.spend(opcodes=1)
            if opcode.name == "STOP":
                return machine.stack.pop(), window.at
            machine.step(opcode.name, argument)
    except Refused:
        raise
    except Exception as error:  # a stranger's bytes can be wrong in any way; whichever it is, the file isn't whole
        raise Refused(f"a broken pickle at byte {window.at} ({type(error).__name__}: {error})") from error
    raise Refused("a pickle without an end")


class Machine:
    """Stack and memo of one pickle (Lib/pickletools.py describes the opcodes).

    Args:
        known: which globals it may name.
        budget: shared by everything that is read from one file.
        persistent: what a persistent id stands for; None refuses them.
    """

    def __init__(self, known: Known, budget: Budget, persistent: Callable[[Any], Any] | None) -> None:
        self.known, self.budget, self.persistent = known, budget, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError("no mark")

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode; a wrong one may raise anything.

        Args:
            name: of the opcode.
            argument: that follows it in the file.
        """
        stack = self.stack
        if name in _PUSH_ARGUMENT:
            stack.append(argument)
        elif name in ("BINPUT", "PUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "GET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name == "LIST":
            stack.append(self.since_mark())
        elif name == "DICT":
            items = self.since_mark()
            stack.append({key(k): v for k, v in zip(items[::2], items[1::2], strict=True)})
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self.since_mark()
            listed(stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.since_mark()
            mapped(stack[-1]).update({key(k): v for k, v in zip(items[::2], items[1::2], strict=True)})
        elif name == "ADDITEMS":
            items = self.since_mark()
            if not isinstance(stack[-1], set):
                raise TypeError("items for what isn't a set")
            stack[-1].update(key(each) for each in items)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(self.named(f"{module}.{attribute}"))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self.named(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(self.call(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            self.build(stack[-1], state)
        elif name in ("BINPERSID", "PERSID"):
            if self.persistent is None:
                raise ValueError("a persistent id in a plain pickle")
            stack.append(self.persistent(stack.pop() if name == "BINPERSID" else argument))
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self.since_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME"):
            raise Refused(f"a pickle with the opcode {name}, which no checkpoint needs", "don't trust this file")

    def named(self, full: str) -> Name:
        """A known global."""
        if full not in self.known:
            fix = "don't load it elsewhere either unless you trust its author; ask for the weights alone"
            raise Refused(f"one that would run {full[:80]}", fix)
        return Name(full)

    def call(self, called: Any, arguments: Any) -> Any:
        """What a call of a global stands for.

        Args:
            called: what the file calls; a Name, or it is wrong.
            arguments: a tuple, or it is wrong.

        Returns:
            What our own function for that name returns, or a Record.
        """
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of what isn't a name")
        function = self.known[called.full]
        if function is None:
            return Record(called.full, arguments)
        self.budget.spend(opcodes=sum(len(a) for a in arguments if isinstance(a, (list, dict, set, tuple))))
        return function(self, *arguments)

    def build(self, target: Any, state: Any) -> None:
        """Give a record its state; a mapping's own attributes (torch keeps `_metadata` there) are dropped.

        Args:
            target: a Record without a state or a dict, or it is wrong.
            state: anything.
        """
        if isinstance(target, Record) and target.state is None:
            target.state = state
        elif not isinstance(target, dict):
            raise TypeError("state for what isn't a record")


def key(value: Any) -> Any:
    """The value itself where it may be a key: hashing a deep tuple would overflow the stack of the interpreter."""
    if isinstance(value, (str, int, float, bytes)) or value is None:
        return value
    raise TypeError("a key that isn't text or a number")


def listed(value: Any) -> list[Any]:
    """The value itself; raises TypeError unless it is a list."""
    if isinstance(value, list):
        return value
    raise TypeError("items for what isn't a list")


def mapped(value: Any) -> dict[Any, Any]:
    """The value itself; raises TypeError unless it is a dict."""
    if isinstance(value, dict):
        return value
    raise TypeError("pairs for what isn't a mapping")
