"""`wmtp data split`: every row is tested once, and no near-duplicate of its task is trained on then."""

import json
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.data import DataError
from weighted_mtp.data.folds import near_duplicates
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.labelling.split import split_file
from weighted_mtp.labelling.split_config import SplitConfig
from weighted_mtp.training.settings import ConfigError

SHARED = Path(__file__).parents[3] / "shared/data/humaneval_mutants.jsonl"


def rows_of(n_tasks: int) -> list[dict[str, Any]]:
    """Three completions a task; tasks 0 and 1 have the same prompt, 2 and 3 the same right completion."""
    rows = []
    for task in range(n_tasks):
        words = " ".join(f"w{task}_{i}" for i in range(12))
        prompt = "the very same prompt of two tasks" if task < 2 else f"prompt {words}"
        right = "one right completion that two tasks have" if task in (2, 3) else f"right {words}"
        texts = [(f"wrong {words}", False), (right, True), (f"other {words}", True)]
        rows += [{"task_id": task, "prompt": prompt, "completion": c, "label": label} for c, label in texts]
    return rows


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(12)))
    return path


def files(out: Path, fold: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return read_json_lines(out / f"fold{fold}/train.jsonl"), read_json_lines(out / f"fold{fold}/test.jsonl")


def test_every_row_is_in_one_test_file_and_in_all_other_train_files(source: Path, tmp_path: Path):
    report = split_file(SplitConfig(str(source), str(tmp_path / "out"), folds=4))
    rows = read_json_lines(source)
    tested = [row for fold in range(4) for row in files(tmp_path / "out", fold)[1]]
    assert sorted(map(json.dumps, tested)) == sorted(map(json.dumps, rows))
    for fold in range(4):
        train, test = files(tmp_path / "out", fold)
        assert sorted(map(json.dumps, train + test)) == sorted(map(json.dumps, rows))
        assert not {row["task_id"] for row in train} & {row["task_id"] for row in test}
    assert sum(report.tasks) == 12
    assert sum(report.rows) == 36


def test_tasks_alike_in_prompt_or_right_completion_stay_together(source: Path, tmp_path: Path):
    report = split_file(SplitConfig(str(source), str(tmp_path / "out"), folds=4))
    assert set(report.together) == {("0", "1"), ("2", "3")}
    for fold in range(4):
        held = {row["task_id"] for row in files(tmp_path / "out", fold)[1]}
        assert len(held & {0, 1}) != 1
        assert len(held & {2, 3}) != 1
    assert "2 pairs of near-duplicate tasks kept together" in report.summary()


def test_a_solution_that_is_the_helper_of_another_stays_with_it(tmp_path: Path):
    def words(name: str, count: int) -> str:
        return " ".join(f"{name}{i}" for i in range(count))

    helper = {
        "task_id": "helper",
        "prompt": words("head", 8),
        "completion": f" {words('body', 40)}",
        "label": True,
    }
    user = {
        "task_id": "user",
        "prompt": f"{helper['prompt']}{helper['completion']} {words('own', 8)}",
        "completion": words("rest", 20),
        "label": True,
    }
    others = [
        {"task_id": str(i), "prompt": words(f"p{i}_", 9), "completion": words(f"c{i}_", 9), "label": True}
        for i in range(4)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [helper, user, *others]))
    report = split_file(SplitConfig(str(path), str(tmp_path / "out"), folds=3))
    assert set(report.together) == {("helper", "user")}


def test_humanevals_folds_share_no_near_duplicate(tmp_path: Path):
    if not SHARED.exists():
        pytest.skip("the shared data are not here")
    report = split_file(SplitConfig(str(SHARED), str(tmp_path / "out")))
    assert report.closest < 0.5
    for fold in range(5):
        train, test = files(tmp_path / "out", fold)
        for column, chosen in (
            ("prompt", lambda row: True),
            ("completion", lambda row: row["mutation"] == "canonical"),
        ):
            texts = {f"train {row['task_id']}": row[column] for row in train if chosen(row)}
            texts |= {f"test {row['task_id']}": row[column] for row in test if chosen(row)}
            assert not [pair for pair in near_duplicates(texts) if pair[0].split()[0] != pair[1].split()[0]]


def test_files_that_are_there_are_left_alone(source: Path, tmp_path: Path):
    config = SplitConfig(str(source), str(tmp_path / "out"), folds=4)
    split_file(config)
    before = (tmp_path / "out/fold0/train.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"is there already: give another folder"):
        split_file(config)
    assert (tmp_path / "out/fold0/train.jsonl").read_bytes() == before


def test_mistakes_are_told(source: Path, tmp_path: Path):
    with pytest.raises(DataError, match="row 1 has no `task`"):
        split_file(SplitConfig(str(source), str(tmp_path / "out"), task="task"))
    with pytest.raises(DataError, match=r"12 tasks make 10 groups .* too few for 11"):
        split_file(SplitConfig(str(source), str(tmp_path / "out"), folds=11))
    with pytest.raises(ConfigError, match="at least 2"):
        SplitConfig("a", "b", folds=1)
    with pytest.raises(ConfigError, match="threshold"):
        SplitConfig("a", "b", threshold=0)
    assert not (tmp_path / "out").exists()
