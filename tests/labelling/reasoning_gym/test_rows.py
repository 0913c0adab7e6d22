"""`wmtp data reasoning-gym`: labels are the scorer's, no question is in both files, a second call goes on."""

import io
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from weighted_mtp.data import DataError, load_rows
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.labelling.reasoning_gym.rows import ReasoningGymConfig, make_rows, print_tasks
from weighted_mtp.labelling.reasoning_gym.wrong_answers import change_digit, swap_neighbours, wrong_answers
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.verifiers.reasoning_gym import UNSOUND, ReasoningGym

TASKS = ["leg_counting", "number_filtering", "rearc"]


@pytest.fixture(scope="module")
def gym(sandbox_works: None, reasoning_gym: None) -> ReasoningGym:
    return ReasoningGym()


def config(folder: Path, **settings: Any) -> ReasoningGymConfig:
    given: dict[str, Any] = {"tasks": TASKS, "count": 6, "problem_count": 4}
    given |= {"out": str(folder / "train.jsonl"), "problems": str(folder / "test.jsonl")}
    return ReasoningGymConfig(**(given | settings))


def test_labels_are_what_the_scorer_says_to_the_rows_as_written(gym: ReasoningGym, tmp_path: Path):
    made = make_rows(config(tmp_path, wrong=2), gym)
    rows = read_json_lines(tmp_path / "train.jsonl")
    assert [row["verdict"] for row in rows] == [found.verdict for found in gym.judge_all(rows)]
    assert all(row["label"] == (row["verdict"] == "pass") == (row["made_by"] == "reference") for row in rows)
    assert {row["made_by"] for row in rows} >= {"reference", "corrupted:digit", "corrupted:swap", "other_item"}
    assert (made.counts["reference"], len(rows)) == (18, 54)
    assert load_rows(str(tmp_path / "train.jsonl")) is not None


def test_no_question_is_in_both_files(gym: ReasoningGym, tmp_path: Path):
    make_rows(config(tmp_path), gym)
    train = {row["prompt"] for row in read_json_lines(tmp_path / "train.jsonl")}
    test = [row["prompt"] for row in read_json_lines(tmp_path / "test.jsonl")]
    assert (len(train), len(test), len(set(test))) == (18, 12, 12)
    assert train.isdisjoint(test)


def test_a_second_call_goes_on_where_the_first_was_cut(gym: ReasoningGym, tmp_path: Path):
    make_rows(config(tmp_path), gym)
    files = [tmp_path / "train.jsonl", tmp_path / "test.jsonl"]
    whole = [file.read_bytes() for file in files]
    files[0].write_bytes(whole[0][: whole[0].index(b"corrupted") - 5])
    files[1].write_bytes(whole[1][:-9])
    make_rows(config(tmp_path), gym)
    assert [file.read_bytes() for file in files] == whole


def test_another_seed_has_other_questions(gym: ReasoningGym, tmp_path: Path):
    make_rows(config(tmp_path / "a", tasks=["leg_counting"]), gym)
    make_rows(config(tmp_path / "b", tasks=["leg_counting"], seed=1), gym)
    first, second = ({row["prompt"] for row in read_json_lines(tmp_path / name / "train.jsonl")} for name in ("a", "b"))
    assert first.isdisjoint(second)


def test_rows_of_another_seed_are_not_mixed_in(gym: ReasoningGym, tmp_path: Path):
    make_rows(config(tmp_path, tasks=["leg_counting"], count=1), gym)
    with pytest.raises(DataError, match=r"train\.jsonl:1: is not of seed 2"):
        make_rows(config(tmp_path, tasks=["leg_counting"], count=1, problems=None, seed=2), gym)


@pytest.mark.parametrize(
    ("task", "message"),
    [("leg_countin", "did you mean leg_counting"), ("puzzle24", r"puzzle24 is refused: accepts 6\*4\*1\*1")],
)
def test_a_task_that_cannot_be_had_says_why(gym: ReasoningGym, tmp_path: Path, task: str, message: str):
    with pytest.raises(DataError, match=message):
        make_rows(config(tmp_path, tasks=[task]), gym)
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_every_task_and_why_some_are_refused(gym: ReasoningGym):
    output = io.StringIO()
    print_tasks(gym, Console(width=120, file=output))
    assert all(task in output.getvalue() for task in (*TASKS, *UNSOUND))
    assert output.getvalue().count("refused") == len(UNSOUND)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": []}, "no task given"),
        ({"count": -1}, "count is -1"),
        ({"out": "a.jsonl", "problems": "a.jsonl"}, "both a.jsonl"),
        ({"out": None, "problems": None}, "out and problems are missing"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **settings)


def test_a_change_stays_within_its_span():
    answer = "['12', '345', '6']"
    for seed in range(20):
        for change in (change_digit, swap_neighbours):
            changed = change(answer, random.Random(seed))
            assert changed is not None
            assert changed.span is not None
            start, end = changed.span
            assert changed.text != answer
            assert changed.text[:start] + answer[start:end] + changed.text[end:] == answer


def test_what_cannot_be_changed_is_left():
    assert change_digit("Yes", random.Random(0)) is None
    assert swap_neighbours("1 1 1", random.Random(0)) is None
    assert swap_neighbours("7", random.Random(0)) is None


def test_a_single_word_has_its_letters_swapped():
    changed = swap_neighbours("ab", random.Random(0))
    assert changed is not None
    assert changed.text == "ba"


def test_where_few_answers_are_possible_the_wrong_ones_are_among_them():
    found = wrong_answers("Yes", ["Yes", "No", "No", "Yes"], count=3, generator=random.Random(0))
    assert [(changed.text, changed.made_by) for changed in found] == [("No", "other_item")]
