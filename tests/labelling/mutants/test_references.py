import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from weighted_mtp.data import DataError
from weighted_mtp.labelling.mutants.build import MutantsReport, build_mutants
from weighted_mtp.labelling.mutants.references import MutantsConfig, Problem, load_problems
from weighted_mtp.training.errors import ConfigError

ADD = {
    "prompt": "def add(a, b):\n",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "entry_point": "add",
}
MBPP = {
    "text": "Double it.",
    "code": "def double(x):\r\n  return x * 2",
    "task_id": 903,
    "test_list": ["assert double(2) == 4"],
}


def config_of(folder: Path, rows: list[dict[str, Any]]) -> MutantsConfig:
    path = folder / "made.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return MutantsConfig(out=str(folder / "out.jsonl"), input=str(path))


def test_a_file_may_mix_both_forms_and_a_row_without_a_task_id_is_named_by_its_line(tmp_path):
    problems, left_out = load_problems(config_of(tmp_path, [ADD, MBPP, ADD | {"task_id": 3, "more": 1}]))
    assert [problem.task_id for problem in problems] == ["made:1", "MBPP/903", "3"]
    assert problems[0] == Problem("made:1", **ADD)
    assert left_out == {}


def test_rows_that_are_no_problem_are_named_with_the_reason(tmp_path):
    rows = [ADD | {"task_id": "a"}, ADD | {"task_id": "a"}, MBPP | {"test_list": []}, ADD | {"test": None}]
    problems, left_out = load_problems(config_of(tmp_path, rows))
    assert [problem.task_id for problem in problems] == ["a"]
    assert left_out == {
        "a, row 2": "a row before has the same task_id",
        "903": "`test_list` is empty",
        "made:4": "no `test`: prompt, canonical_solution, test and entry_point are needed, or MBPP's columns",
    }


def test_a_file_without_any_problem_names_the_columns(tmp_path):
    with pytest.raises(DataError, match="no row is a problem; the first, made:1: no `canonical_solution`"):
        load_problems(config_of(tmp_path, [{"prompt": "p", "completion": "c"}]))


def test_the_input_is_not_written_over(tmp_path):
    path = Path(config_of(tmp_path, [ADD]).input or "")
    before = path.read_bytes()
    with pytest.raises(DataError, match="is the input too"):
        build_mutants(MutantsConfig(out=str(path), input=str(path)))
    assert path.read_bytes() == before


@pytest.mark.parametrize("settings", [{}, {"source": "humaneval", "input": "x.jsonl"}])
def test_one_of_source_and_input_is_given(settings: dict[str, Any]):
    with pytest.raises(ConfigError, match="give either source"):
        MutantsConfig(out="out.jsonl", **settings)


def test_at_least_one_mutant_is_asked_for():
    with pytest.raises(ConfigError, match="per_task is 0"):
        MutantsConfig(out="out.jsonl", source="humaneval", per_task=0)


# --- the report


def test_the_report_counts_rows_by_operator_and_verdict_and_says_what_is_left_out():
    report = MutantsReport({f"t{i}": "no test" for i in range(21)}, unchecked=3, seconds=1.6)
    for mutation, verdict in [("canonical", "pass"), ("number: 1 -> 2", "fail"), ("number: 1 -> 0", "timeout")]:
        report.add({"mutation": mutation, "verdict": verdict})
    lines = report.summary().splitlines()
    assert lines[:3] == [
        "1 tasks, 3 rows, 33% right (test-verified, no more), 2 s",
        "3 mutants left out, their checks could not be made",
        "21 problems left out:",
    ]
    assert lines[3:] == [*(f"  t{i}: no test" for i in range(20)), "  and 1 more"]
    page = io.StringIO()
    Console(file=page, width=60).print(report.table())
    assert [line.split() for line in page.getvalue().splitlines()] == [
        ["mutation", "pass", "fail", "timeout", "rows"],
        ["number", "0", "1", "1", "2"],
        ["canonical", "1", "0", "0", "1"],
    ]
