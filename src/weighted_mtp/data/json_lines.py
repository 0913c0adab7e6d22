"""JSON lines that are written row by row and can be gone on with: what a long job has done is never lost."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from .fields import DataError

COMPRESSED = (".gz", ".zst")
"""Endings behind that of a file's kind."""


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a `.jsonl` file, one a line, blank lines passed over; DataError (`file:line: reason`): there is no
    such file, no line, or a line that is no JSON object."""
    return list(_some_objects(Path(path)))


def require_objects(path: str | Path) -> None:
    """Raises where `read_json_lines` would, as far as the first line tells, which it is told by at once."""
    next(_some_objects(Path(path)))


def parse_json(data: bytes) -> Any:
    """What a JSON text holds, or DataError: why it is none."""
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise DataError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except DataError:
        raise
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of too many digits
        raise DataError(f"is not JSON that can be read: {error}") from None


def opened(path: Path) -> BinaryIO:
    """A file to read from, unpacked where its name ends in .gz or .zst."""
    if path.suffix.lower() not in COMPRESSED:
        return path.open("rb")
    import pyarrow

    kind = "gzip" if path.suffix.lower() == ".gz" else "zstd"
    return cast(BinaryIO, BufferedReader(pyarrow.input_stream(str(path), compression=kind)))  # pyright: ignore


def filled_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a file that are not blank, and the place of each, `file:line`; DataError where it is damaged."""
    number = 0
    with opened(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", line
        except OSError as error:
            where = f"behind line {number}" if number else f"as {path.suffix.removeprefix('.')}"
            raise DataError(f"{path}: cannot be read {where} ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two equal keys Python's reader would take the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise DataError(f"has the key {twice!r} {names.count(twice)} times: keep one")
    return found


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for where, line in filled_lines(path):
        try:
            row = parse_json(line)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: is {type(row).__name__}, an object {{...}} is needed")
        yield row


def _some_objects(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the .jsonl file in it")
    if not path.is_file():
        raise DataError(f"{path}: no such file; a .jsonl file is needed, one JSON object a line")
    row = None
    for row in _objects(path):
        yield row
    if row is None:
        raise DataError(f"{path}: no row in it; one JSON object a line is needed")


class JsonLinesWriter:
    """Appends rows to a file, each flushed as it comes. Whole rows of an earlier call are kept, as `done`; a last line
    cut off by a kill is dropped."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._drop_cut_line()
        self.done: list[dict[str, Any]] = list(_objects(self.path)) if self.path.exists() else []

    def __enter__(self) -> "JsonLinesWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        with suppress(*[OSError] * (kind is not None)):  # what a full disk does not take, it does not take again
            self._file.close()
        if kind is not None and self.path.stat().st_size == 0:
            self.path.unlink()

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds one row."""
        try:
            self._file.write(json_line(row))
            self._file.flush()
        except OSError as error:
            error.filename = error.filename or str(self.path)  # a full disk does not say whose
            raise

    def other_row(self, number: int, reason: str) -> DataError:
        """The error of a row, from 1, that stands here and is not what this call would have written."""
        return DataError(f"{self.path}:{number}: {reason}: give another output, or move this one away")

    def _drop_cut_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of a file."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, as cut emoji leave it, has no UTF-8
        return json.dumps(row).encode() + b"\n"
