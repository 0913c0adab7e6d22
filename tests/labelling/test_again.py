"""`wmtp data verify --again`: old verdicts are tried once more, flips are told, and flaky checks are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.cli.main import main
from weighted_mtp.data.json_lines import read_json_lines

ROWS = [{"prompt": f"{n} + 1 =\nAnswer:", "completion": f"{n + 1}", "answer": f"{n + 1}"} for n in range(12)]
FLAKY = {
    "task_id": "made/flaky",
    "prompt": "def half():\n",
    "completion": "    import time\n    return time.time_ns() // 1000\n",
    "test": "def check(candidate):\n    assert candidate() % 2 == 0\n",
    "entry_point": "half",
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    source, out = write(tmp_path / "rows.jsonl", ROWS), tmp_path / "labelled.jsonl"
    assert main(["data", "verify", "--verifier", "numeric", "--input", str(source), "--output", str(out)]) == 0
    return out


def again(path: Path, *words: str) -> int:
    return main(["data", "verify", "--again", "--input", str(path), *words])


def test_verdicts_that_hold_are_no_flips(labelled: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert again(labelled) == 0
    assert capsys.readouterr().out == (
        "12 of 12 rows judged again: 0 flips, 0.0 % of them, 95 % interval 0.0 to 24.2\n"
    )


def test_a_verdict_that_is_another_now_is_a_flip_with_both_and_is_not_flaky(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = read_json_lines(labelled)
    rows[4] |= {"verdict": "fail", "label": False}
    write(labelled, rows)
    capsys.readouterr()
    assert again(labelled, "--output", str(tmp_path / "flips.jsonl")) == 0
    said = capsys.readouterr().out
    assert "1 flips, 8.3 % of them, 95 % interval 1.5 to 35.4" in said
    assert "changed: pass each time; it was judged in the same way" in " ".join(said.split())
    assert "flaky" not in said
    (row,) = read_json_lines(tmp_path / "flips.jsonl")
    assert row == rows[4] | {"flip": {"was": "fail", "found": ["pass"] * 5, "flaky": False}}


def test_another_verifier_may_judge_again(labelled: Path, capsys: pytest.CaptureFixture[str]):
    write(labelled, [row | {"answer": row["answer"] + ".0"} for row in read_json_lines(labelled)])
    assert again(labelled, "--verifier", "exact") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "12 flips" in said
    assert "was verified with verifier 'numeric', and this is verifier 'exact'" in said


def test_the_seed_draws_the_rows(labelled: Path, tmp_path: Path):
    write(labelled, [row | {"verdict": "fail", "label": False} for row in read_json_lines(labelled)])
    drawn: list[list[str]] = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert again(labelled, "--rows", "5", "--seed", seed, "--output", str(tmp_path / name)) == 0
        drawn.append([row["answer"] for row in read_json_lines(tmp_path / name)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5


@pytest.mark.usefixtures("sandbox_works")
def test_a_check_that_gives_both_verdicts_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trail = {"verified_by": "python-tests", "verification": {"version": "0", "timeout": 5.0, "seed": 0}}
    rows = [FLAKY | trail | {"verdict": verdict, "label": verdict == "pass"} for verdict in ("pass", "fail") * 6]
    assert again(write(tmp_path / "rows.jsonl", rows)) == 0
    assert "\nflaky: made/flaky\n" in capsys.readouterr().out


OWN = """
from weighted_mtp.verifiers.base import Verifier

class LastWord(Verifier):
    def __init__(self, word="blue"):
        self.word = word

    def check(self, row):
        return "pass" if row["completion"].endswith(self.word) else "fail"
"""


def test_a_verifier_of_ones_own_judges_again_where_it_is_named_as_the_rows_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "last_word.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    verification = {"version": "0", "timeout": None, "seed": None, "word": "red"}
    trail = {"verified_by": "last_word:LastWord", "verification": verification}
    row = {"prompt": "p", "completion": "so red", "verdict": "pass", "label": True} | trail
    path = write(tmp_path / "rows.jsonl", [row] * 3)
    assert again(path) == 2
    said = "row 1 was verified by last_word:LastWord: rows do not choose what code runs, so add --verifier last_word:"
    assert said in capsys.readouterr().err
    assert again(path, "--verifier", "last_word:LastWord") == 0
    assert "3 of 3 rows judged again: 0 flips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"verdict": None}, "row 3 has no verdict: --again judges rows"),
        ({"verified_by": "PythonTests (5 s)"}, r"was verified by PythonTests (5 s) and does not say with what"),
        ({"verification": None}, "was verified by numeric and does not say with what (`verification`): add --verifier"),
    ],
)
def test_a_row_that_cannot_be_judged_again_is_one_line(
    labelled: Path, row: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
):
    rows = read_json_lines(labelled)
    rows[2] |= row
    assert again(write(labelled, rows)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--verifier", "exact", "--output", "o", "--rows", "3"], "--rows 3 is of --again: add --again"),
        (["--again", "--rows", "0"], "--rows is 0: give at least 1"),
        (["--output", "o"], "needed is --verifier"),
        (["--verifier", "exact"], "needed is --output"),
        (["--again", "--timeout", "3"], "timeout is 3.0, and the verifier numeric takes none"),
        (["--again", "--seed", "-1"], "--seed is -1: give 0"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    labelled: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["data", "verify", "--input", str(labelled), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_output_that_is_there_is_left_alone(labelled: Path, capsys: pytest.CaptureFixture[str]):
    before = labelled.read_bytes()
    assert again(labelled, "--output", str(labelled)) == 2
    assert "is there already" in capsys.readouterr().err
    assert labelled.read_bytes() == before
