"""Rows of public data sets become problems of ours: real columns, real encodings, and nothing that is pickled runs."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.evaluation.known_forms import as_problem, form_of
from weighted_mtp.verifiers.python_tests import PythonTests

MBPP = {
    "task_id": 2,
    "text": "Write a function to find the shared elements of two lists.",
    "code": "def helper(x):\r\n  return set(x)\r\ndef shared(a, b):\r\n  return tuple(helper(a) & set(b))",
    "test_list": ["assert set(shared((3, 4, 5), (5, 7, 4))) == set((4, 5))", "assert shared((1,), (2,)) == ()"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 2,
    "prompt": MBPP["text"],
    "code": MBPP["code"],
    "test_imports": ["import math"],
    "test_list": MBPP["test_list"],
}
MBPP_PLUS = SANITIZED | {
    "test": "inputs = [[(3, 4), (4, 5)], [(1,), (2,)]]\nresults = [(4,), ()]\n"
    "for given, right in zip(inputs, results):\n    assert shared(*given) == right\n"
}
EVALPLUS = {
    "task_id": "HumanEval/900",
    "prompt": "def half(x: float) -> list:\n",
    "entry_point": "half",
    "canonical_solution": "    return [x / 2]\n",
    "base_input": [[3.0]],
    "plus_input": [[-1.0], [0.1]],
    "atol": 1e-6,
}
STDIN = {
    "question_content": "Add two numbers.",
    "question_id": "abc1_a",
    "platform": "atcoder",
    "starter_code": "",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "metadata": "{}",
}
METHOD = STDIN | {
    "question_id": "2727",
    "starter_code": "class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "1\n[2, 3]", "output": "6", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "add"}),
}


def packed(value: Any) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (MBPP, "MBPP"),
        (SANITIZED, "MBPP"),
        (MBPP_PLUS, "MBPP"),
        (EVALPLUS, "EvalPlus"),
        (STDIN, "LiveCodeBench"),
        ({"question": "?", "answer": "#### 1"}, "GSM8K"),
        ({"problem": "?", "solution": r"\boxed{1}", "level": "Level 1", "type": "Algebra"}, "MATH"),
        ({"prompt": "def f():", "test": "", "entry_point": "f", "canonical_solution": ""}, "HumanEval"),
    ],
)
def test_a_form_is_known_by_its_columns(row: dict[str, Any], name: str):
    form = form_of(row)
    assert form is not None
    assert form.name == name


def test_a_row_of_ours_is_left_as_it_is():
    row = {"prompt": "Q", "question": "?", "answer": "#### 1"}
    assert as_problem(row) == row


@pytest.mark.parametrize("row", [MBPP, SANITIZED, MBPP_PLUS], ids=["full", "sanitized", "plus"])
@pytest.mark.usefixtures("sandbox_works")
def test_mbpp_asks_by_a_docstring_and_tests_the_function_that_is_called(row: dict[str, Any]):
    problem = as_problem(row)
    assert problem["prompt"].startswith(f'"""\n{MBPP["text"]}\nassert set(shared(')
    assert problem["entry_point"] == "shared"
    wrong = "def shared(a, b):\n    return ()\n"
    verdicts = [
        PythonTests().judge(problem | {"completion": text}).verdict for text in (row["code"].replace("\r", ""), wrong)
    ]
    assert verdicts == ["pass", "fail"]


@pytest.mark.usefixtures("sandbox_works")
def test_inputs_of_evalplus_are_tested_against_the_reference_within_its_tolerance():
    problem = as_problem(EVALPLUS)
    answers = ["    return [x * 0.5 + 1e-9]\n", "    return [x / 2 + 1e-3]\n", "    return [abs(x) / 2]\n"]
    verdicts = [PythonTests().judge(problem | {"completion": answer}).verdict for answer in answers]
    assert verdicts == ["pass", "fail", "fail"]


def test_inputs_that_json_does_not_hold_are_refused():
    with pytest.raises(DataError, match="take evalplus/mbppplus of the hub"):
        as_problem(EVALPLUS | {"task_id": "Mbpp/2"})


@pytest.mark.parametrize("pack", [json.dumps, lambda cases: packed(json.dumps(cases))], ids=["JSON", "packed"])
def test_private_tests_are_read_as_json_and_packed(pack: Any):
    private = pack([{"input": "4 5\n", "output": "9\n", "testtype": "stdin"}])
    problem = as_problem(STDIN | {"private_test_cases": private})
    assert (problem["inputs"], problem["outputs"]) == (["1 2\n", "4 5\n"], ["3\n", "9\n"])
    assert problem["task_id"] == "abc1_a"
    assert "Add two numbers." in problem["prompt"][0]["content"]


def test_tests_of_a_method_become_calls():
    private = packed(json.dumps([{"input": '""\n[]', "output": "0", "testtype": "functional"}]))
    problem = as_problem(METHOD | {"private_test_cases": private})
    assert problem["entry_point"] == "Solution().add"
    assert "    assert candidate(1, [2, 3]) == 6\n    assert candidate('', []) == 0\n" in problem["test"]


@pytest.mark.usefixtures("sandbox_works")
def test_what_leetcode_imports_need_not_be_imported():
    row = as_problem(METHOD) | {"entry_point": "add", "test": "def check(f):\n    assert f([2, 2]) == {2: 2}\n"}
    chat = "```python\ndef add(b: List[int]) -> dict:\n    return dict(Counter(b))\n```"
    assert PythonTests().judge(row | {"completion": chat}).verdict == "pass"


class Ran:
    """What unpickling would run."""

    def __reduce__(self) -> Any:
        return Path("unpickled").touch, ()


@pytest.mark.parametrize("value", [Ran(), ["a text", Ran()], ["x"], b"bytes"])
def test_what_is_pickled_is_never_loaded(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="`private_test_cases` is neither JSON nor such text"):
        as_problem(STDIN | {"private_test_cases": packed(value)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "not base 64!", base64.b64encode(b"no zlib").decode(), packed("[")[:-8]])
def test_tests_that_cannot_be_read_are_one_line(text: str):
    row = STDIN | {"public_test_cases": text or "[,]"}
    with pytest.raises(DataError, match="`public_test_cases` is neither JSON nor such text"):
        as_problem(row)


def test_the_answer_of_gsm8k_is_what_stands_behind_its_mark():
    problem = as_problem({"question": "6 * 7?", "answer": "6 * 7 = 42\n#### 42"})
    assert (problem["prompt"], problem["answer"]) == ("6 * 7?", "42")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"first \boxed{1}, then $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"thus \boxed 5.", "5"),
        (r"so \fbox{\text{even}}", r"\text{even}"),
        (r"open \boxed{1", None),
        ("no box", None),
    ],
)
def test_the_answer_of_math_is_what_stands_in_the_last_box(solution: str, answer: str | None):
    assert as_problem({"problem": "?", "solution": solution})["answer"] == answer
    assert as_problem({"problem": "?", "solution": solution, "answer": "7"})["answer"] == "7"


@pytest.mark.parametrize(
    ("rows", "verifier", "verdicts"),
    [
        (
            [{"question": "6 * 7?", "answer": "so #### 42", "completion": text} for text in ("42", "41")],
            "numeric",
            "pf",
        ),
        ([{"problem": "?", "solution": r"\boxed{7}", "completion": r"\boxed{7}"}], "numeric", "p"),
        ([MBPP | {"completion": MBPP["code"].replace("\r", "")}], "python-tests", "p"),
    ],
    ids=["GSM8K", "MATH", "MBPP"],
)
@pytest.mark.usefixtures("sandbox_works")
def test_rows_of_a_known_form_are_labelled_as_they_are(
    rows: list[dict[str, Any]], verifier: str, verdicts: str, tmp_path: Path
):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "verify", "--verifier", verifier, "--input", str(source), "--output", str(out)]) == 0
    found = read_json_lines(out)
    assert "".join(row["verdict"][0] for row in found) == verdicts
    assert [{name: row[name] for name in rows[0]} for row in found] == rows


def test_a_row_of_big_code_bench_is_asked_with_what_is_to_be_completed():
    row = {"task_id": "BigCodeBench/0", "complete_prompt": "def task_func(x):\n", "instruct_prompt": "Write it."}
    row |= {"canonical_solution": "    return x\n", "test": "assert task_func(1) == 1\n", "entry_point": "task_func"}
    assert as_problem(row)["prompt"] == row["complete_prompt"]
    assert as_problem(row | {"prompt": row["instruct_prompt"]})["prompt"] == "Write it."
