"""Programs that read their input and print: each input by itself, compared by words, numbers or a checker."""

import json
from typing import Any

import pytest

from weighted_mtp.verifiers.stdin import StdinPrograms

pytestmark = pytest.mark.usefixtures("sandbox_works")

SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
TWO = {"inputs": ["1 2\n", "-3 3\n"], "outputs": ["3\n", "0\n"]}


@pytest.fixture(scope="module")
def verifier() -> StdinPrograms:
    return StdinPrograms(timeout=2)


def found(verifier: StdinPrograms, completion: str, **row: Any) -> tuple[str, float | None]:
    return verifier.judge({"prompt": "Add.", "completion": completion, **row})[:2]


def printed(verifier: StdinPrograms, output: str, expected: str, **row: Any) -> str:
    return found(verifier, f"print({output!r})", inputs=[""], outputs=[expected], **row)[0]


@pytest.mark.parametrize(
    "row",
    [
        TWO,
        {name: json.dumps(texts) for name, texts in TWO.items()},
        {"input_output": json.dumps(TWO)},
        {"input_output": TWO},
        {"input_output": {"inputs": [["1 2"]], "outputs": [["3", ""]]}},
        {"public_tests": {"input": ["1 2"], "output": ["3"]}, "private_tests": {"input": ["5 2"], "output": ["7"]}},
        {"public_test_cases": json.dumps([{"input": "1 2", "output": "3", "testtype": "stdin"}])},
    ],
    ids=["lists", "JSON", "APPS", "APPS read", "APPS in lines", "CodeContests", "LiveCodeBench"],
)
def test_inputs_and_outputs_are_read_in_the_forms_of_data_sets(verifier: StdinPrograms, row: dict[str, Any]):
    assert verifier.missing({"completion": SUM, **row}) is None
    assert found(verifier, SUM, **row) == ("pass", 1.0)
    assert found(verifier, SUM.replace("+", "-"), **row)[0] == "fail"


@pytest.mark.parametrize(
    "row",
    [
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": []},
        {"inputs": [1], "outputs": ["1"]},
        {"inputs": "no JSON", "outputs": "[]"},
        {},
        {"input_output": {}},
        {"public_tests": {"input": ["1"]}},
        {"public_tests": {"input": "1", "output": "1"}},
        {"inputs": [""], "outputs": ["1"], "checker": "def chec"},
        {"inputs": [""], "outputs": ["1"], "checker": "x = 1"},
        {"inputs": [""], "outputs": ["1"], "checker": 1},
        {**TWO, "canonical_solution": "print(3)"},
    ],
)
def test_a_row_that_cannot_be_checked_is_an_error(verifier: StdinPrograms, row: dict[str, Any]):
    assert found(verifier, "print(1)", **row) == ("error", None)


@pytest.mark.parametrize("column", ["inputs", "outputs", "checker", "input_output", "public_tests"])
@pytest.mark.parametrize(
    "value", [3, True, {"a": 1}, [3], [[]], [None], "3", "null", "[" * 99_999], ids=lambda v: str(v)[:9]
)
def test_a_column_of_another_type_is_an_error_with_a_reason(verifier: StdinPrograms, column: str, value: Any):
    row = {column: value} if column not in (*TWO, "checker") else {**TWO, column: value}
    verdict, _, reason = verifier.judge({"completion": SUM, **row})
    assert verdict == "error"
    assert reason


def test_inputs_without_outputs_are_an_error(verifier: StdinPrograms):
    assert found(verifier, SUM, inputs=["1 2"], outputs=None) == ("error", None)


@pytest.mark.parametrize(
    "row",
    [
        {"input_output": json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [1]})},
        {"public_test_cases": [{"input": "1", "output": "1", "testtype": "functional"}]},
    ],
    ids=["APPS", "LiveCodeBench"],
)
def test_a_row_that_calls_a_function_is_sent_to_python_tests(verifier: StdinPrograms, row: dict[str, Any]):
    verdict, _, reason = verifier.judge({"completion": SUM, **row})
    assert verdict == "error"
    assert "calls a function: python-tests" in str(reason)


@pytest.mark.parametrize(
    "program",
    [
        "import sys\ndef main():\n    print(sum(map(int, sys.stdin.read().split())))\n"
        "if __name__ == '__main__':\n    main()",
        "import sys\nsys.stdout.write(str(sum(map(int, sys.stdin.buffer.readline().split()))))\nsys.exit()",
        "print(sum(map(int, open(0).read().split())))",
        "import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())\nos._exit(0)",
        "import threading\nthreading.stack_size(1 << 26)\n"
        "threading.Thread(target=lambda: print(sum(map(int, input().split())))).start()",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int'\n"
        "print(P(sum(map(int, input().split()))).x)",
        "Here:\n```python\nprint(sum(map(int, input().split())))\n```\nIt adds.",
    ],
    ids=["main", "buffer", "open", "os", "thread", "dataclass", "fenced"],
)
def test_a_program_may_read_and_print_as_programs_do(verifier: StdinPrograms, program: str):
    assert found(verifier, program, **TWO) == ("pass", 1.0)


@pytest.mark.parametrize(
    ("program", "verdict", "share"),
    [
        ("input()\nprint(3)", "fail", 0.5),
        ("print(3", "fail", 0.0),
        (SUM + "raise SystemExit(1)", "fail", 0.0),
        ("a, b = map(int, input().split())\nprint(b // (a + 3) if a < 0 else 3)", "fail", 0.5),
        ("a, b = map(int, input().split())\nwhile a < 0: pass\nprint(a + b)", "timeout", 0.5),
        ("a, b = map(int, input().split())\nwhile a > 0: pass\nprint(a + b)", "timeout", 0.5),
        ("print('3' * (30 << 20))", "fail", 0.0),
    ],
    ids=["one wrong", "syntax", "status", "raises", "hangs", "hangs first", "prints much"],
)
def test_the_first_input_that_fails_decides_and_the_reward_is_the_share(
    verifier: StdinPrograms, program: str, verdict: str, share: float
):
    assert found(verifier, program, **TWO) == (verdict, share)


def test_after_three_inputs_that_take_too_long_the_others_are_not_tried():
    row = {"inputs": ["1"] + ["2"] * 9, "outputs": ["1"] * 10}
    program = "n = int(input())\nwhile n > 1: pass\nprint(n)"
    assert found(StdinPrograms(timeout=0.5), program, **row) == ("timeout", 0.1)


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        ("1  2\n3", "1 2 3\n", "pass"),
        ("1 2", "1 2 3", "fail"),
        ("YES", "yes", "fail"),
        ("0.333333333", "0.333333", "pass"),
        ("0.3334", "0.333333", "fail"),
        ("1e-7", "0.0", "pass"),
        ("1000000008", "1000000007", "fail"),
        ("3.0", "3", "pass"),
        ("3.0000001", "3", "fail"),
        ("3", "3.0", "pass"),
        ("nan", "0.5", "fail"),
        ("-0.5", "0.5", "fail"),
        ("", "", "pass"),
    ],
)
def test_words_are_compared_and_decimals_with_a_tolerance(
    verifier: StdinPrograms, output: str, expected: str, verdict: str
):
    assert printed(verifier, output, expected) == verdict


def test_a_checker_decides_instead(verifier: StdinPrograms):
    checker = "def check(input, output, expected):\n    return sorted(output.split()) == sorted(expected.split())\n"
    assert printed(verifier, "b a", "a b", checker=checker) == "pass"
    assert printed(verifier, "b", "a b", checker=checker) == "fail"
    assert printed(verifier, "b", "a b", checker="def check(i, o, e):\n    return int(o)\n") == "fail"
    assert (
        printed(verifier, "1", "x", checker="def check(i, o, e):\n    return i == '' and o == '1\\n' and e == 'x'\n")
        == "pass"
    )


# hostile programs

HOSTILE = {
    "expected answers": "import os\nfor fd in range(3, 64):\n    try: print(os.pread(fd, 99, 0))\n"
    "    except OSError: pass\n",
    "a kill": "import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)\n",
    "a daemon": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\nwhile os.fork(): pass\n",
    "descriptors": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'x' * 99)\n    except OSError: pass\n",
    "memory": "x = [0]\nwhile True: x = x * 2\n",
    "signals": "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: pass\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_trick_passes(verifier: StdinPrograms, what: str):
    assert found(verifier, HOSTILE[what], inputs=["1"], outputs=["SECRET"])[0] != "pass"
    assert found(verifier, SUM, **TWO) == ("pass", 1.0)


@pytest.mark.parametrize("leave", ["exit()", "quit()", "exit(0)", "raise SystemExit"])
def test_a_program_may_end_itself(verifier: StdinPrograms, leave: str):
    assert printed(verifier, "3", "3") == "pass"
    assert found(verifier, f"print(3)\n{leave}\nprint(4)", inputs=[""], outputs=["3"])[0] == "pass"


def test_a_checker_that_never_ends_is_a_timeout():
    endless = "def check(input, output, expected):\n    while True:\n        pass\n"
    assert printed(StdinPrograms(timeout=0.5), "3", "3", checker=endless) == "timeout"


def test_a_process_that_a_run_leaves_does_not_print_into_the_next(verifier: StdinPrograms):
    program = (
        "import os, time\nprint(input(), flush=True)\nif os.fork() == 0:\n    while True: print('late', flush=True)\n"
    )
    assert found(verifier, program, inputs=["1", "2", "3"], outputs=["1", "2", "3"])[1] in (0.0, 1 / 3, 2 / 3, 1.0)
    assert found(verifier, SUM, **TWO) == ("pass", 1.0)
