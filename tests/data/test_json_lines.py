"""Rows that are written one by one, and gone on with after a kill."""

import json
from pathlib import Path

import pytest

from weighted_mtp.data import DataError
from weighted_mtp.data.json_lines import JsonLinesWriter, read_json_lines


def test_what_is_written_is_read_back(tmp_path: Path):
    rows = [{"text": "한국어 \n ä"}, {"half a pair": "\ud83d"}, {"n": [1, None, 2.5]}]
    with JsonLinesWriter(tmp_path / "new" / "rows.jsonl") as writer:
        for row in rows:
            writer.write(row)
    assert read_json_lines(tmp_path / "new" / "rows.jsonl") == rows
    assert "한국어" in (tmp_path / "new" / "rows.jsonl").read_text()


def test_each_row_is_there_as_soon_as_it_is_written(tmp_path: Path):
    with JsonLinesWriter(tmp_path / "rows.jsonl") as writer:
        writer.write({"a": 1})
        assert read_json_lines(tmp_path / "rows.jsonl") == [{"a": 1}]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_line_cut_off_by_a_kill_is_dropped_and_the_others_are_kept(tmp_path: Path, cut: int):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n'[:-cut])
    with JsonLinesWriter(path) as writer:
        assert writer.done == [{"a": 1}]
        writer.write({"a": 3})
    assert read_json_lines(path) == [{"a": 1}, {"a": 3}]


def test_a_file_cut_in_its_first_line_begins_anew(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a"')
    assert JsonLinesWriter(path).done == []
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a"\n', r"rows.jsonl:2: is not JSON"),
        ('{"a": 1}\n\n[1]\n', r"rows.jsonl:3: is list, an object"),
        ("\n\n", "no row in it"),
        ("[" * 100_000, "rows.jsonl:1: is not JSON"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, content: str, message: str):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_json_lines(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere.jsonl: no such file; a .jsonl file is needed"):
        read_json_lines(tmp_path / "nowhere.jsonl")


def test_a_broken_line_among_finished_rows_is_an_error_and_nothing_is_lost(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"broken\n{json.dumps({'a': 1})}\n")
    with pytest.raises(DataError, match=r"rows.jsonl:1"):
        JsonLinesWriter(path)
    assert path.read_text() == 'broken\n{"a": 1}\n'


def test_nothing_is_made_before_there_is_something_to_write(tmp_path: Path):
    JsonLinesWriter(tmp_path / "new" / "rows.jsonl")
    assert not (tmp_path / "new").exists()
