"""`wmtp data verify`: rows keep their order, a second call goes on, a mistake is one line."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError, load_rows
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.engine.settings import EngineSettings
from weighted_mtp.labelling.verify import label_file
from weighted_mtp.verifiers.base import VERDICTS, Judgement, Verdict, Verifier, VerifierError
from weighted_mtp.verifiers.python_tests import PythonTests


class Even(Verifier):
    """A verifier that says which rows it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def check(self, row: Mapping[str, Any]) -> Verdict:
        self.seen.append(row["number"])
        return "pass" if row["number"] % 2 == 0 else "fail"


class Stopped(Even):
    """One that is interrupted after three rows."""

    def judge_all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Judgement]:
        for count, row in enumerate(rows):
            if count == 3:
                raise KeyboardInterrupt
            yield self.judge(row)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    rows = [{"prompt": "p", "completion": "c", "number": n, "extra": {"kept": [n]}} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_row_comes_back_in_order_with_label_and_verdict(source: Path, tmp_path: Path):
    counts = label_file(source, tmp_path / "out.jsonl", Even()).verdicts
    assert counts == {"pass": 4, "fail": 4}
    rows, labelled = read_json_lines(source), read_json_lines(tmp_path / "out.jsonl")
    for row, found in zip(rows, labelled, strict=True):
        right = row["number"] % 2 == 0
        verification = {"version": version("weighted-mtp"), "timeout": None, "seed": None}
        verdict = {
            "verdict": "pass" if right else "fail",
            "verified_by": f"{__name__}:Even",
            "verification": verification,
        }
        assert found == row | verdict | {"label": right}
    assert len(load_rows(tmp_path / "out.jsonl")[0]) == 8  # as training reads them


def test_an_interrupted_call_is_gone_on_with(source: Path, tmp_path: Path):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    label_file(source, whole, Even())
    Stopped.__name__ = "Even"  # which it is, but for Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        label_file(source, out, Stopped())
    assert len(read_json_lines(out)) == 3
    again = Even()
    assert label_file(source, out, again).verdicts == {"pass": 4, "fail": 4}
    assert again.seen == [3, 4, 5, 6, 7]
    assert out.read_bytes() == whole.read_bytes()


def test_a_finished_file_is_not_judged_again(source: Path, tmp_path: Path):
    source.write_text(source.read_text().replace('"number": 2', '"number": 2, "nan": NaN'))
    label_file(source, tmp_path / "out.jsonl", Even())
    again = Even()
    assert label_file(source, tmp_path / "out.jsonl", again).verdicts == {"pass": 4, "fail": 4}
    assert again.seen == []


def test_labels_that_came_with_the_rows_are_replaced(source: Path, tmp_path: Path):
    rows = [row | {"label": True, "verdict": "mine"} for row in read_json_lines(source)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    label_file(source, tmp_path / "out.jsonl", Even())
    assert [row["label"] for row in read_json_lines(tmp_path / "out.jsonl")] == [True, False] * 4


def test_an_output_of_other_rows_is_left_alone(source: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    label_file(source, out, Even())
    before = out.read_bytes()
    source.write_text(source.read_text().replace('"number": 2', '"number": 9'))
    with pytest.raises(DataError, match=r"out.jsonl:3: is not row 3 of .*give another output"):
        label_file(source, out, Even())
    assert out.read_bytes() == before


def test_an_output_of_another_verifier_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"prompt": "p", "completion": "2", "answer": "2.0"}\n' * 2)
    words = ["data", "verify", "--input", str(source), "--output", str(out), "--verifier"]
    assert main([*words, "exact"]) == 0
    before = out.read_bytes()
    assert main([*words, "numeric"]) == 2
    assert "was verified with verifier 'exact', and this is verifier 'numeric'" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--timeout": "3"}, "out.jsonl:1: was verified with timeout 4.0, and this is timeout 3.0"),
        ({"--seed": "7"}, "out.jsonl:1: was verified with seed 0, and this is seed 7"),
        ({"--seed": "7", "--timeout": "3"}, "with timeout 4.0, seed 0, and this is timeout 3.0, seed 7"),
    ],
)
@pytest.mark.usefixtures("sandbox_works")
def test_an_output_under_another_limit_or_seed_is_left_alone(
    human_eval_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], message: str
):
    out = tmp_path / "out.jsonl"
    flags = {"--verifier": "python-tests", "--input": str(human_eval_file), "--output": str(out), "--timeout": "4"}
    human_eval_file.write_text(json.dumps(HUMAN_EVAL_ROWS[0]) + "\n")
    assert main(["data", "verify", *(word for pair in flags.items() for word in pair)]) == 0
    before = out.read_bytes()
    assert main(["data", "verify", *(word for pair in (flags | change).items() for word in pair)]) == 2
    assert message in capsys.readouterr().err
    assert out.read_bytes() == before


def test_an_output_of_a_version_that_kept_no_trail_is_told_apart(source: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    label_file(source, out, Even())
    rows = [row | {"verified_by": "Even (5 s)"} for row in read_json_lines(out)]
    out.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "verification"}) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"out.jsonl:1: was verified by Even \(5 s\), by a version that kept no `verif"):
        label_file(source, out, Even())


class Reasons(Verifier):
    """A verifier that says why."""

    def check(self, row: Mapping[str, Any]) -> Judgement:
        return [Judgement("pass"), Judgement("fail", 0.5, "an assertion fails"), Judgement("error", reason="no test")][
            row["number"] % 3
        ]


def test_reasons_are_counted_and_the_share_of_tests_is_kept(source: Path, tmp_path: Path):
    found = label_file(source, tmp_path / "out.jsonl", Reasons())
    assert found.summary(Path("out")).splitlines()[1:3] == ["  fail: 3 an assertion fails", "  error: 2 no test"]
    rows = read_json_lines(tmp_path / "out.jsonl")
    assert [(row["label"], row.get("reward")) for row in rows[:3]] == [(True, None), (False, 0.5), (None, None)]
    kept, report = load_rows(tmp_path / "out.jsonl")
    assert ({row.get("reward") for row in kept}, report.set_aside, report.unjudged) == ({None}, 3, 2)


class Raises(Verifier):
    """A verifier with a mistake, and how many rows it spares."""

    def __init__(self, spared: int = 0) -> None:
        self.spared = spared

    def check(self, row: Mapping[str, Any]) -> Verdict:
        return "pass" if row["number"] < self.spared else VERDICTS[int(f"word {row['number']}")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_verifier_that_raises_on_every_row_is_one_error_and_the_rows_are_kept(
    source: Path, tmp_path: Path, workers: int
):
    out, engine = tmp_path / "out.jsonl", EngineSettings(workers=workers)
    said = r"each of 8 rows .* its check raised ValueError in test_verify\.py, line \d+: invalid literal .* mend the"
    with pytest.raises(VerifierError, match=said):
        label_file(source, out, Raises(), engine=engine)
    assert [row["verdict"] for row in read_json_lines(out)] == ["error"] * 8


def test_a_verifier_that_raises_on_some_rows_judges_the_others(source: Path, tmp_path: Path):
    assert label_file(source, tmp_path / "out.jsonl", Raises(spared=1)).verdicts == {"pass": 1, "error": 7}


class Wordy(Verifier):
    """A verifier whose reasons are long."""

    def check(self, row: Mapping[str, Any]) -> Judgement:
        return Judgement("fail", reason=f"{row['number']}" + " long" * 20_000)


def test_a_long_reason_is_stored_whole_and_shown_in_brief(source: Path, tmp_path: Path):
    shown = label_file(source, tmp_path / "out.jsonl", Wordy()).summary(Path("out"))
    assert len(shown) < 2_000
    assert {len(row["verdict_reason"]) for row in read_json_lines(tmp_path / "out.jsonl")} == {100_001}


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["data", "verify", "--verifier", "exact", "--input", str(tmp_path), "--output", str(tmp_path / "o.jsonl")]
    assert main(words) == 2
    assert "is a folder; name the .jsonl file in it" in capsys.readouterr().err


def test_a_seed_where_nothing_is_drawn_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["data", "verify", "--verifier", "exact", "--input", str(source), "--output", str(tmp_path / "o.jsonl")]
    assert main([*words, "--seed", "1"]) == 2
    assert "seed is 1, and the verifier exact takes none: leave it out" in capsys.readouterr().err


DRAWS = {
    "prompt": "import random\ndef draw():\n",
    "completion": "    return random.random(), list({'a', 'b', 'c', 'd', 'e', 'f'})\n",
    "entry_point": "draw",
}


@pytest.mark.usefixtures("sandbox_works")
def test_the_seed_is_what_programs_draw_from():
    code = "import random; random.seed(3); print(repr((random.random(), list({'a', 'b', 'c', 'd', 'e', 'f'}))))"
    drawn = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "3"}, capture_output=True, text=True, check=True
    ).stdout
    row = DRAWS | {"test": f"def check(candidate):\n    assert candidate() == {drawn}"}
    assert [PythonTests(seed=seed).judge(row).verdict for seed in (3, 3, 0)] == ["pass", "pass", "fail"]


def test_an_output_longer_than_the_input_is_left_alone(source: Path, tmp_path: Path):
    label_file(source, tmp_path / "out.jsonl", Even())
    source.write_text("".join(source.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(DataError, match=r"out.jsonl:5: is not row 5"):
        label_file(source, tmp_path / "out.jsonl", Even())


def test_the_input_is_never_the_output(source: Path):
    with pytest.raises(DataError, match="is the input too"):
        label_file(source, source, Even())


# the command


HUMAN_EVAL_ROWS = [
    {
        "task_id": "add",
        "prompt": "def add(a, b):\n",
        "completion": completion,
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
        "entry_point": "add",
    }
    for completion in ("    return a + b\n", "    return a - b\n", "    while True: pass\n")
]


@pytest.fixture
def human_eval_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [*HUMAN_EVAL_ROWS, {k: v for k, v in HUMAN_EVAL_ROWS[0].items() if k != "test"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.usefixtures("sandbox_works")
def test_the_command_labels_python_by_its_tests(
    human_eval_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out.jsonl"
    words = ["data", "verify", "--verifier", "python-tests", "--input", str(human_eval_file)]
    words += ["--output", str(out), "--timeout", "4"]
    assert main(words) == 0
    rows = read_json_lines(out)
    assert [row["verdict"] for row in rows] == ["pass", "fail", "timeout", "error"]
    assert [row["label"] for row in rows] == [True, False, False, None]
    printed = capsys.readouterr().out
    assert "4 rows, test-verified: 1 pass, 1 fail, 1 timeout, 1 error" in printed
    assert "1 rows have label null (verdict error: the check could not be made)" in printed
    kept, report = load_rows(out)  # as training reads them
    assert ([row["verdict"] for row in kept], report.unjudged) == (["pass", "fail", "timeout"], 1)
    assert main(words) == 0  # nothing left to do


@pytest.mark.usefixtures("sandbox_works")
def test_a_killed_command_is_gone_on_with(tmp_path: Path):
    """The real thing: SIGKILL in the middle, then the same command, equals one that was left alone."""
    source, out, whole = tmp_path / "rows.jsonl", tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    rows = [row | {"number": n} for n in range(20) for row in HUMAN_EVAL_ROWS[:2]]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "weighted_mtp.cli", "data", "verify", "--verifier", "python-tests"]
    command += ["--input", str(source), "--output"]
    process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not out.exists() or out.stat().st_size < 1000:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)  # gives the core to what is waited for
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(out.read_text().splitlines()) < len(rows)
    assert main([*command[3:], str(out)]) == 0
    label_file(source, whole, PythonTests())
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--verifier": "python-test"}, "did you mean python-tests?"),
        ({"--input": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
        ({"--timeout": "0"}, "number of seconds above 0"),
        ({"--tiemout": "1"}, "did you mean timeout?"),
    ],
)
@pytest.mark.usefixtures("sandbox_works")
def test_a_mistake_is_one_line(
    change: dict[str, str], message: str, human_eval_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    flags = {"--verifier": "python-tests", "--input": str(human_eval_file), "--output": str(tmp_path / "o.jsonl")}
    words = [word for pair in (flags | change).items() for word in pair]
    assert main(["data", "verify", *words]) == 2
    captured = capsys.readouterr().err.strip()
    assert message in captured
    assert len(captured.splitlines()) == 1
    assert not (tmp_path / "o.jsonl").exists()


def test_a_file_without_the_verifiers_columns_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "completion": "c"}\n')
    words = ["data", "verify", "--verifier", "exact", "--input", str(path), "--output", str(tmp_path / "o.jsonl")]
    assert main(words) == 2
    assert "no row has `answer`; this verifier needs completion, answer" in capsys.readouterr().err


def test_without_bubblewrap_nothing_runs(
    human_eval_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["--verifier", "python-tests", "--input", str(human_eval_file), "--output", str(tmp_path / "o.jsonl")]
    assert main(["data", "verify", *words]) == 2
    assert "apt-get install bubblewrap" in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl").exists()


class Three(Verifier):
    """A verifier that reads the completion."""

    def check(self, row: Mapping[str, Any]) -> Verdict:
        return "pass" if row["completion"] == "3" else "fail"


TURNS = [
    {"role": "user", "content": "1?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "1+2?"},
    {"role": "assistant", "content": "3"},
]


@pytest.mark.parametrize(
    "form",
    [
        {"messages": TURNS},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        {"conversations": [{"from": m["role"], "value": m["content"]} for m in TURNS]},
        {"prompt": "1+2?", "completion": "3", "reward": 0.0, "is_correct": False},
    ],
)
def test_the_last_turn_of_any_form_is_checked_and_what_was_found_replaces_what_was_said(tmp_path: Path, form):
    source, out = tmp_path / "rows.jsonl", tmp_path / "judged.jsonl"
    source.write_text(json.dumps(form) + "\n")
    assert label_file(source, out, Three()).verdicts == {"pass": 1}
    (row,) = load_rows(out)[0]
    assert (row["label"], row["completion"], row.get("reward")) == (True, "3", None)
    assert label_file(source, out, Three()).verdicts == {"pass": 1}  # a second call finds it done
