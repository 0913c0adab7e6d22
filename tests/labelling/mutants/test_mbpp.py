import ast
from typing import Any

import pytest

from weighted_mtp.labelling.mutants.mbpp import from_mbpp, is_mbpp
from weighted_mtp.labelling.mutants.source_code import SourceError

# Rows in the published form, of the full version (CRLF, test_setup_code) and of the sanitized one.
FULL = {
    "text": "Write a function to find the smallest multiple of a number above another.",
    "code": "import math\r\ndef next_multiple(n, k) :\r\n  q = math.floor(n / k)\r\n  return (q + 1) * k",
    "task_id": 901,
    "test_setup_code": "",
    "test_list": ["assert next_multiple(7, 3) == 9", "assert next_multiple(9, 3) == 12"],
    "challenge_test_list": [],
}
SANITIZED = {
    "source_file": "made.ipynb",
    "task_id": 902,
    "prompt": "Write a python function to count vowels.",
    "code": "VOWELS = set('aeiou')\n\n\ndef is_vowel(c):\n    return c in VOWELS\n\n\ndef count_vowels(s):\n"
    "    return sum(map(is_vowel, s))\n\nprint(count_vowels('a'))\n",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(count_vowels('corner'), 2)"],
}


def run(row: dict[str, Any]) -> None:
    """The reference and its test, as HumanEval's form has them run."""
    space: dict[str, Any] = {}
    exec(row["prompt"] + row["canonical_solution"] + "\n" + row["test"], space)
    space["check"](space[row["entry_point"]])


def docstring(row: dict[str, Any]) -> str:
    [*_, function] = ast.parse(row["prompt"]).body
    assert isinstance(function, ast.FunctionDef)
    return (ast.get_docstring(function) or "").strip()


def test_a_row_of_the_full_version_comes_out_in_humanevals_form():
    assert from_mbpp(FULL) == {
        "task_id": "MBPP/901",
        "prompt": "import math\n\ndef next_multiple(n, k) :\n"
        '  """Write a function to find the smallest multiple of a number above another.\n  """\n',
        "canonical_solution": "  q = math.floor(n / k)\n  return (q + 1) * k\n",
        "test": "\ndef check(candidate):\n    assert next_multiple(7, 3) == 9\n    assert next_multiple(9, 3) == 12\n",
        "entry_point": "next_multiple",
    }


def test_a_row_of_the_sanitized_version_comes_out_in_humanevals_form():
    assert from_mbpp(SANITIZED) == {
        "task_id": "MBPP/902",
        "prompt": "VOWELS = set('aeiou')\n\ndef is_vowel(c):\n    return c in VOWELS\n\ndef count_vowels(s):\n"
        '    """Write a python function to count vowels.\n    """\n',
        "canonical_solution": "    return sum(map(is_vowel, s))\n",
        "test": "import math\n\ndef check(candidate):\n    assert math.isclose(count_vowels('corner'), 2)\n",
        "entry_point": "count_vowels",
    }


@pytest.mark.parametrize("row", [FULL, SANITIZED])
def test_what_comes_out_runs_and_passes(row: dict[str, Any]):
    assert is_mbpp(row)
    run(from_mbpp(row))


@pytest.mark.parametrize(
    "code",
    [
        "def f(x): return x + 1",
        "def f(x):  # adds: one\n    # to x\n    return x + 1",
        "def f(x, y={'a': 1}) -> 'dict[str:int]':\n\n\treturn x + 1",
        "def f(x,\n      y=lambda: 0):\n    return x + 1",
        "from functools import lru_cache\n@lru_cache(maxsize={0: None}[0])\ndef f(x):\n  return x + 1",
        "def f(x):\n    return 0\ndef f(x):\n    return g(x)\ndef g(x):\n    return x + 1",
        "class A:\n    def f(self): pass\ndef f(x):\n    def g(y):\n        return y\n    return g(x) + 1",
    ],
)
def test_a_function_may_be_laid_out_in_many_ways(code: str):
    row = from_mbpp(SANITIZED | {"code": code, "test_list": ["assert f(1) == 2"], "test_imports": []})
    assert row["entry_point"] == "f"
    assert docstring(row) == SANITIZED["prompt"]
    run(row)


@pytest.mark.parametrize("text", ['Says """no""".', 'Ends with "', "Has a \\ and \\n.", "두 줄\nlines"])
def test_any_text_can_be_the_docstring(text: str):
    row = from_mbpp(FULL | {"text": text})
    assert docstring(row) == text
    run(row)


def test_setup_code_comes_before_the_check():
    row = from_mbpp(FULL | {"test_setup_code": "LIMIT = 9", "test_list": ["assert next_multiple(7, 3) == LIMIT"]})
    assert row["test"].startswith("LIMIT = 9\n")
    run(row)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": None}, "no `prompt`"),
        ({"code": 3}, "no `code`"),
        ({"code": "def f(:"}, "code does not compile"),
        ({"code": "next_multiple = max"}, "the tests call no top-level function"),
        ({"test_list": []}, "`test_list` is empty"),
        ({"test_list": "assert True"}, "`test_list` must be a list of texts"),
        ({"test_list": ["assert"]}, "a test does not compile"),
        ({"test_list": ["assert other(1)"]}, "the tests call no top-level function"),
    ],
)
def test_a_row_that_cannot_be_converted_says_why(change: dict[str, Any], reason: str):
    with pytest.raises(SourceError, match=reason):
        from_mbpp(FULL | change)
