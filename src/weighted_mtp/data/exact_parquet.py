"""Rows as Parquet that come back as they were: what Arrow would bend or refuse is carried as JSON text.

A column of mixed types, or of objects with different keys, has no one Arrow type: Arrow refuses it, or fills it up with
nulls. Such a column `meta` is stored as `meta@json`, and `load_rows` gives it back as `meta`. The name says it, so that
the files may pass through other programs.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .fields import DataError, short

AS_JSON = "@json"
"""Ends the name of a column that holds JSON text."""
_OPTIONAL = b"weighted_mtp.null_is_absent"
"""Metadata of a file: columns where null says that the row has none."""


@dataclass(frozen=True)
class ExactColumns:
    """How each column of some rows is stored."""

    types: Mapping[str, pa.DataType]
    """Arrow types of the columns that one type holds exactly; all others are JSON text."""
    json: Sequence[str] = ()
    """Columns that are JSON text; null where a row has none."""
    optional: Sequence[str] = ()
    """Columns with a type that some rows lack, and that are null in none."""

    def and_numbers(self, names: Iterable[str]) -> "ExactColumns":
        """These columns, and lists of numbers."""
        added = dict.fromkeys(names, pa.list_(pa.float64()))
        return ExactColumns({**self.types, **added}, self.json, self.optional)


def exact_columns(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> ExactColumns:
    """How to store rows so that each comes back as it is.

    Args:
        rows: all rows that get the same columns.
        types: Arrow types to try first, as those of the Parquet file that the rows come from.

    Raises:
        DataError: the first row with something that JSON cannot hold either.
    """
    held: dict[str, pa.DataType] = {}
    text: list[str] = []
    optional: list[str] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if name in row]
        lacking = len(values) < len(rows)
        kind = _type_of(name, values, types.get(name))
        if kind is None or (lacking and None in values):
            _require_json(name, rows)
            text.append(name)
            continue
        held[name] = kind
        optional += [name] if lacking else []
    return ExactColumns(held, text, optional)


def arrow_types(path: Path) -> dict[str, pa.DataType]:
    """The types of the columns of a Parquet file."""
    return {field.name: field.type for field in pq.read_schema(path)}


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, columns: ExactColumns) -> None:
    """Writes rows, perhaps some of those that `exact_columns` saw; every file has the same schema."""
    arrays = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.types.items()}
    for name in columns.json:
        texts = [json.dumps(row[name]) if name in row else None for row in rows]
        arrays[name + AS_JSON] = pa.array(texts, pa.string())
    metadata = {_OPTIONAL: json.dumps(list(columns.optional))}
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)


def optional_columns(schema: pa.Schema) -> frozenset[str]:
    """The columns of a file that `write_rows` wrote whose null means that a row has none; none of another file."""
    return frozenset(json.loads((schema.metadata or {}).get(_OPTIONAL, b"[]")))


def unpacked(row: Mapping[str, Any], optional: frozenset[str]) -> dict[str, Any]:
    """A row of a Parquet file as it was before `write_rows`.

    Raises:
        DataError: a column that is named as JSON text and holds something else, or stands there twice.

    Examples:
        >>> unpacked({"prompt": "a", "meta@json": '{"x": 1}', "note@json": None}, frozenset())
        {'prompt': 'a', 'meta': {'x': 1}}
    """
    found: dict[str, Any] = {}
    for name, value in row.items():
        own = name.removesuffix(AS_JSON)
        if own in found:
            raise DataError(f"has both {own!r} and {own + AS_JSON!r}: keep one")
        if value is None and (own != name or name in optional):
            continue
        found[own] = value if own == name else _read(name, value)
    return found


def _read(name: str, text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise DataError(f"`{name}` is {short(text)}: a column named so holds JSON text") from None


def _type_of(name: str, values: Sequence[Any], known: pa.DataType | None) -> pa.DataType | None:
    """The first type that gives a column back as it is."""
    if name.endswith(AS_JSON):
        return None
    candidates = [None] if known is None else [known, None]  # None: what Arrow infers
    return next((held for kind in candidates if (held := _holding(name, values, kind)) is not None), None)


def _holding(name: str, values: Sequence[Any], kind: pa.DataType | None) -> pa.DataType | None:
    try:
        array = pa.array(values, kind)
        found = _read_back(name, array)
        # representations tell 1, 1.0 and True apart, see the order of keys, and NaN is NaN
        same = all(repr(a) == repr(b) for a, b in zip(found, values, strict=True))
    except Exception:  # whatever Arrow objects to: the type does not hold them
        return None
    return array.type if same else None


def _read_back(name: str, array: pa.Array) -> list[Any]:
    file = io.BytesIO()
    pq.write_table(pa.table({name: array}), file)
    return pq.read_table(file)[name].to_pylist()


def _require_json(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for number, row in enumerate(rows, start=1):
        if name in row and not _is_json(name, row[name]):
            raise DataError(
                f"row {number}: column {name!r} is {short(row[name])}, which neither Parquet nor JSON gives back as "
                "it is: write it as text, or leave the column out"
            )


def _is_json(name: str, value: Any) -> bool:
    """Whether JSON holds a value, and UTF-8 the column's name."""
    try:
        name.encode()
        return repr(json.loads(json.dumps(value))) == repr(value)
    except (TypeError, ValueError, RecursionError):
        return False
