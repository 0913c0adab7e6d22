"""Where rows come from: JSON lines, a JSON array, Parquet, the hub, or memory; and a chat in a file of its own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fields import DataError, messages_of, short
from .forms import TURNS
from .json_lines import COMPRESSED, filled_lines, opened, parse_json
from .schema import BadRows, OnBadRow, Row, has_outcome, is_unjudged, parse_row, sets_aside

UNJUDGED = "their checks could not be made (verdict error, or label null), so they are neither right nor wrong"
SET_ASIDE = (
    "rows have a verdict and a `reward` that is not their label: the label is learned, not the share of tests passed; "
    "drop `label` to learn the share"
)
_NESTED = ("prompt", "completion", "messages", "conversations", TURNS, "tools", "steps")
_WANTED = "each row holds prompt, completion and label"
HUB = "hub:"
_READ_AT_ONCE = 10_000_000  # bytes, a tenth of a second
_BATCH = 1024  # rows decoded together: few, so that the first one is there at once


@dataclass(frozen=True)
class LoadReport:
    """What was read: how many rows, and which could not be used."""

    source: str
    """The file's path, or "rows" for a list."""
    read: int
    """Rows seen, bad ones included."""
    kept: int
    """Rows returned."""
    bad: BadRows
    """Rows skipped, the first of them with their reason."""
    unjudged: int = 0
    """Rows dropped because their check could not be made (`is_unjudged`); they are not bad rows."""
    set_aside: int = 0
    """Rows whose `reward`, the share of tests passed, was left out since their verdict has a label (`sets_aside`)."""

    def summary(self) -> str:
        """One line, one more for each of what `dropped` tells, and below it the bad rows."""
        lines = [f"{self.source}: {self.kept} of {self.read} rows", self.dropped(), self.bad.summary()]
        return "\n".join(filter(None, lines))

    def dropped(self) -> str:
        """How many rows were dropped unjudged, and of how many the reward, a line each; empty where there is none."""
        lines = [f"{self.unjudged} rows dropped: {UNJUDGED}"] if self.unjudged else []
        return "\n".join(lines + [f"{self.set_aside} {SET_ASIDE}"] * bool(self.set_aside))


def load_rows(
    source: str | Path | Iterable[Mapping[str, Any]],
    on_bad_row: OnBadRow = "error",
    *,
    shown: int = 20,
    split: str = "train",
    stream: bool = False,
    labelled: bool | None = True,
) -> tuple[list[Row], LoadReport]:
    """The rows of a file in the one schema (see `parse_row`), and a report.

    Rows whose check could not be made (`verdict: "error"`, or `label: null`) are dropped and counted.

    Args:
        source: a path ending in .jsonl (one object a line; blank lines are passed over), .json (one array of objects),
            either with .gz or .zst behind it, or .parquet; a folder that `wmtp score` wrote; `hub:OWNER/NAME`, with
            `:SPLIT` if it is not `split`; or the rows themselves, a list of dicts or a `datasets.Dataset`.
        on_bad_row: "error" stops at the first malformed row; "skip" leaves them out and reports them.
        shown: how many skipped rows the report lists with their reason.
        split: of a data set of the hub.
        stream: read one of the hub row by row, without a copy of it on the disk.
        labelled: whether rows must say what a program found; None: all of them if the first does, else none may.

    Raises:
        DataError: `file:line: reason` for a malformed row; `file: reason` when the file is missing, empty, of
            another kind, or holds no usable row.

    Examples:
        >>> given = [{"prompt": "a", "completion": "b", "label": 1}, {"prompt": "a"}]
        >>> rows, report = load_rows(given, on_bad_row="skip")
        >>> rows
        [{'prompt': 'a', 'completion': 'b', 'label': True}]
        >>> print(report.summary().splitlines()[0])
        rows: 1 of 2 rows
    """
    bad = BadRows(on_bad_row, shown)
    name = str(source) if isinstance(source, str | Path) else "rows"
    rows: list[Row] = []
    read = unjudged = set_aside = 0
    for where, raw in _rows(source, split, stream):
        read += 1
        try:
            raw = raw() if callable(raw) else raw
            labelled = has_outcome(raw) if labelled is None else labelled
            row = _parsed(raw, labelled)
        except DataError as error:
            bad.add(where, str(error))
            continue
        if row is None:
            unjudged += 1
        else:
            rows.append(row)
            set_aside += labelled and sets_aside(raw)
    if not read:
        raise _no_row(name)
    if not rows and not bad.count:
        raise DataError(f"{name}: all {read} rows are dropped, {UNJUDGED}: check them again")
    if not rows:
        raise DataError(f"{name}: no usable row among {read}\n{bad.summary()}")
    return rows, LoadReport(name, read, len(rows), bad, unjudged, set_aside)


def first_row(
    source: Any, on_bad_row: OnBadRow = "error", labelled: bool | None = True, split: str = "", stream: bool = False
) -> Row | None:
    """The first usable row of a file, or of rows: what is wrong with it, or with all, is told before they are read.
    None where all would be left out, or none was read: without a `split` (see `load_rows`), of the hub and of a large
    .json file, which can only be read whole."""
    if isinstance(source, str | Path) and not split:
        if str(source).startswith(HUB):
            return None
        path = Path(source)
        if _kind(path) == ".json" and path.is_file() and path.stat().st_size > _READ_AT_ONCE:
            return None
    where, bad = None, BadRows(on_bad_row)
    for where, raw in _rows(source, split, stream):
        try:
            raw = raw() if callable(raw) else raw
            if (row := _parsed(raw, has_outcome(raw) if labelled is None else labelled)) is not None:
                return row
        except DataError as error:
            bad.add(where, str(error))
    if where is None:
        raise _no_row(source if isinstance(source, str | Path) else "rows")
    return None


def read_chat(path: str | Path) -> tuple[list[dict[str, Any]], Any]:
    """Messages that an assistant answers, and the tools that it is told of (None: none), from a JSON file."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{path}: no such file; {_CHAT_NEEDED}")
    try:
        return _chat_of(parse_json(file.read_bytes()))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


_CHAT_NEEDED = "a JSON list of messages is needed, or an object with `messages` and, if there are, `tools`"


def _chat_of(content: Any) -> tuple[list[dict[str, Any]], Any]:
    given = {"messages": content} if isinstance(content, list) else content
    if not isinstance(given, dict) or ("messages" in given) == ("prompt" in given):
        raise DataError(f"holds {short(content)}; {_CHAT_NEEDED}")
    name = "prompt" if "prompt" in given else "messages"
    if others := sorted(given.keys() - {name, "tools"}):
        raise DataError(f"has the key {others[0]!r}, which nothing reads; {_CHAT_NEEDED}")
    messages = messages_of(name, given[name])
    if messages[-1]["role"] == "assistant":
        raise DataError("the last message is the assistant's: end with the one that it is to answer")
    row = {"prompt": messages, "completion": "-", "label": False, "tools": given.get("tools")}
    return messages, parse_row(row).get("tools")


def _parsed(raw: Any, labelled: bool) -> Row | None:
    """The row in the one schema; None for one whose check could not be made."""
    return None if labelled and is_unjudged(raw) else parse_row(raw, labelled=labelled)


def _no_row(source: str | Path) -> DataError:
    return DataError(f"{source}: no row in it; {_WANTED}")


def _rows(source: Any, split: str, stream: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(source, str) and source.startswith(HUB):
        return _numbered(source, _of_arrow(_hub(source, split, stream)))
    if isinstance(source, str | Path):
        return _open(Path(source))
    return _numbered("rows", _of_arrow(source) if hasattr(source, "features") else source)


def _hub(source: str, split: str, stream: bool) -> Iterator[Any]:
    from datasets import load_dataset

    name, _, own = source.removeprefix(HUB).partition(":")
    try:
        yield from load_dataset(name, split=own or split, streaming=stream)
    except Exception as error:  # of the network, of files of any format, of a split that is not there
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{source}: cannot be read ({reason[0]})") from None


def _of_arrow(rows: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """Rows of Arrow tables, where a message or a tool has all fields that any of them has, null where it has none."""
    return ({name: _filled(row[name]) if name in _NESTED else row[name] for name in row} for row in rows)


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(entry) for name, entry in value.items() if entry is not None or name == "content"}
    return [_filled(entry) for entry in value] if isinstance(value, list) else value


def _open(path: Path) -> Iterator[tuple[str, Any]]:
    """Places and rows of a file; a row still to be decoded comes as a function that may raise DataError."""
    readers = {".jsonl": _json_lines, ".json": _json_array, ".parquet": _parquet}
    kind = _kind(path)
    if path.is_dir():
        from .exact_parquet import scored_parts

        parts = scored_parts(path)
        return _numbered(str(path), (raw for part in parts for _, raw in _parquet(part)))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; a file of rows is needed, {_WANTED}")
    if kind not in readers or (kind == ".parquet" and kind != path.suffix.lower()):
        raise DataError(f"{path}: a file ending in {', '.join(readers)} is needed")
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty; {_WANTED}")
    return readers[kind](path)


def _kind(path: Path) -> str:
    """What a file holds by its name, packed or not."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    return ((where, lambda line=line: parse_json(line)) for where, line in filled_lines(path))


def _json_array(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with opened(path) as file:
            rows = parse_json(file.read())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    except DataError as error:
        raise DataError(f"{path}: {error} (one object a line belongs in a .jsonl file)") from None
    if not isinstance(rows, list):
        raise DataError(f"{path}: an array of objects is needed, not one object")
    return _numbered(str(path), rows)


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    from .exact_parquet import optional_columns, unpacked

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: is not a Parquet file ({error})") from None
    names = file.schema_arrow.names
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: has {names.count(twice[0])} columns named {twice[0]!r}: keep one")
    optional = optional_columns(file.schema_arrow)
    values = _values(path, file)
    rows = _of_arrow(values) if optional is None else values  # in our own, a null in a message is what was written
    return _numbered(str(path), (lambda row=row: unpacked(row, optional or ()) for row in rows))


def _values(path: Path, file: Any) -> Iterator[dict[str, Any]]:
    try:
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()
    except (OSError, ValueError, OverflowError) as error:  # a damaged page; a date that Python has not
        raise DataError(f"{path}: holds what cannot be read ({error})") from None


def _numbered(name: str, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{name}:{number}", row) for number, row in enumerate(rows, start=1))
