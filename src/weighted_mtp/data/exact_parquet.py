"""Rows as Parquet that come back as they were: what Arrow would bend or refuse is carried as JSON text."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .schema import DataError

_JSON = b"weighted_mtp.json_columns"


def json_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns that no one Arrow type holds exactly, or that some rows lack.

    Raises:
        DataError: the first row with something that JSON cannot hold either.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [name for name in names if not _is_native(name, rows) and _is_json(name, rows)]


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> None:
    """Writes rows; `columns` are JSON text, null where a row has none of it."""
    names = dict.fromkeys([*(name for row in rows for name in row), *columns])  # the same in every part
    held = {
        name: [_dumped(name, row) for row in rows] if name in columns else [row[name] for row in rows]
        for name in names
    }
    arrays = {name: pa.array(x, pa.string()) if name in columns else pa.array(x) for name, x in held.items()}
    table = pa.table(arrays).replace_schema_metadata({_JSON: json.dumps(list(columns)).encode()})
    pq.write_table(table, path)


def unpacked(row: dict[str, Any], metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """A row of such a file as it was; of other files as it is."""
    columns = json.loads((metadata or {}).get(_JSON, b"[]"))
    return {
        name: json.loads(value) if name in columns else value
        for name, value in row.items()
        if name not in columns or value is not None
    }


def _dumped(name: str, row: Mapping[str, Any]) -> str | None:
    return json.dumps(row[name]) if name in row else None


def _is_native(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    if any(name not in row for row in rows):
        return False
    values = [row[name] for row in rows]
    try:
        buffer = io.BytesIO()
        pq.write_table(pa.table({name: pa.array(values)}), buffer)
        return _same(pq.read_table(buffer).column(0).to_pylist(), values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return False


def _is_json(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    for number, row in enumerate(rows, start=1):
        try:
            name.encode()
            whole = name not in row or _same(json.loads(json.dumps(row[name])), row[name])
        except (TypeError, ValueError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise DataError(
                f"row {number}: column {name!r} holds what neither Parquet nor JSON keeps as it is"
            )
    return True


def _same(a: Any, b: Any) -> bool:
    """Equal, types included, and NaN is NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b or (a != a and b != b)
