"""Of a row that a verifier judged the label is learned, and the share of tests passed only where there is no label."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weighted_mtp.data import DataError, load_rows
from weighted_mtp.labelling.split import SplitConfig, split_file

ROW = {"prompt": "def f():", "completion": " return 1", "label": False, "verdict": "fail", "reward": 0.8}
RIGHT = ROW | {"label": True, "verdict": "pass", "reward": 1.0}


@pytest.mark.parametrize("kind", ["rows", "jsonl", "json", "parquet"])
def test_the_label_of_a_judged_row_is_learned_and_one_line_counts_the_shares(tmp_path: Path, kind: str):
    path, given = tmp_path / f"a.{kind}", [ROW, RIGHT, ROW | {"verdict": "timeout"}]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(given), path)
    elif kind != "rows":
        path.write_text(json.dumps(given) if kind == "json" else "\n".join(map(json.dumps, given)))
    rows, report = load_rows(given if kind == "rows" else path)
    assert [(row["label"], row.get("reward")) for row in rows] == [(False, None), (True, None), (False, None)]
    assert report.set_aside == 2
    (line,) = report.summary().splitlines()[1:]
    assert line.startswith("2 rows have a verdict and a `reward` that is not their label")
    assert line.endswith("drop `label` to learn the share")


def test_without_a_label_the_share_is_learned_whatever_the_verdict():
    rows, report = load_rows([{name: value for name, value in ROW.items() if name != "label"}])
    assert (rows[0]["reward"], rows[0]["label"], report.set_aside) == (0.8, True, 0)


@pytest.mark.parametrize("verdict", [{}, {"verdict": None}, {"verdict": "AC"}])
def test_without_a_verdict_a_disagreement_is_an_error(verdict: dict[str, Any]):
    row = {name: value for name, value in ROW.items() if name != "verdict"} | verdict
    with pytest.raises(DataError, match=r"`label` is False but `reward` is 0.8"):
        load_rows([row])


def test_a_label_against_its_verdict_is_an_error_with_or_without_a_reward():
    with pytest.raises(DataError, match=r"`label` is True but `verdict` is 'fail'"):
        load_rows([ROW | {"label": True}])


def test_a_reward_that_is_no_number_is_an_error_beside_a_label_too():
    with pytest.raises(DataError, match="`reward` is 'high'"):
        load_rows([ROW | {"reward": "high"}])


def test_rows_are_split_by_their_right_completion_though_a_share_stands_beside_it(tmp_path: Path):
    shared = "first we add the two numbers then we take the larger of them and return it"
    rows = [
        RIGHT | {"prompt": f"{n} {word}", "task_id": n, "completion": text}
        for n, (word, text) in enumerate([("red", shared), ("blue", shared), ("green", "x = 1"), ("old", "y = 2")])
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row | {"reward": 0.9}) for row in rows))
    report = split_file(SplitConfig(str(path), str(tmp_path / "folds"), folds=2))
    assert list(report.together) == [("0", "1")]
