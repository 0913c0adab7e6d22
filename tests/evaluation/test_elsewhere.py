"""`wmtp evaluate --samples FILE`: completions made elsewhere are judged as if they were made here, without a model."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import weighted_mtp as wm
from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError
from weighted_mtp.evaluation.evaluate import evaluate
from weighted_mtp.evaluation.problems import EvaluationConfig
from weighted_mtp.training.errors import ConfigError

PROBLEMS = [{"task_id": f"sum/{n}", "prompt": f"{n} + 1 =", "answer": str(n + 1)} for n in range(4)]
RIGHT_OF = [2, 1, 0, 2]  # of two samples
ROWS = [
    {"task_id": f"sum/{n}", "completion": str(n + 1 if sample < right else 0)}
    for n, right in enumerate(RIGHT_OF)
    for sample in range(2)
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[dict[str, Any], str]:
    """Results and what was printed."""
    given = {
        "problems": write(tmp_path / "problems.jsonl", PROBLEMS),
        "verifier": "numeric",
        "out": str(tmp_path / "o"),
    }
    config = EvaluationConfig(**(given | {"samples": write(tmp_path / "rows.jsonl", rows)} | settings))
    printed = io.StringIO()
    return evaluate(config, Console(file=printed, width=100)), printed.getvalue()


def test_completions_in_the_form_of_humaneval_have_pass_at_k_and_an_interval(tmp_path: Path):
    results, printed = run(tmp_path, ROWS, k=[1, 2])
    assert [row["c"] for row in results["problems"]] == RIGHT_OF
    assert results["pass_at_k"]["1"]["mean"] == pytest.approx(5 / 8)
    assert results["pass_at_k"]["2"]["mean"] == pytest.approx(3 / 4)
    assert results["exact_match"] is None
    assert "pass@1, sampled  62.5" in printed
    assert "exact match" not in printed
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "completions.jsonl", "samples.jsonl", "results.json", "settings.json"
    }  # fmt: skip


@pytest.mark.parametrize(
    "rows",
    [
        [{"problem": n, "completions": [row["completion"] for row in ROWS[2 * n : 2 * n + 2]]} for n in range(4)],
        [{"prompt": PROBLEMS[i // 2]["prompt"], "completion": row["completion"]} for i, row in enumerate(ROWS)],
        [row | {"completion": [{"role": "assistant", "content": row["completion"]}]} for row in ROWS],
        [row | {"completion": f"<think>7?</think>{row['completion']}"} for row in reversed(ROWS)],
    ],
    ids=["numbers and lists", "prompts", "messages", "any order"],
)
def test_rows_may_name_their_problem_and_hold_their_completions_in_other_ways(tmp_path: Path, rows: Any):
    results, _ = run(tmp_path, rows)
    assert [row["c"] for row in results["problems"]] == RIGHT_OF


@pytest.mark.parametrize("cut", [{"truncated": True}, {"ended": "length"}])
def test_a_completion_that_was_cut_off_fails_unread_as_in_sampling(tmp_path: Path, cut: dict[str, Any]):
    """Half a number is another number."""
    results, printed = run(tmp_path, [ROWS[0] | cut, *ROWS[1:]])
    assert [row["c"] for row in results["problems"]] == [1, *RIGHT_OF[1:]]
    assert "1 of 8 completions were cut off" in printed


def test_what_a_problem_says_of_a_completion_of_its_own_is_not_of_others(tmp_path: Path):
    problems = [row | {"completion": "7", "truncated": True} for row in PROBLEMS]
    results, _ = run(tmp_path, ROWS, problems=write(tmp_path / "own.jsonl", problems))
    assert [row["c"] for row in results["problems"]] == RIGHT_OF


def test_an_older_verdict_on_what_was_cut_off_is_not_mixed_with_new_ones(tmp_path: Path):
    rows = [ROWS[0] | {"ended": "length"}, *ROWS[1:]]
    run(tmp_path, rows)
    samples = tmp_path / "o" / "samples.jsonl"
    new = samples.read_bytes()
    samples.write_bytes(new.replace(b'"fail"', b'"pass"', 1))
    with pytest.raises(DataError, match=r"samples\.jsonl:1: was cut off, .* verdict is pass, .* remove this file"):
        run(tmp_path, rows)
    samples.unlink()
    run(tmp_path, rows)
    assert samples.read_bytes() == new


def test_our_own_samples_give_our_own_numbers(tmp_path: Path):
    greedy = [{"problem": n, "kind": "greedy", "completion": str(n + n % 2), "ended": "eos"} for n in range(4)]
    first, _ = run(tmp_path, [*greedy, *ROWS])
    assert first["exact_match"]["mean"] == 0.5
    config = EvaluationConfig(
        str(tmp_path / "problems.jsonl"), "numeric", str(tmp_path / "p"), samples=str(tmp_path / "o" / "samples.jsonl")
    )
    second = evaluate(config, Console(file=io.StringIO()))
    assert (tmp_path / "p" / "samples.jsonl").read_bytes() == (tmp_path / "o" / "samples.jsonl").read_bytes()
    for name in ("exact_match", "pass_at_k", "verdicts", "problems"):
        assert second[name] == first[name]


def test_an_interrupted_check_is_gone_on_with(tmp_path: Path):
    run(tmp_path, ROWS)
    path = tmp_path / "o" / "samples.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    run(tmp_path, ROWS)
    assert path.read_bytes() == whole


def test_other_completions_in_the_same_folder_are_refused(tmp_path: Path):
    run(tmp_path, ROWS)
    with pytest.raises(ConfigError, match="holds an evaluation with other completions made elsewhere"):
        run(tmp_path, [row | {"completion": "3"} for row in ROWS])


def test_another_verifier_in_the_same_folder_is_refused(tmp_path: Path):
    run(tmp_path, ROWS)
    with pytest.raises(ConfigError, match="holds an evaluation with verifier 'numeric' and not 'exact'"):
        run(tmp_path, ROWS, verifier="exact")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"task_id": "sum/9", "completion": "1"}], r"row 1: no problem has its `task_id`, 'sum/9'"),
        ([{"completion": "1"}], r"row 1 names no problem: `problem` \(its number\), `task_id` or `prompt` is needed"),
        ([{"task_id": "sum/0"}], r"row 1: `completion`, text or messages, or `completions`"),
        ([{"task_id": "sum/0", "completions": []}], r"row 1: `completion`, text or messages, or `completions`"),
        (ROWS[:6], r"no completion of problem 3 \(1 of 4 have none\)"),
        ([*ROWS, ROWS[0] | {"kind": "greedy"}], "greedy completions are of 1 of 4 problems"),
        ([row | {"kind": "greedy"} for row in ROWS], "a problem has 2 greedy completions"),
    ],
)
def test_rows_that_do_not_fit_the_problems_are_one_line(tmp_path: Path, rows: Any, message: str):
    with pytest.raises(DataError, match=message):
        run(tmp_path, rows)


def test_a_name_of_two_problems_is_refused(tmp_path: Path):
    problems = write(tmp_path / "twice.jsonl", [PROBLEMS[0], PROBLEMS[0]])
    with pytest.raises(DataError, match="row 1: 2 problems have its `task_id`, 'sum/0': name it by `problem`"):
        run(tmp_path, ROWS, problems=problems)


def test_rows_of_problems_that_are_not_asked_are_told(tmp_path: Path):
    results, printed = run(tmp_path, ROWS, limit=2)
    assert [row["c"] for row in results["problems"]] == RIGHT_OF[:2]
    assert "4 rows are of problems that are not asked, and are left out" in printed


def test_a_k_that_the_samples_do_not_allow_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="k is 3 and samples 2"):
        run(tmp_path, ROWS, k=[3])


@pytest.mark.parametrize(
    "setting",
    [{"model": "m"}, {"temperature": 0.7}, {"max_new_tokens": 5}, {"chat": True}, {"stop": ["x"]}, {"seed": 1}],
)
def test_settings_of_a_model_are_refused_beside_a_file(tmp_path: Path, setting: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"nothing is generated, so leave {next(iter(setting))} out"):
        run(tmp_path, ROWS, **setting)


def test_without_a_model_and_without_a_file_one_is_asked_for(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"needed is MODEL, or completions made elsewhere: --samples FILE.jsonl"):
        EvaluationConfig("p", "exact", "o")


def test_the_command_and_python_take_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, _ = run(tmp_path, ROWS)
    words = ["--problems", str(tmp_path / "problems.jsonl"), "--verifier", "numeric", "--out", str(tmp_path / "o2")]
    assert main(["evaluate", *words, "--samples", str(tmp_path / "rows.jsonl")]) == 0
    assert "pass@1, sampled" in capsys.readouterr().out
    results = wm.evaluate(None, PROBLEMS, "numeric", samples=str(tmp_path / "rows.jsonl"), quiet=True)
    assert results["pass_at_k"] == first["pass_at_k"]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--problems", write(tmp_path / "p.jsonl", PROBLEMS), "--verifier", "numeric", "--out", str(tmp_path / "o")]
    assert main(["evaluate", *words, "--samples", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err


GSM8K = Path(__file__).parents[3] / "shared/data/gsm8k"


@pytest.mark.skipif(not GSM8K.is_dir(), reason="needs ../shared/data/gsm8k")
def test_solutions_of_gsm8k_are_judged_as_their_authors_did(tmp_path: Path):
    solutions = read(GSM8K / "model_solutions.jsonl")
    kinds = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    rows = [{"problem": i, "completions": [row[kind]["solution"] for kind in kinds]} for i, row in enumerate(solutions)]
    results, _ = run(tmp_path, rows, problems=str(GSM8K / "test.jsonl"))
    right = [sum(row[kind]["is_correct"] for kind in kinds) for row in solutions]
    assert [row["c"] for row in results["problems"]] == right


CODE = [
    {"prompt": "def two():\n", "test": "def check(f):\n    assert f() == 2\n", "entry_point": "two"},
    {"prompt": [{"role": "user", "content": "Write one()."}], "test": "assert one() == 1\n", "entry_point": "one"},
]


@pytest.mark.usefixtures("sandbox_works")
def test_programs_of_a_chat_are_judged(tmp_path: Path):
    rows = [
        {"problem": 0, "completions": ["    return 2\n", "    return 3\n"]},
        {"problem": 1, "completions": ["def one():\n    return 1\n", "def one():\n    return 2\n"]},
    ]
    results, _ = run(tmp_path, rows, problems=write(tmp_path / "code.jsonl", CODE), verifier="python-tests")
    assert [row["c"] for row in results["problems"]] == [1, 1]
