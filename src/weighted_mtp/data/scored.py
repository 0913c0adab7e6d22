"""Names of the files in a folder of scored rows, and whether all of its shards are there."""

import re
from pathlib import Path
from typing import Any

from .schema import DataError


def part_name(number: int, count: int, start: int) -> str:
    """File of the rows from `start` on, in shard `number` of `count`; sorted by name, parts are in row order."""
    return f"part-{number:05d}-of-{count:05d}-{start:09d}.parquet"


def shard_marker(number: int, count: int) -> str:
    """File that says that a shard is whole."""
    return f"shard-{number:05d}-of-{count:05d}.json"


def scored_parts(folder: Path) -> list[Path]:
    """The parts of a folder that `wmtp score` wrote, in row order.

    Raises:
        DataError: there is no part, parts of different divisions are mixed, or a shard is not finished.
    """
    parts = sorted(folder.glob("part-*.parquet"))
    counts = {int(match[1]) for part in parts if (match := re.search(r"-of-(\d+)-", part.name))}
    if not counts:
        raise DataError(f"{folder}: is a folder; name the file in it (only what `wmtp score` wrote is read)")
    if len(counts) > 1:
        raise DataError(f"{folder}: holds parts of {sorted(counts)} shards; score into a folder for each division")
    missing = unfinished_shards(folder)
    if missing:
        raise DataError(
            f"{folder}: shards {', '.join(missing)} are not finished; run `wmtp score` with --shard for each"
        )
    return parts


def column_types(source: Path) -> dict[str, Any]:
    """Arrow types of the columns of a Parquet file, or of a folder of scored rows; none of other files."""
    if source.is_dir():
        (source, *_) = scored_parts(source)
    if source.suffix.lower() != ".parquet":
        return {}
    from .exact_parquet import arrow_types

    return arrow_types(source)


def divisions(folder: Path) -> set[int]:
    """Into how many shards the scores in a folder are divided; more than one number only where folders were mixed."""
    names = [path.name for pattern in ("part-*", "shard-*") for path in folder.glob(pattern)]
    return {int(match[1]) for name in names if (match := re.search(r"-of-(\d+)[-.]", name))}


def unfinished_shards(folder: Path) -> list[str]:
    """Shards of the division that the folder's parts and markers belong to, as i/n, that have no marker yet."""
    return [
        f"{number}/{count}"
        for count in divisions(folder)
        for number in range(1, count + 1)
        if not (folder / shard_marker(number, count)).exists()
    ]
