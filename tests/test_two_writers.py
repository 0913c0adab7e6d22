"""The second of two commands with one output ends at once with the first one's name; the first is not disturbed."""

import os
import signal
from pathlib import Path

import pytest

from weighted_mtp.cli.main import main
from weighted_mtp.data.exact_parquet import shard_marker
from weighted_mtp.files import own_file, own_folder

ROWS = '{"prompt": "1 + 1 =", "completion": " 2", "answer": "2", "label": true}\n' * 3
MODEL = ["--model_name_or_path", "model"]  # a folder with config.json alone: what is told without loading it
COMMANDS = {
    "train": (own_folder, ["train", "baseline", *MODEL, "--train_file", "rows.jsonl", "--output_dir", "out"]),
    "verify": (own_file, ["data", "verify", "--verifier", "numeric", "--input", "rows.jsonl", "--output", "out"]),
    "mutants": (own_file, ["data", "mutants", "--input", "rows.jsonl", "--out", "out"]),
    "split": (own_folder, ["data", "split", "--input", "rows.jsonl", "--out", "out"]),
    "evaluate": (
        own_folder,
        ["evaluate", "model", "--verifier", "numeric", "--problems", "rows.jsonl", "--out", "out"],
    ),
    "improve": (
        own_folder,
        ["improve", "--model=model", "--verifier=numeric", "--problems=q.jsonl", "--held_out=held.jsonl", "--out=out"],
    ),
    "demo": (own_folder, ["demo", "--out", "out"]),
    "score": (
        lambda out: own_file(out / shard_marker(1, 1)),
        ["score", "--critic", "model", "--data", "rows.jsonl", "--out", "out"],
    ),
    "reasoning-gym": (own_file, ["data", "reasoning-gym", "--tasks", '["leg_counting"]', "--out", "out"]),
}
GIVEN = {"rows.jsonl", "q.jsonl", "held.jsonl", "config.json"}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "q.jsonl").write_text('{"prompt": "1 + 1 =", "answer": "2"}')
    (tmp_path / "held.jsonl").write_text('{"prompt": "1 + 2 =", "answer": "3"}')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path


@pytest.fixture
def owner(request, here):
    """A child that owns ./out until the test is over."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with request.param(here / "out"):
            os.write(tell, b"x")
            signal.pause()
    os.read(told, 1)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize(("owner", "words"), COMMANDS.values(), ids=COMMANDS, indirect=["owner"])
def test_the_second_writer_ends_at_once_with_the_first_ones_name(owner, words, here, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is being written by `" in line
    assert f"(pid {owner} on " in line
    assert {path.name for path in here.rglob("*") if path.is_file() and not path.name.endswith(".lock")} == GIVEN


def test_an_output_that_was_refused_is_free_afterwards(here, capsys):
    words = COMMANDS["verify"][1]
    assert main(["none.jsonl" if word == "rows.jsonl" else word for word in words]) == 2
    assert main(words) == 0
    assert sorted(path.name for path in here.iterdir()) == ["held.jsonl", "model", "out", "q.jsonl", "rows.jsonl"]
