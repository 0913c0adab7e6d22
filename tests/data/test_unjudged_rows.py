"""Rows whose check could not be made are neither right nor wrong: every kind of file drops and counts them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weighted_mtp.data import DataError, load_rows

BASE = {"prompt": "1 + 1 =", "completion": " 2"}
RIGHT = BASE | {"label": True, "verdict": "pass"}
UNJUDGED = [
    BASE | {"label": None, "verdict": "error"},
    BASE | {"label": False, "verdict": "error"},  # as older files have it
    BASE | {"label": False, "verdict": "ERROR"},
    BASE | {"label": None},
    BASE | {"is_correct": None},
    {"verdict": "error"},  # whatever else is wrong with it
]


@pytest.mark.parametrize("row", UNJUDGED)
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_row_without_a_finding_is_dropped_and_is_no_bad_row(row: dict[str, Any], policy: Any):
    rows, report = load_rows([RIGHT, row], on_bad_row=policy)
    assert rows == [RIGHT]
    assert (report.read, report.kept, report.unjudged, report.bad.count) == (2, 1, 1, 0)
    assert "\n1 rows dropped: their checks could not be made" in report.summary()


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_every_kind_of_file_drops_them(tmp_path: Path, kind: str):
    path, given = tmp_path / f"a.{kind}", [RIGHT, *UNJUDGED[:3]]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(given), path)
    else:
        path.write_text(json.dumps(given) if kind == "json" else "\n".join(map(json.dumps, given)))
    rows, report = load_rows(path)
    assert (len(rows), report.unjudged) == (1, 3)


@pytest.mark.parametrize("verdict", ["fail", "timeout"])
def test_a_completion_that_failed_or_took_too_long_is_wrong(verdict: str):
    wrong = BASE | {"label": False, "verdict": verdict}
    assert load_rows([wrong])[0] == [wrong]


def test_a_label_under_either_name_is_a_finding():
    assert load_rows([BASE | {"label": None, "is_correct": True}])[0] == [BASE | {"label": True}]


def test_a_file_of_such_rows_alone_is_one_line(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, UNJUDGED)))
    with pytest.raises(
        DataError, match=f"all {len(UNJUDGED)} rows are dropped, their checks could not be made"
    ) as caught:
        load_rows(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_row_that_says_nothing_of_a_label_is_a_mistake():
    with pytest.raises(DataError, match="no `label`"):
        load_rows([RIGHT, BASE])
