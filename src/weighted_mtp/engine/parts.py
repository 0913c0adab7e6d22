"""The interface: work is opened once in each worker, and makes the rows of parts, each of what it is given alone."""

import importlib
import json
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from weighted_mtp.data.json_lines import json_line, read_json_lines
from weighted_mtp.engine.settings import EngineSettings
from weighted_mtp.files import digest_of, replacing

Row = dict[str, Any]
Make = Callable[[Any], Iterable[Row]]
ENGINES = {"local": "weighted_mtp.engine.local:local", "ray": "weighted_mtp.engine.on_ray:ray"}
"""One row an engine: its name, and what gives the rows of parts as they are made."""


class Part(NamedTuple):
    """What is made whole."""

    name: str
    """Of its place and content: parts of one name hold the same rows."""
    given: Any
    """What work makes rows of; it can be pickled."""


class Work(Protocol):
    """What makes rows. It can be pickled, and holds a model, if at all, only where it is opened."""

    def open(self, cores: int | None) -> Make:
        """Loads what is needed; called once in each worker, which has so many cores (None: all of the machine)."""
        ...


Made = Generator[tuple[Part, Iterable[Row]], None, None]


def parts_of(items: Sequence[Any], known: int, size: int | None, depends: Any = None) -> tuple[list[Part], int]:
    """The parts that hold the items behind the first `known`, and how many of those the first part holds.

    Each item makes one row. A part that was begun is made again as a whole, since its rows may depend on each other;
    `size` None: one part of all that is not known, for work whose rows do not.
    """
    if known >= len(items):
        return [], 0
    if size is None:
        return [Part("", items[known:])], 0
    first = known - known % size
    return [
        _named(start, items[start : start + size], depends) for start in range(first, len(items), size)
    ], known - first


def _named(place: int, given: Any, depends: Any) -> Part:
    content = json.dumps([depends, given], sort_keys=True, default=str).encode()
    return Part(f"{place:09d}-{digest_of(content)}", given)


def run(settings: EngineSettings, work: Work, parts: Iterable[Part]) -> Made:
    """The rows of each part as they are made, in no order; of one process lazily, so each is to be read at once."""
    todo = iter(parts)
    if (first := next(todo, None)) is None:  # nothing is opened for it
        return
    module, _, name = ENGINES[settings.engine].partition(":")
    yield from getattr(importlib.import_module(module), name)(settings, work, chain([first], todo))


def rows_in_order(settings: EngineSettings, work: Work, parts: Sequence[Part], out: Path) -> Generator[Row, None, None]:
    """The rows of all parts, in order.

    A part that is made before its turn waits, whole, in the folder `OUT.parts`, where a call after a kill finds it: it
    goes when the reader asks for what comes behind its rows.
    """
    folder = out.with_name(f"{out.name}.parts")
    if settings.alone:
        for _, rows in run(settings, work, parts):
            yield from rows
        shutil.rmtree(folder, ignore_errors=True)  # parts that another engine left
        return
    made = run(settings, work, [part for part in parts if not (folder / part.name).exists()])
    try:
        for part in parts:
            path = folder / part.name
            while not path.exists():
                done, rows = next(made)
                with replacing(folder / done.name) as temporary:
                    temporary.write_bytes(b"".join(map(json_line, rows)))
            yield from read_json_lines(path)
            path.unlink()
        shutil.rmtree(folder, ignore_errors=True)  # no other part is of use
    finally:
        made.close()
        with suppress(OSError):  # parts wait in it, or none was made
            folder.rmdir()


def as_made(
    begin: Callable[[int, Part], Future[list[Row]]], workers: Sequence[Future[Any]], parts: Iterable[Part]
) -> Made:
    """The rows of parts as workers finish them, each of which works on one at a time.

    `begin` gives a part to a worker, by its number; a worker is done when it can be given one, and those that never
    are, are not waited for. Parts are begun in order, and read one ahead.
    """
    todo = iter(parts)
    following = next(todo, None)
    running: dict[Future[Any], tuple[int, Part | None]] = {ready: (i, None) for i, ready in enumerate(workers)}
    while following is not None or any(part for _, part in running.values()):
        ended = wait(running, return_when=FIRST_COMPLETED).done
        for future in sorted(ended, key=lambda one: one.exception() is not None):  # what is made is kept first
            number, part = running.pop(future)
            found = future.result()
            if following is not None:
                running[begin(number, following)] = number, following
                following = next(todo, None)
            if part is not None:
                yield part, found
