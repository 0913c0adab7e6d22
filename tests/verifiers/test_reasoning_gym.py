"""A task's own scorer decides, in the sandbox; answers that it would run are contained, and not rewarded."""

import select
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.verifiers.reasoning_gym_soundness import measure
from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.reasoning_gym import (
    ACCEPT_WRONG,
    EVALUATED,
    UNSOUND,
    WITHOUT_ANSWER,
    ReasoningGym,
    may_be_scored,
)
from weighted_mtp.verifiers.worker import LibraryError

pytestmark = pytest.mark.usefixtures("sandbox_works")


@pytest.fixture(scope="module")
def gym(sandbox_works: None, reasoning_gym: None) -> ReasoningGym:
    return ReasoningGym(timeout=2, workers=1)


def item(gym: ReasoningGym, task: str) -> dict[str, Any]:
    return gym.make(task, seed=7, size=10, first=0, count=1)[0]


def score(gym: ReasoningGym, answer: str, task: str = "n_queens") -> dict[str, Any]:
    """Of an answer that is not held back: n_queens evaluates it."""
    return next(gym.score_all([(answer, item(gym, task))]))


def test_the_own_answer_passes_in_tags_and_alone(gym: ReasoningGym):
    entry = item(gym, "leg_counting")
    right = entry["answer"]
    completions = [right, f" {right}\n", f"Six legs each.\n<answer>{right}</answer>", f"It is {right}.", ""]
    rows = [{"completion": completion, "entry": entry} for completion in completions]
    assert [found.verdict for found in gym.judge_all(rows)] == ["pass", "pass", "pass", "fail", "fail"]


def test_the_last_closed_answer_counts_and_thinking_does_not(gym: ReasoningGym):
    entry = item(gym, "leg_counting")
    right = entry["answer"]
    completions = [
        f"<answer>1</answer> no: <answer>{right}</answer>",
        f"<answer>{right}</answer> no: <answer>1</answer>",
        f"<think><answer>1</answer></think><answer>{right}</answer>",
        f"<think><answer>{right}</answer>",
        [{"role": "assistant", "content": f"<answer>{right}</answer>"}],
    ]
    rows = [{"completion": completion, "entry": entry} for completion in completions]
    assert [found.verdict for found in gym.judge_all(rows)] == ["pass", "fail", "pass", "fail", "pass"]


def test_a_partial_score_is_a_fail(gym: ReasoningGym):
    entry = item(gym, "word_sorting")
    first, *others = entry["answer"].split(", ")
    answer = ", ".join([first, *others[::-1]])
    assert 0 < next(gym.score_all([(answer, entry)]))["score"] < 1
    assert gym.check({"completion": answer, "entry": entry}) == "fail"


def test_a_scorer_that_raises_is_a_fail(gym: ReasoningGym):
    assert score(gym, "garbage", "prime_factorization") == {"raised": "ValueError"}
    assert gym.check({"completion": "garbage", "entry": item(gym, "prime_factorization")}) == "fail"


def test_an_item_whose_own_answer_does_not_pass_is_an_error(gym: ReasoningGym):
    entry = item(gym, "prime_factorization") | {"answer": "two times three"}
    assert gym.check({"completion": "2 × 3", "entry": entry}) == "error"


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "{",
        "[]",
        {"answer": "4"},
        {"answer": "4", "metadata": {"source_dataset": "no_such_task"}},
        {"answer": 4, "metadata": {"source_dataset": "leg_counting"}},
        {"answer": "4", "metadata": {"source_dataset": "rearc"}},
        {"answer": {4}, "metadata": {}},
    ],
    ids=str,
)
def test_what_is_no_item_is_an_error(gym: ReasoningGym, entry: Any):
    assert gym.check({"completion": "5", "entry": entry}) == "error"


def test_an_unsound_scorer_gives_no_verdict(gym: ReasoningGym):
    assert gym.check({"completion": "garbage", "entry": item(gym, "game_of_life_halting")}) == "error"


def test_a_bad_row_does_not_touch_its_neighbours(gym: ReasoningGym):
    entry = item(gym, "leg_counting")
    good = {"completion": entry["answer"], "entry": entry}
    bad = {"completion": "1", "entry": {"answer": "1", "metadata": {"source_dataset": "rearc", "output": 3}}}
    assert [found.verdict for found in gym.judge_all([good, bad, good, {}, good])] == [
        "pass",
        "error",
        "pass",
        "error",
        "pass",
    ]


@pytest.mark.parametrize("task", sorted(EVALUATED))
def test_answers_that_are_evaluated_may_be_right_and_hold_no_code(gym: ReasoningGym, task: str):
    for entry in gym.make(task, seed=1, size=40, first=0, count=40):
        assert may_be_scored(task, entry["answer"]) or "Integral" in entry["answer"], entry["answer"]
    code = (
        "__import__('os')",
        "exec(x)",
        "().__class__",
        "x.n",
        "x . n",
        "lambda: 0",
        "[1]",
        "x" * 3000,
        "\N{DIGIT ONE}\u0660",
    )
    assert [answer for answer in code if may_be_scored(task, answer)] == []


def test_the_question_is_no_answer_to_an_integral(gym: ReasoningGym):
    entry = item(gym, "simple_integration")
    integrand, variable = entry["metadata"]["integrand"], entry["metadata"]["variable"]
    restated = f"Integral({integrand}, {variable})"
    assert next(gym.score_all([(restated, entry)])) == {"score": 1.0}
    assert gym.check({"completion": restated, "entry": entry}) == "fail"


def test_code_that_is_refused_never_runs(gym: ReasoningGym):
    slow = "__import__('time').sleep(60)"
    began = time.monotonic()
    assert gym.check({"completion": slow, "entry": item(gym, "n_queens")}) == "fail"
    assert time.monotonic() - began < 2


def test_code_that_ends_its_process_gets_no_score(gym: ReasoningGym):
    assert score(gym, "__import__('os')._exit(0)") == {"raised": "no result"}


def test_code_reaches_no_file_and_no_network(gym: ReasoningGym, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        score(gym, f"__import__('socket').create_connection(('127.0.0.1', {port}), 1)")
        assert select.select([server], [], [], 0)[0] == []
    score(gym, f"open({str(tmp_path / 'mark')!r}, 'w').write('x')")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "attempt",
    [
        "__import__('os').fork() + 1",
        "open('/proc/%d/mem' % __import__('os').getppid(), 'r+b')",
        "__import__('os').listdir('/proc/%d/fd' % __import__('os').getppid())",
        "open('/tmp/mark', 'w').write('x') + open('/tmp/mark', 'w').flush()",
        "__import__('os').write(3, b'x')",
        "__import__('resource').setrlimit(__import__('resource').RLIMIT_NPROC, (9, 9)) or 1",
    ],
)
def test_code_cannot_get_at_the_process_that_scores_others(gym: ReasoningGym, attempt: str):
    """The attempt raises, so that the code behind it, which would end the process, is not reached."""
    assert score(gym, f"({attempt}) and __import__('os')._exit(0)") == {"score": 0.0}


def test_code_that_kills_the_scoring_process_changes_no_later_verdict(gym: ReasoningGym):
    with pytest.raises(LibraryError, match="no reply"):
        score(gym, "__import__('os').kill(__import__('os').getppid(), 9)")
    entry = item(gym, "leg_counting")
    assert gym.check({"completion": entry["answer"], "entry": entry}) == "pass"
    assert gym.check({"completion": "no", "entry": entry}) == "fail"


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("countdown", "9**9**9**9"),
        ("countdown", "(" * 1900),
        ("simple_integration", "x**" * 600 + "x"),
        ("jugs", "[" * 90_000),
        ("jugs", "9" * 90_000),
        ("tower_of_hanoi", "Move disk 1 from Peg 1 to Peg 2\n" * 3_000),
        ("leg_counting", "9" * 5_000_000),
        ("leg_counting", "\ud800"),
        ("word_ladder", "<answer>" * 50_000),
    ],
    ids=lambda text: text[:12],
)
def test_answers_that_are_hard_to_read_do_not_pass(gym: ReasoningGym, task: str, answer: str):
    entry = item(gym, task)
    good = {"completion": entry["answer"], "entry": entry}
    bad, after = (found.verdict for found in gym.judge_all([{"completion": answer, "entry": entry}, good]))
    assert bad in ("fail", "timeout")
    assert after == "pass"


def test_an_answer_that_hangs_is_a_timeout_and_the_next_one_is_scored(gym: ReasoningGym):
    hanging, right = "__import__('time').sleep(60)", item(gym, "n_queens")["answer"]
    entry = item(gym, "n_queens")
    results = list(gym.score_all([(right, entry), (hanging, entry), (right, entry)]))
    assert results == [{"score": 1.0}, {"timeout": True}, {"score": 1.0}]


def test_a_timeout_that_is_not_positive_is_refused():
    with pytest.raises(VerifierError, match="timeout is 0"):
        ReasoningGym(timeout=0)


@pytest.mark.slow
def test_the_tasks_that_are_refused_are_those_that_need_it(gym: ReasoningGym):
    found = [measure(gym, task, seed=0, items=3) for task in gym.tasks]
    assert {each.task: each.accepted for each in found if each.accepted}.keys() == ACCEPT_WRONG.keys()
    assert {each.task for each in found if not each.accepts_right} == WITHOUT_ANSWER.keys()
    assert UNSOUND.keys() <= set(gym.tasks)
