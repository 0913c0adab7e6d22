"""`wmtp data split`: every row is tested once, and no near-duplicate of its task is trained on then."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.containment import near_duplicates
from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.labelling.split import SplitConfig, split_file
from weighted_mtp.training.errors import ConfigError

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

    helper = {"task_id": "helper", "prompt": words("head", 8), "completion": f" {words('body', 40)}", "label": True}
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
    assert len(report.together) == 12
    for fold in range(5):
        train, test = files(tmp_path / "out", fold)
        for column, chosen in (
            ("prompt", lambda row: True),
            ("completion", lambda row: row["mutation"] == "canonical"),
        ):
            texts = {f"train {row['task_id']}": row[column] for row in train if chosen(row)}
            texts |= {f"test {row['task_id']}": row[column] for row in test if chosen(row)}
            assert not [pair for pair in near_duplicates(texts) if pair[0].split()[0] != pair[1].split()[0]]


def problem(task: int, words: int = 30) -> str:
    """A text of words that no other task's has."""
    return " ".join(f"w{task}x{i}" for i in range(words))


def write_rows(path: Path, prompts: list[Any], **columns: Any) -> SplitConfig:
    rows = [
        {"task_id": i, "prompt": prompt, "completion": problem(1000 + i), "label": True} | columns
        for i, prompt in enumerate(prompts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SplitConfig(str(path), str(path.parent / "out"))


TEMPLATE = "Please reason step by step , say why each of the steps is right , and put the final answer in a box ."
SHAPES = {
    "behind": lambda text: f"{text}\n{TEMPLATE}",
    "before": lambda text: f"{TEMPLATE}\n{text}",
    "around": lambda text: f"{TEMPLATE}\nQuestion : {text}\n{TEMPLATE}",
    "system prompt": lambda text: [
        {"role": "system", "content": f"{TEMPLATE} {TEMPLATE}"},
        {"role": "user", "content": text},
    ],
    "chat": lambda text: [{"role": "user", "content": f"{TEMPLATE}\n{text}"}],
    "parts": lambda text: [{"role": "user", "content": [{"type": "text", "text": f"{text} {TEMPLATE}"}]}],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [20, 40, 150])
def test_a_template_that_all_tasks_share_keeps_none_together(tmp_path: Path, shape: str, count: int):
    config = write_rows(tmp_path / "rows.jsonl", [SHAPES[shape](problem(i, 12)) for i in range(count)])
    report = split_file(config)
    assert report.together == {}
    assert report.warning() == ""
    assert max(report.tasks) - min(report.tasks) <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("copies", [2, 20])
def test_near_copies_within_a_template_share_a_fold(tmp_path: Path, shape: str, copies: int):
    """Each differs from the original by one word, here or there."""
    texts = [problem(i) for i in range(160)]
    texts[5 : 5 + copies] = [problem(5).replace(f"w5x{4 + i} ", f"other{i} ") for i in range(copies)]
    config = write_rows(tmp_path / "rows.jsonl", [SHAPES[shape](text) for text in texts])
    split_file(config)
    held = [{row["task_id"] for row in files(tmp_path / "out", fold)[1]} for fold in range(5)]
    assert sum(bool(tasks & set(range(5, 5 + copies))) for tasks in held) == 1


def test_a_prompt_that_comes_more_often_than_a_template_may_shares_a_fold(tmp_path: Path):
    config = write_rows(tmp_path / "rows.jsonl", [problem(0)] * 40 + [problem(i) for i in range(1, 161)])
    split_file(config)
    held = [{row["task_id"] for row in files(tmp_path / "out", fold)[1]} for fold in range(5)]
    assert sum(bool(tasks & set(range(40))) for tasks in held) == 1


def test_short_completions_that_are_equal_keep_no_tasks_together(tmp_path: Path):
    config = write_rows(tmp_path / "rows.jsonl", [problem(i) for i in range(20)], completion="The answer is 42.")
    assert split_file(config).together == {}


def test_uneven_folds_are_warned_of_in_one_line_with_their_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A chain: each task is half of the one before, so that none is in many others."""
    words = [f"w{i}" for i in range(900)]
    chained = [" ".join(words[20 * i : 20 * i + 44]) for i in range(40)]
    config = write_rows(tmp_path / "rows.jsonl", [*chained, *(problem(i) for i in range(20))])
    assert main(["data", "split", "--input", config.input, "--out", config.out]) == 0
    warning = capsys.readouterr().err.strip()
    assert "the folds are uneven, 40, 5, 5, 5, 5 tasks: one group of 40 tasks" in warning
    assert len(warning.splitlines()) == 1


def test_rows_whose_check_could_not_be_made_are_left_out_and_counted(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    config = write_rows(path, [problem(i) for i in range(10)])
    rows = read_json_lines(path)
    rows[3] |= {"label": None, "verdict": "error"}
    rows[4] |= {"label": False, "verdict": "error"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = split_file(config)
    assert (sum(report.rows), report.unjudged) == (8, 2)
    assert "2 rows dropped: their checks could not be made" in report.summary()
    path.write_text(json.dumps(rows[3]) + "\n")
    with pytest.raises(DataError, match="all 1 rows are dropped"):
        split_file(SplitConfig(str(path), str(tmp_path / "none")))


@pytest.mark.parametrize("form", ["messages", "alpaca", "conversations", "turns"])
def test_rows_in_other_forms_that_training_reads_are_split_as_they_came(tmp_path: Path, form: str):
    def row(n: int) -> dict[str, Any]:
        if form == "alpaca":
            return {"instruction": f"Add {n} and {n * 7}.", "output": str(n * 8), "is_correct": True}
        said = [{"role": "user", "content": f"Add {n} and {n * 7}."}, {"role": "assistant", "content": str(n * 8)}]
        if form == "conversations":
            return {"conversations": [{"from": m["role"], "value": m["content"]} for m in said], "reward": 0.75}
        more = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}] * (form == "turns")
        return {"messages": [*said, *more], "label": True}

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(n)) + "\n" for n in range(10)))
    split_file(SplitConfig(str(path), str(tmp_path / "out"), folds=2, task="prompt", threshold=1.0))
    tests = [read_json_lines(tmp_path / "out" / f"fold{k}" / "test.jsonl") for k in range(2)]
    assert [len(rows) for rows in tests] == [5, 5]
    assert sorted(map(str, [*tests[0], *tests[1]])) == sorted(str(row(n)) for n in range(10))


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
