"""What may cross between the candidate's process and the tests': data, marshalled, and checked again on arrival.

No object of the candidate's arrives, so that none can lie about equality: a value is rebuilt from builtin data, of
exactly those types, of `collections`, of numpy (dtype, shape and bytes), and of classes that the receiving side defines
itself.
"""

from __future__ import annotations

import builtins
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # these, and os instead of posix, would take longer to import than all the rest
    from collections.abc import Mapping
    from typing import Any

PLAIN = (type(None), bool, int, float, complex, str, bytes)
GROUPS = (list, tuple, set, frozenset)
MAPPINGS = ("dict", "OrderedDict", "Counter", "defaultdict")
SEQUENCES = ("list", "tuple", "set", "frozenset", "deque")
ARRAYS = ("numpy.ndarray", "numpy.generic")
MOST_BYTES = 16 << 20
Row = tuple[str, "Any"]


def is_plain(value: Any) -> bool:
    """Nothing but builtin data, of exactly those types, all the way down."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in PLAIN:
            continue
        if kind is not dict and kind not in GROUPS:
            return False
        if id(item) in seen:
            continue
        seen.add(id(item))
        waiting += [*item.keys(), *item.values()] if kind is dict else item
    return True


def packed(value: Any, own: Mapping[str, Any]) -> tuple[str, Any]:
    """A value as plain data; a TypeError where it cannot cross. `own`: the names of this side's module."""
    if is_plain(value):
        return ("value", value)
    found, numbers, rows = [value], {id(value): 0}, list[Row]()
    for item in found:  # which grows
        kind, parts = _apart(item, own)
        if kind and kind not in ARRAYS:
            for part in parts:
                if id(part) not in numbers:
                    numbers[id(part)] = len(found)
                    found.append(part)
            parts = [numbers[id(part)] for part in parts]
        rows.append((kind, parts))
    return ("graph", rows)


def _apart(item: Any, own: Mapping[str, Any]) -> Row:
    """The name of its kind, and its parts; of a constant, an empty name and itself."""
    kind = type(item)
    if kind.__module__.partition(".")[0] == "numpy" and hasattr(item, "tolist"):
        numpy = sys.modules["numpy"]
        name = "numpy.ndarray" if kind is numpy.ndarray else "numpy.generic"
        if (kind is numpy.ndarray or isinstance(item, numpy.generic)) and _is_simple(item.dtype.str):
            return (name, (item.dtype.str, item.shape, item.tobytes()))
        item = item.tolist()  # of objects, of dates, or masked
        kind = type(item)
    if kind in PLAIN:
        return ("", item)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return ("tuple", list(item))
    name = kind.__qualname__
    if _known(name) is kind:
        return (name, [part for pair in item.items() for part in pair] if name in MAPPINGS else list(item))
    if own.get(name) is not kind:
        raise TypeError(name)
    return (name, [part for pair in vars(item).items() for part in pair])


def _is_simple(dtype: str) -> bool:
    """Whether it is of bools, numbers, or text that has a length."""
    return dtype[:1] in "<>|=" and dtype[1:2] in "biufcUS" and dtype[2:].isdecimal() and dtype[2:].strip("0") != ""


def _array(form: str, dtype: str, shape: tuple[int, ...], content: bytes) -> Any:
    """What was taken apart, an array or one number of it; an Exception where size and content do not agree."""
    if not _is_simple(dtype) or min(shape, default=0) < 0:
        raise TypeError(dtype, shape)
    found = __import__("numpy").ndarray(shape, dtype, content).copy()
    if found.nbytes != len(content):
        raise ValueError(shape)
    if found.dtype == bool:
        found = found.view("u1").astype(bool)  # a byte of 2 would be neither
    return found if form == "numpy.ndarray" else found[()]


def _known(name: str) -> Any:
    if name in ("OrderedDict", "Counter", "defaultdict", "deque"):
        return getattr(__import__("collections"), name)
    return getattr(builtins, name) if name in MAPPINGS + SEQUENCES else None


def unpacked(form: str, content: Any, own: Mapping[str, Any]) -> Any:
    """The value again; any Exception where it is not what `packed` makes, or of a class that is not in `own`."""
    if not is_plain(content) or form not in ("value", "graph"):
        raise TypeError(form)
    if form == "value":
        return content
    made: dict[int, Any] = {}

    def make(number: int) -> Any:
        if number not in made:
            kind, parts = content[number]
            if not kind:
                made[number] = parts
            elif kind in ARRAYS:
                made[number] = _array(kind, *parts)
            elif kind in ("tuple", "frozenset"):
                made[number] = _known(kind)(make(part) for part in parts)
            else:
                made[number] = _known(kind)() if _known(kind) else _instance(own[kind])
        return made[number]

    for number in reversed(range(len(content))):  # parts before what holds them, as a rule
        value, (kind, parts) = make(number), content[number]
        if kind in ("list", "deque"):
            value.extend(map(make, parts))
        elif kind == "set":
            value.update(map(make, parts))
        elif kind and kind not in SEQUENCES + ARRAYS:
            into = value if kind in MAPPINGS else vars(value)
            for key, item in zip(map(make, parts[::2]), map(make, parts[1::2]), strict=True):
                into[key] = item
    return made[0]


def _instance(kind: Any) -> Any:
    if not isinstance(kind, type) or kind.__module__ not in ("candidate", "tests"):
        raise TypeError(kind)
    return object.__new__(kind)


def send(channel: int, value: Any) -> None:
    """One message: its length in eight bytes, then the marshalled value."""
    payload = marshal.dumps(value)
    message = len(payload).to_bytes(8, "big") + payload
    written = posix.write(channel, message)
    while written < len(message):
        written += posix.write(channel, memoryview(message)[written:])


def receive(channel: int) -> Any:
    """The next message. EOFError: the other side is gone, or the message is too long or not readable."""
    content = bytearray(posix.read(channel, 1 << 16))
    while len(content) < 8 or len(content) < 8 + int.from_bytes(content[:8], "big"):
        if int.from_bytes(content[:8], "big") > MOST_BYTES or not (part := posix.read(channel, 1 << 20)):
            raise EOFError
        content += part
    if len(content) != 8 + int.from_bytes(
        content[:8], "big"
    ):  # one reply follows one request, so nothing of a next message is ever waiting
        raise EOFError
    try:
        return marshal.loads(memoryview(content)[8:])
    except (ValueError, TypeError):
        raise EOFError from None


def new_module(name: str) -> dict[str, Any]:
    """The names of a module that can be looked up, as dataclasses do."""
    sys.modules[name] = type(sys)(name)
    return sys.modules[name].__dict__


def silence() -> None:
    """What the program prints goes nowhere, and what it reads is empty; `exit` is there as in any Python."""
    builtins.exit = builtins.quit = sys.exit
    null = posix.open("/dev/null", posix.O_RDWR)
    for standard in (0, 1, 2):
        posix.dup2(null, standard)


def seed_random(seed: int, *programs: str) -> None:
    """Seeds what a program draws, if it names `random`, which takes long to import."""
    if any("random" in program for program in programs):
        import random

        random.seed(seed)
