"""Which rows the experiment on real code takes, and that no fold tests what it was trained on."""

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from research.real_code.closeness import near_duplicates, task_closeness
from research.real_code.rows import FOLDS, Selection, fold_of, prepare_rows, sides
from research.tests.real_code.made_code import made_rows, made_task, write_rows
from weighted_mtp.data import DataError, load_rows, tokenize_rows
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.training.errors import ConfigError

LOOSE = {"max_length": 120, "rows_per_label": 2}


@pytest.fixture
def prepare(code_tokenizer, tmp_path):
    """A function (rows, **selection) -> the rows that are taken."""

    def run(rows, out="out", **settings):
        data = [write_rows(tmp_path / "rows.jsonl", rows)] if rows else [str(tmp_path / "rows.jsonl")]
        return prepare_rows(Selection(data, **(LOOSE | settings)), code_tokenizer, tmp_path / out)

    return run


def near_duplicate_rows():
    """18 unlike tasks, and four families of two or three that are alike but for the function's name."""
    rows = made_rows(18)
    for family in range(4):
        for copy in range(2 + family % 2):
            rows += made_task(100 + 10 * family + copy, like=family + 50)
    return rows


def files(folder: Path, fold: int):
    return {side: read_json_lines(folder / f"fold{fold}" / f"{side}.jsonl") for side in ("train", "valid", "test")}


def tasks_of(rows):
    return {row["task_id"] for row in rows}


def test_every_row_is_tested_in_one_fold(prepare, tmp_path):
    rows = prepare(made_rows())
    tested = Counter(row["row"] for fold in range(FOLDS) for row in files(tmp_path / "out", fold)["test"])
    assert tested == Counter(range(len(rows)))
    assert [row["row"] for row in rows] == list(range(len(rows)))


def test_no_task_is_on_two_sides_of_a_fold(prepare, tmp_path):
    prepare(made_rows())
    for fold in range(FOLDS):
        held = {side: tasks_of(rows) for side, rows in files(tmp_path / "out", fold).items()}
        assert all(held.values())
        assert not any(a & b for a, b in itertools.combinations(held.values(), 2))


def test_no_near_duplicate_is_on_two_sides_of_a_fold(prepare, tmp_path):
    prepare(near_duplicate_rows())
    alike = 0
    for fold in range(FOLDS):
        held = {side: tasks_of(rows) for side, rows in files(tmp_path / "out", fold).items()}
        side_of = {task: side for side, tasks in held.items() for task in tasks}
        shown = {row["task_id"]: row for rows in files(tmp_path / "out", fold).values() for row in reversed(rows)}
        for texts in (
            {task: row["prompt"] for task, row in shown.items()},
            {task: row["completion"] for task, row in shown.items() if row["label"]},
        ):
            for a, b in near_duplicates(texts, threshold=0.5):
                alike += 1
                assert side_of[a] == side_of[b], (fold, a, b)
    assert alike >= FOLDS * 2 * (1 + 3 + 1 + 3)


def test_a_solution_that_is_the_helper_of_another_prompt_shares_its_side():
    prompts = {"a": "def double ( number ) :", "b": "def double ( number ) : return 2 * number def use ( x ) :"}
    completions = {"a": " return 2 * number", "b": " return double ( x ) + double ( x + 1 )"}
    assert task_closeness(prompts, completions)["a", "b"] == 1.0


def test_closeness_is_the_largest_of_three_containments():
    prompts = {"a": "p q r s t", "b": "p q r s t", "c": "z z z z z"}
    completions = {"a": "1 2 3 4 5 6 7 8 9", "b": "1 2 3 4 5 6 0 0 0"}
    assert near_duplicates(completions, 1e-9) == {("a", "b"): 0.4}
    assert task_closeness(prompts, completions) == {("a", "b"): 1.0}
    assert task_closeness({"a": "p ", "b": "q "}, completions) == {("a", "b"): 0.4}


def test_the_summary_tells_how_close_tasks_across_parts_are(prepare, tmp_path):
    rows = prepare(near_duplicate_rows())
    right = {row["task_id"]: row for row in reversed(rows) if row["label"]}
    part = {task: row["part"] for task, row in right.items()}
    closeness = task_closeness(
        {task: row["prompt"] for task, row in right.items()}, {task: row["completion"] for task, row in right.items()}
    )
    across = max(share for (a, b), share in closeness.items() if part[a] != part[b])
    summary = json.loads((tmp_path / "out" / "data.json").read_text())
    assert summary["closest_across_folds"] == across < 0.5


def test_the_summary_counts_what_the_files_hold(prepare, tmp_path):
    prepare(made_rows())
    summary = json.loads((tmp_path / "out" / "data.json").read_text())
    assert summary["sources"] == {"rows": {"tasks": 20, "right": 40, "wrong": 40}}
    for fold, counted in enumerate(summary["folds"]):
        test = files(tmp_path / "out", fold)["test"]
        right = sum(row["label"] for row in test)
        assert counted == {"tasks": len(tasks_of(test)), "right": right, "wrong": len(test) - right}


def test_rows_set_apart_are_one_right_and_one_wrong_of_each_task(prepare, tmp_path):
    prepare(made_rows())
    for fold in range(FOLDS):
        valid = files(tmp_path / "out", fold)["valid"]
        assert Counter((row["task_id"], row["label"]) for row in valid) == {
            (task, label): 1 for task in tasks_of(valid) for label in (True, False)
        }


def test_files_are_the_sides_of_the_rows(prepare, tmp_path):
    rows = prepare(made_rows())
    for fold in range(FOLDS):
        assert files(tmp_path / "out", fold) == sides(rows, fold)
        assert all(fold_of(row) == fold for row in sides(rows, fold)["test"])


@pytest.mark.parametrize("cap", [1, 2])
def test_a_task_gives_no_more_rows_of_a_label_than_asked_for(prepare, cap):
    taken = Counter((row["task_id"], row["label"]) for row in prepare(made_rows(), rows_per_label=cap))
    assert set(taken.values()) == {cap}
    assert len(taken) == 40


def test_right_rows_are_the_first_and_wrong_ones_are_drawn(prepare):
    by_task = defaultdict(list)
    for row in prepare(made_rows(), rows_per_label=1):
        by_task[row["task_id"]].append(row)
    assert all(rows[0]["completion"] == made_task(n)[0]["completion"]
               for n in range(20) for rows in (by_task[f"made/{n}"],))  # fmt: skip
    assert len({rows[1]["operator"].strip()[:6] for rows in by_task.values()}) > 1


def length(row, tokenizer) -> int:
    """Tokens that training would see, EOS included."""
    return len(tokenize_rows(load_rows([row])[0], tokenizer)[0][0]["input_ids"])


def test_rows_longer_than_the_limit_in_training_are_left_out(prepare, code_tokenizer):
    rows = made_rows() + made_task(1234)
    limit = max(length(row, code_tokenizer) for row in made_rows())
    fits = {(row["task_id"], row["completion"]) for row in rows if length(row, code_tokenizer) <= limit}
    taken = prepare(rows, max_length=limit, rows_per_label=9)
    assert {(row["task_id"], row["completion"]) for row in taken} == fits
    assert len(taken) < len(rows)


def test_wrong_rows_without_a_span_are_left_out_and_tasks_without_either_label(prepare):
    rows = made_rows()
    for row in rows:
        if row["task_id"] == "made/3" and not row["label"]:
            row.pop("span")
        elif row["task_id"] == "made/4" and row.get("operator", " - ") == " - " and not row["label"]:
            row["span"] = None
    rows = [row for row in rows if not (row["task_id"] == "made/5" and row["label"])]
    taken = prepare(rows, rows_per_label=9)
    assert tasks_of(taken) == {f"made/{n}" for n in range(20)} - {"made/3", "made/5"}
    assert sum(row["task_id"] == "made/4" for row in taken) == 2 + 2


def test_a_second_call_reads_what_is_there(prepare, tmp_path):
    rows = prepare(made_rows())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json*")}
    assert prepare(None) == rows
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json*")} == before


@pytest.mark.parametrize("other", [{"max_length": 119}, {"rows_per_label": 1}, {"seed": 1}])
def test_a_folder_of_other_rows_is_not_gone_on_with(prepare, other):
    prepare(made_rows())
    with pytest.raises(ConfigError, match="holds other rows than these settings choose: give another --out"):
        prepare(None, **other)


def test_the_same_settings_give_the_same_files_and_another_seed_others(prepare, tmp_path):
    prepare(near_duplicate_rows(), out="first")
    prepare(None, out="again")
    prepare(None, out="other", seed=1)
    found = {
        out: {str(path.relative_to(tmp_path / out)): path.read_text() for path in (tmp_path / out).rglob("*.jsonl")}
        for out in ("first", "again", "other")
    }
    assert found["first"] == found["again"]
    assert found["first"].keys() == found["other"].keys()
    assert all(found["first"][name] != found["other"][name] for name in found["first"])


def test_too_few_tasks_are_told_and_nothing_is_written(prepare, tmp_path):
    with pytest.raises(DataError, match=r"14 tasks have a right and a wrong .* at least 15 are needed"):
        prepare(made_rows(14))
    assert not (tmp_path / "out").exists()


def test_too_few_unlike_tasks_are_told(prepare):
    rows = made_rows(10) + [row for n in range(10) for row in made_task(100 + n, like=50)]
    with pytest.raises(DataError, match="20 tasks make 11 groups"):
        prepare(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": None}, "row 3 has no `task_id`"),
        ({"completion": None}, ":3: no `completion`"),
        ({"label": "no"}, ":3: `label` is 'no'"),
        ({"span": [5, 2]}, ":3: `span`"),
    ],
)
def test_a_malformed_row_is_told_by_its_number_before_anything_is_written(prepare, tmp_path, change, message):
    rows = made_rows()
    rows[2] |= change
    with pytest.raises(DataError, match=f"rows.jsonl.*{message}"):
        prepare(rows)
    assert not (tmp_path / "out").exists()


def test_a_label_may_be_written_as_a_number_or_a_word(prepare):
    plain = prepare(made_rows(), out="plain")
    words = [row | {"label": ("false", "true")[row["label"]]} for row in made_rows()]
    assert prepare(words, out="words") == plain


def test_numbered_tasks_are_named_by_their_text(prepare):
    """A name that is a number would come back from JSON as a text, and match no row."""
    rows = [row | {"task_id": int(row["task_id"].split("/")[1])} for row in made_rows()]
    assert tasks_of(prepare(rows)) == {str(n) for n in range(20)}


def test_rows_of_several_files_carry_the_name_of_theirs(code_tokenizer, tmp_path):
    data = [
        write_rows(tmp_path / "one.jsonl", made_rows(8)),
        write_rows(tmp_path / "two.jsonl", [row for n in range(8, 20) for row in made_task(n)]),
    ]
    rows = prepare_rows(Selection(data, **LOOSE), code_tokenizer, tmp_path / "out")
    assert {row["source"]: len(tasks_of(r for r in rows if r["source"] == row["source"])) for row in rows} == {
        "one": 8,
        "two": 12,
    }
