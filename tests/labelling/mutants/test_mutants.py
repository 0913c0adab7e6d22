import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from weighted_mtp.data import DataError, load_rows, tokenize_rows
from weighted_mtp.labelling.mutants.build import build_mutants
from weighted_mtp.labelling.mutants.references import MutantsConfig

pytestmark = pytest.mark.usefixtures("sandbox_works")

ADD = {
    "task_id": "made/add",
    "prompt": 'def add(a, b):\n    """Sum of é."""\n',
    "canonical_solution": "    total = a  # 셋\n    total += b\n    return total\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, 2) == 7\n",
    "entry_point": "add",
}
DOUBLE = {
    "text": "Write a function to double.",
    "code": "def double(x):\r\n  return x * 2",
    "task_id": 903,
    "test_list": ["assert double(2) == 4"],  # as is 2 ** 2
}
WRONG = ADD | {"task_id": "made/wrong", "canonical_solution": "    return a - b\n"}
BROKEN = ADD | {"task_id": "made/broken", "canonical_solution": "    return a -\n"}
ENDLESS = ADD | {
    "task_id": "made/count",
    "canonical_solution": "    while b > 0:\n        a, b = a + 1, b - 1\n    return a\n",
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., MutantsConfig]:
    """A function (problems, **settings) -> the configuration of mutating them into out.jsonl."""

    def configure(problems: list[dict[str, Any]], **settings: Any) -> MutantsConfig:
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
        return MutantsConfig(**({"out": str(tmp_path / "out.jsonl"), "input": str(path)} | settings))

    return configure


def rows_of(config: MutantsConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(config.out).read_text().splitlines()]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")


def test_a_reference_and_its_mutants_are_labelled_by_the_tests(make):
    config = make([ADD, DOUBLE])
    report = build_mutants(config)
    rows = rows_of(config)
    assert {row["mutation"]: row["verdict"] for row in rows if row["task_id"] == "MBPP/903"} == {
        "canonical": "pass",
        "arithmetic: * -> +": "pass",  # 2 + 2: right beyond what the test tells
        "arithmetic: * -> **": "pass",
        "number: 2 -> 1": "fail",
        "number: 2 -> 3": "fail",
    }
    assert all(row["label"] == (row["verdict"] == "pass") for row in rows)
    assert (report.tasks, report.rows, report.left_out) == (2, len(rows), {})


def test_rows_can_be_verified_again_and_say_by_what(make):
    config = make([ADD], per_task=1, timeout=4.0)
    build_mutants(config)
    for row in rows_of(config):
        assert (row["test"], row["entry_point"]) == (ADD["test"], "add")
        assert (row["verified_by"], row["verification"]["timeout"]) == ("python-tests", 4.0)


def test_the_tokens_of_a_mutation_become_its_errors(make):
    config = make([ADD])
    build_mutants(config)
    rows, _ = load_rows(config.out)
    data, _ = tokenize_rows(rows, byte_tokenizer())
    wrong = [row for row in rows if not row["label"]]
    assert len(wrong) > 3
    for row, errors in zip(rows, data["token_error"], strict=True):
        marked = [i for i, error in enumerate(errors) if error]
        if row["label"]:
            assert marked == []
        else:
            start, end = (len(row["completion"][:at].encode()) for at in row["span"])
            assert marked == list(range(start, max(end, start + 1)))


def test_putting_back_what_was_replaced_gives_the_reference(make):
    config = make([ADD])
    build_mutants(config)
    for row in rows_of(config)[1:]:
        start, end = row["span"]
        restored = row["completion"][:start] + row["replaced"] + row["completion"][end:]
        assert restored == ADD["canonical_solution"]


def test_a_mutant_without_end_is_wrong_by_its_timeout(make):
    config = make([ENDLESS], timeout=1.5, per_task=100)
    build_mutants(config)
    late = [row for row in rows_of(config) if row["verdict"] == "timeout"]
    assert "number: 0 -> 1" not in {row["mutation"] for row in late}
    assert "arithmetic: - -> +" in {row["mutation"] for row in late}
    assert not any(row["label"] for row in late)


def test_a_problem_whose_reference_is_not_right_is_left_out_with_the_reason(make):
    config = make([WRONG, BROKEN, ADD, ADD, {"task_id": 7, "prompt": "x"}], per_task=2)
    report = build_mutants(config)
    assert {row["task_id"] for row in rows_of(config)} == {"made/add"}
    assert report.left_out == {
        "made/wrong": "the verdict on its reference solution is fail",
        "made/broken": "it does not compile: invalid syntax, line 3",
        "made/add, row 4": "a row before has the same task_id",
        "7": report.left_out["7"],
    }
    assert report.left_out["7"].startswith("no `canonical_solution`: prompt")
    assert "1 tasks, 3 rows" in report.summary()
    assert "made/wrong: the verdict on its reference solution is fail" in report.summary()


def test_a_second_call_goes_on_where_the_first_was_cut_off(make):
    config = make([ADD, DOUBLE])
    build_mutants(config)
    whole = Path(config.out).read_bytes()
    lines = whole.splitlines(keepends=True)
    Path(config.out).write_bytes(b"".join(lines[:5]) + lines[5][:20])
    report = build_mutants(config)
    assert Path(config.out).read_bytes() == whole
    assert report.rows == len(lines)


def test_a_higher_cap_adds_rows(make):
    build_mutants(make([ADD], per_task=2))
    build_mutants(make([ADD], per_task=5))
    more = make([ADD], per_task=5, out=make([ADD]).out + ".fresh")
    build_mutants(more)
    added = rows_of(make([ADD]))
    assert sorted(map(str, added)) == sorted(map(str, rows_of(more)))


@pytest.mark.parametrize("change", [{"seed": 5}, {"per_task": 1}, {"timeout": 3.0}])
def test_rows_of_other_settings_are_an_error_and_stay(make, change):
    config = make([ADD], per_task=3)
    build_mutants(config)
    before = Path(config.out).read_bytes()
    with pytest.raises(DataError, match="holds rows of another source, seed, timeout or version"):
        build_mutants(make([ADD], **({"per_task": 3} | change)))
    assert Path(config.out).read_bytes() == before


def test_rows_of_other_problems_are_an_error(make):
    build_mutants(make([ADD], per_task=1))
    with pytest.raises(DataError, match="another source"):
        build_mutants(make([DOUBLE], per_task=1))
