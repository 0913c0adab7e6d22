"""Rows as Parquet that come back as they were, and the names of the files in a folder of scored rows. A column `meta`
of mixed types, or of objects with different keys, which Arrow refuses or bends, is stored as JSON text, `meta@json`, as
which it also passes through other programs."""

import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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

    def and_numbers(self, names: Iterable[str], single: str) -> "ExactColumns":
        """These columns, lists of numbers, and one of single numbers."""
        added = {**dict.fromkeys(names, pa.list_(pa.float64())), single: pa.float64()}
        return ExactColumns({**self.types, **added}, self.json, self.optional)


def exact_columns(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> ExactColumns:
    """How to store rows so that each comes back as it is, by the `types` of their Parquet file first; DataError names a
    row with what JSON cannot hold either."""
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
        else:
            held[name] = kind
            optional += [name] if lacking else []
    return ExactColumns(held, text, optional)


def column_types(source: Path) -> dict[str, pa.DataType]:
    """Types of the columns of a Parquet file, or of a folder of scored rows; none of other files."""
    path = scored_parts(source)[0] if source.is_dir() else source
    if path.suffix.lower() != ".parquet":
        return {}
    return {field.name: field.type for field in pq.read_schema(path)}


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, columns: ExactColumns) -> None:
    """Writes rows, perhaps some of those that `exact_columns` saw; every file has the same schema."""
    arrays = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.types.items()}
    for name in columns.json:
        texts = [json.dumps(row[name]) if name in row else None for row in rows]
        arrays[name + AS_JSON] = pa.array(texts, pa.string())
    metadata = {_OPTIONAL: json.dumps(list(columns.optional))}
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)


def optional_columns(schema: pa.Schema) -> Collection[str] | None:
    """The columns of a file that `write_rows` wrote whose null means that a row has none; None of another file."""
    return json.loads((schema.metadata or {}).get(_OPTIONAL, b"null"))


def unpacked(row: Mapping[str, Any], optional: Collection[str]) -> dict[str, Any]:
    """A row of a Parquet file as it was before `write_rows`."""
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
    for kind in () if name.endswith(AS_JSON) else (known, None):  # None: what Arrow infers
        try:
            array, file = pa.array(values, kind), io.BytesIO()
            pq.write_table(pa.table({name: array}), file)
            found = pq.read_table(file)[name].to_pylist()
            # representations tell 1, 1.0 and True apart, see the order of keys, and NaN is NaN
            if all(repr(a) == repr(b) for a, b in zip(found, values, strict=True)):
                return array.type
        except Exception:  # whatever Arrow objects to: the type does not hold them
            continue
    return None


def _require_json(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises DataError unless JSON holds the column's values, and UTF-8 its name."""
    for number, row in ((number, row) for number, row in enumerate(rows, start=1) if name in row):
        try:
            name.encode()
            same = repr(json.loads(json.dumps(row[name]))) == repr(row[name])
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise DataError(
                f"row {number}: column {name!r} is {short(row[name])}, which neither Parquet nor JSON gives back as "
                "it is: write it as text, or leave the column out"
            )


def part_name(number: int, count: int, start: int) -> str:
    """File of the rows from `start` on, in shard `number` of `count`; sorted by name, parts are in row order."""
    return f"part-{number:05d}-of-{count:05d}-{start:09d}.parquet"


def shard_marker(number: int, count: int) -> str:
    """File that says that a shard is whole."""
    return f"shard-{number:05d}-of-{count:05d}.json"


def scored_parts(folder: Path) -> list[Path]:
    """The parts of a folder that `wmtp score` wrote, in row order; DataError unless all of one division are there."""
    parts = sorted(folder.glob("part-*.parquet"))
    counts = _divisions(parts)
    if not counts:
        raise DataError(f"{folder}: is a folder; name the file in it (only what `wmtp score` wrote is read)")
    if len(counts) > 1:
        raise DataError(f"{folder}: holds parts of {sorted(counts)} shards; score into a folder for each division")
    if missing := unfinished_shards(folder):
        raise DataError(
            f"{folder}: shards {', '.join(missing)} are not finished; run `wmtp score` with --shard for each"
        )
    return parts


def divisions(folder: Path) -> set[int]:
    """Into how many shards the scores in a folder are divided; more than one number only where folders were mixed."""
    return _divisions(path for pattern in ("part-*", "shard-*") for path in folder.glob(pattern))


def _divisions(paths: Iterable[Path]) -> set[int]:
    return {int(match[1]) for path in paths if (match := re.search(r"-of-(\d+)[-.]", path.name))}


def unfinished_shards(folder: Path) -> list[str]:
    """Shards of the division that the folder's parts and markers belong to, as i/n, that have no marker yet."""
    return [
        f"{number}/{count}"
        for count in divisions(folder)
        for number in range(1, count + 1)
        if not (folder / shard_marker(number, count)).exists()
    ]
