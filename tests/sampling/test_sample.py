"""Rows from prompts: whole, in order, the same after a kill, and ready to be trained on."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError, load_rows, tokenize_rows
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.sampling.sample import sample
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.training.errors import ConfigError


@pytest.fixture
def draw(written: Path, tmp_path: Path):
    """A function (**settings) -> what `sample` returns, and the file."""

    def run(**settings):
        out = tmp_path / settings.pop("name", "rows.jsonl")
        given = {"n": 3, "max_new_tokens": 6, "batch_size": 2, "problems": str(written / "problems.jsonl")}
        config = SampleConfig(**({"model": str(written / "model"), "out": str(out)} | given | settings))
        return sample(config, Console(quiet=True)), out

    return run


def test_a_row_holds_its_problem_what_was_written_and_how(draw, written):
    found, out = draw(verifier="numeric")
    rows = read_json_lines(out)
    assert [(row["problem"], row["sample"]) for row in rows] == [(i, k) for i in range(4) for k in range(3)]
    assert found.rows == 12
    first = rows[0]
    assert not any("logprobs" in row for row in rows), "they were not asked for"
    assert {"prompt": "7 +3 :", "answer": "0", "task_id": "t/0", "extra": [0]}.items() <= first.items()
    assert first["sampling"] == {
        "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 6, "seed": 0, "stop": None, "chat": False,
        "n": 3, "logprobs": False, "drop_duplicates": False,
    }  # fmt: skip
    assert first["model"] == str(written / "model")
    assert all(row["verified_by"] == "numeric" and row["label"] is (row["verdict"] == "pass") for row in rows)
    assert len({row["completion"] for row in rows}) > 6, "they are samples"


@pytest.mark.parametrize("kept", [0, 1, 5, 11])
def test_a_killed_run_ends_with_the_bytes_of_a_whole_one(draw, kept):
    _, whole = draw(verifier="numeric", logprobs=True)
    lines = whole.read_bytes().splitlines(keepends=True)
    broken = whole.with_name("broken.jsonl")
    broken.write_bytes(b"".join(lines[:kept]) + lines[kept][:40])
    draw(name="broken.jsonl", verifier="numeric", logprobs=True)
    assert broken.read_bytes() == whole.read_bytes()


def test_a_completion_depends_on_its_seed_and_not_on_its_batch(draw):
    alone, together = (
        [row["completion"] for row in read_json_lines(draw(name=f"{size}.jsonl", batch_size=size)[1])]
        for size in (1, 6)
    )
    assert alone == together
    assert [row["completion"] for row in read_json_lines(draw(name="s.jsonl", seed=1)[1])] != alone


def test_rows_of_other_settings_are_left_alone(draw):
    _, out = draw(limit=2)
    before = out.read_bytes()
    with pytest.raises(DataError, match=r'has sampling .*"seed": 0.*, and this is .*"seed": 1'):
        draw(limit=2, seed=1)
    assert out.read_bytes() == before


def test_a_completion_that_was_cut_off_is_learned_without_an_end(draw, written):
    _, out = draw(max_new_tokens=2, verifier="numeric")
    rows, _ = load_rows(out)
    tokenizer = load_tokenizer(str(written / "model"))
    made, _ = tokenize_rows(rows, tokenizer)
    for row, ids in zip(read_json_lines(out), made["input_ids"], strict=True):
        assert (ids[-1] == tokenizer.eos_token_id) is (row["ended"] == "eos")
        assert row.get("truncated", False) is (row["ended"] == "length")
        assert not (row["label"] and row.get("truncated")), "half a number is another number"


def test_duplicates_are_counted_and_left_out_on_request(draw):
    found, out = draw(n=8, max_new_tokens=1)
    texts = [(row["problem"], row["completion"]) for row in read_json_lines(out)]
    assert found.duplicates == len(texts) - len(set(texts)) > 0
    fewer, out = draw(n=8, max_new_tokens=1, drop_duplicates=True, name="fewer.jsonl")
    rows = read_json_lines(out)
    assert [(row["problem"], row["completion"]) for row in rows] == list(dict.fromkeys(texts))
    assert fewer.rows == len(rows)


def test_logprobs_are_those_of_the_policy_that_drew(draw):
    _, out = draw(logprobs=True, top_p=0.5)
    for row in read_json_lines(out):
        assert all(value <= 0 for value in row["logprobs"])
        assert 1 <= len(row["logprobs"]) <= 6
    _, narrow = draw(logprobs=True, top_p=0.001, name="narrow.jsonl")
    assert all(value == pytest.approx(0, abs=1e-6) for row in read_json_lines(narrow) for value in row["logprobs"])


def test_chats_are_asked_and_kept_as_messages(draw):
    _, out = draw(chat=True, limit=1)
    assert read_json_lines(out)[0]["prompt"] == [{"role": "user", "content": "7 +3 :"}]


def test_problems_that_the_verifier_cannot_check_stop_it_before_anything_is_written(draw, tmp_path):
    rows = [{"prompt": "1 +3 :", "answer": "a"}, {"prompt": "2 +3 :", "answer": "5"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="numeric cannot check 1 of 2 problems: problem 0"):
        draw(problems=str(tmp_path / "p.jsonl"), verifier="numeric")
    found, _ = draw(problems=str(tmp_path / "p.jsonl"), verifier="numeric", on_bad_problem="skip")
    assert found.rows == 3


def test_completions_that_problems_come_with_are_replaced_with_what_is_said_of_them_and_it_is_told(
    draw, written, tmp_path, capfd
):
    plain = read_json_lines(written / "problems.jsonl")
    said = {"completion": "1 4", "truncated": True, "token_error": [True], "label": True, "verdict": "pass"}
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row | said) + "\n" for row in plain))
    whole = draw()[1].read_bytes()
    words = [str(written / "model"), "--problems", str(tmp_path / "own.jsonl"), "--n", "3", "--batch_size", "2"]
    assert main(["sample", *words, "--max_new_tokens", "6", "--out", str(tmp_path / "own_rows.jsonl")]) == 0
    assert (tmp_path / "own_rows.jsonl").read_bytes() == whole
    told = "4 problems have completions, which new ones replace (`completion`, `truncated`, `token_error`, `label`, "
    assert capfd.readouterr().err.count(told) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 0.0}, "temperature is 0 and n 3: all would be the same"),
        ({"concurrency": 4}, "concurrency is of a server, and .* is none: leave it out"),
        ({"timeout": 3.0}, "timeout is 3.0, and no verifier is named"),
        ({"allow": "numpy"}, "allow is numpy, and no verifier is named"),
        (
            {"max_new_tokens": 99},
            "the longest prompt, of problem 2, has . tokens and the model 64 positions, so give at most ..",
        ),
        ({"n": 0}, "n is 0: give at least 1"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(draw, settings, said):
    with pytest.raises(ConfigError, match=said):
        draw(**settings)


def test_the_command_says_what_came_of_it(written, tmp_path, capfd):
    words = [str(written / "model"), "--problems", str(written / "problems.jsonl"), "--n", "2", "--max_new_tokens", "3"]
    assert main(["sample", *words, "--verifier", "exact", "--out", str(tmp_path / "rows.jsonl")]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{tmp_path / 'rows.jsonl'}: 8 rows; ")
    assert "prompts that are text are read as they are; --chat true" in err
    assert main(["sample", "no/such/model", "--problems", str(written / "problems.jsonl"), "--out", "x.jsonl"]) == 2


def test_what_is_empty_is_left_out_and_counted(draw, written, tmp_path):
    tokenizer = load_tokenizer(str(written / "model"))
    model = MTPModel.from_pretrained(written / "model")
    model.hf_model.lm_head.weight.data[tokenizer.eos_token_id] *= 0
    model.hf_model.lm_head.weight.data[tokenizer.eos_token_id] += 0.5 * model.hf_model.lm_head.weight.data.abs().mean()
    model.hf_model.lm_head.weight.data[:] *= 0.05
    model.save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    found, out = draw(model=str(tmp_path / "short"), n=40, max_new_tokens=3, top_p=1.0)
    rows = read_json_lines(out)
    assert found.empty > 0
    assert found.rows == len(rows) == 160 - found.empty
    assert "" not in [row["completion"] for row in rows]
    before = out.read_bytes()
    again, _ = draw(model=str(tmp_path / "short"), n=40, max_new_tokens=3, top_p=1.0)
    assert (again.rows, out.read_bytes()) == (found.rows, before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 4}, "has sampling "),
        ({"logprobs": True}, "has sampling "),
        ({"verifier": "exact"}, 'has verified_by "numeric", and this is "exact"'),
        ({"verifier": None}, 'has verified_by "numeric", and this is null'),
    ],
)
def test_a_file_goes_on_with_the_same_samples_and_judge_alone(draw, settings, said):
    _, out = draw(verifier="numeric", limit=2)
    before = out.read_bytes()
    with pytest.raises(DataError, match=said):
        draw(**{"verifier": "numeric", "limit": 2, **settings})
    assert out.read_bytes() == before


@pytest.mark.parametrize("dropped", [False, True])
def test_counts_are_of_the_whole_file_after_a_kill(draw, dropped):
    settings = {"max_new_tokens": 1, "drop_duplicates": dropped, "n": 12}
    whole, out = draw(**settings)
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[: len(lines) // 2]))
    again, _ = draw(**settings)
    counts = [found.duplicates + found.empty + found.left_out for found in (whole, again)]
    assert counts[0] == counts[1] > 0
    assert dropped or (whole.duplicates, whole.empty) == (again.duplicates, again.empty)


def test_no_empty_file_is_left_by_what_failed_before_the_first_row(draw, tmp_path):
    with pytest.raises(ConfigError):
        draw(max_new_tokens=99)
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_device_is_no_output(written, capsys):
    words = [str(written / "model"), "--problems", str(written / "problems.jsonl"), "--out", "/dev/full"]
    assert main(["sample", *words]) == 2
    assert "--out is /dev/full, which is no file that can be gone on with" in capsys.readouterr().err
