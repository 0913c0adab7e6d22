"""Rows written as Parquet are the same rows when they are read."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weighted_mtp.data import DataError, load_rows
from weighted_mtp.data.exact_parquet import column_types, exact_columns, write_rows

BASE = {"prompt": "a", "completion": "b", "label": True}
CALLS = [{"function": {"name": "add", "arguments": arguments}} for arguments in ({"b": 1, "a": 2}, {"c": [None]})]
NEST = {"x": [{"y": float("nan")}, None]}


def deep(levels):
    nested = 1
    for _ in range(levels):
        nested = [nested]
    return nested


def written(rows, types, path):
    columns = exact_columns(rows, types)
    write_rows(rows, path, columns)
    return columns


def same(rows, others):
    """Equal with their types and the order of keys; the order of the columns apart."""
    return [sorted(map(repr, row.items())) for row in rows] == [sorted(map(repr, row.items())) for row in others]


@pytest.mark.parametrize(
    ("extras", "as_json"),
    [
        ([{"x": 1}, {"x": "one"}], ["x"]),
        ([{"x": 1}, {"x": 1.0}], ["x"]),
        ([{"x": True}, {"x": 1}], ["x"]),
        ([{"x": 2**70}, {"x": 1}], ["x"]),
        ([{"x": {}}, {"x": {}}], ["x"]),
        ([{"x": {"a": 1}}, {"x": {"b": 1}}], ["x"]),
        ([{"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}], ["x"]),
        ([{"x": "\ud83d"}, {"x": "\U0001f600"}], ["x"]),
        ([{"x": deep(300)}, {"x": 1}], ["x"]),
        ([{"x": NEST}, {"x": None}], []),
        ([{"x": float("nan")}, {"x": float("-inf")}], []),
        ([{"x": "long " * 200_000}, {"x": ""}], []),
        ([{"x": 1}, {}], []),
        ([{"x": None}, {}, {"x": 1}], ["x"]),
        ([{"x": None}, {"x": None}], []),
        ([{"x": [1, "a"]}, {"x": []}], ["x"]),
        ([{"x": 1, "x@json": "{"}, {"x": 2, "x@json": "{"}], ["x@json"]),
        ([{"labels": [1], "row_id": "r", "input_ids": {}}, {"labels": 2, "row_id": "s"}], ["labels", "input_ids"]),
        ([{"": 1, "a.b": 2, "a\x00b": 3, "한": 4}, {"": 1, "a.b": 2, "a\x00b": 3, "한": 4}], []),
    ],
)  # fmt: skip
def test_json_lines_come_back_as_they_were(tmp_path, extras, as_json):
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(BASE | extra) + "\n" for extra in extras))
    rows, _ = load_rows(lines)
    columns = written(rows, column_types(lines), tmp_path / "rows.parquet")
    assert list(columns.json) == as_json
    assert same(load_rows(tmp_path / "rows.parquet")[0], rows)


def test_messages_and_tools_come_back_as_they_were(tmp_path):
    user = {"role": "user", "content": "2+2?"}
    rows, _ = load_rows(
        [
            {"messages": [user, {"role": "assistant", "tool_calls": [CALLS[0]]}], "label": 1, "tools": CALLS},
            {"messages": [user, {"role": "assistant", "content": "", "tool_calls": [CALLS[1]]}], "label": 0},
            {"messages": [user | {"name": "n"}, user, {"role": "assistant", "content": "4"}], "label": 1},
        ]
    )
    written(rows, {}, tmp_path / "rows.parquet")
    assert same(load_rows(tmp_path / "rows.parquet")[0], rows)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([b"\xff\x00", None]),
        pa.array([1700000000123456789, None], pa.timestamp("ns", tz="Asia/Seoul")),
        pa.array([5, 6], pa.duration("ns")),
        pa.array([datetime.date(2020, 1, 1), None]),
        pa.array([decimal.Decimal("1.50"), None]),
        pa.array([2**64 - 1, 0], pa.uint64()),
        pa.array([0.1, None], pa.float32()),
        pa.array(["u", "v"]).dictionary_encode(),
        pa.array([[("a", 1)], [("b", None)]], pa.map_(pa.string(), pa.int64())),
        pa.array([None, None]),
    ],
    ids=lambda array: str(array.type),
)
def test_parquet_comes_back_as_it_was(tmp_path, array):
    source = tmp_path / "source.parquet"
    pq.write_table(pa.table({name: [value] * 2 for name, value in BASE.items()} | {"x": array}), source)
    rows, _ = load_rows(source)
    columns = written(rows, column_types(source), tmp_path / "rows.parquet")
    assert not columns.json
    assert same(load_rows(tmp_path / "rows.parquet")[0], rows)


def test_files_of_some_of_the_rows_have_one_schema(tmp_path):
    rows = [BASE | {"x": None, "y": 1}, BASE | {"x": 1, "y": "a"}]
    columns = exact_columns(rows, {})
    for name, some in (("first", rows[:1]), ("second", rows[1:]), ("none", [])):
        write_rows(some, tmp_path / f"{name}.parquet", columns)
    schemas = [pq.read_schema(tmp_path / f"{name}.parquet") for name in ("first", "second", "none")]
    assert schemas[0].equals(schemas[1], check_metadata=True)
    assert schemas[0].equals(schemas[2], check_metadata=True)


@pytest.mark.parametrize(
    "extra", [{"x": {1: "a"}}, {"x": {1, 2}}, {"x": object()}, {"\ud83d": 1}], ids=["key", "set", "object", "name"]
)  # fmt: skip
def test_what_neither_parquet_nor_json_holds_is_named_with_its_row(extra):
    with pytest.raises(DataError, match=r"row 2: column '.*' is .*: write it as text, or leave the column out"):
        exact_columns([BASE, BASE | extra], {})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x@json": ["{", "1"]}, "rows.parquet:1: `x@json` is '{': a column named so holds JSON text"),
        ({"x": [1, 2], "x@json": ["1", "2"]}, "rows.parquet:1: has both 'x' and 'x@json': keep one"),
        ({"x": pa.array([2**62, 0], pa.timestamp("us"))}, "rows.parquet: holds what cannot be read"),
    ],
)
def test_a_parquet_file_that_cannot_be_read_says_so(tmp_path, table, message):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({name: [value] * 2 for name, value in BASE.items()} | table), path)
    with pytest.raises(DataError, match=message):
        load_rows(path)
