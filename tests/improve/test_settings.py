"""What `wmtp improve` is told is checked whole before anything is done, in one line."""

import json

import pytest
import yaml

from weighted_mtp.cli.main import main
from weighted_mtp.cli.settings_files import SHIPPED
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.improve.settings import ImproveConfig, _check_run
from weighted_mtp.improve.steps import Step


def answer(settings, tmp_path, *flags) -> int:
    (tmp_path / "improve.yaml").write_text(yaml.safe_dump(settings))
    return main(["improve", "--config", str(tmp_path / "improve.yaml"), *flags])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"evaluat": {}}, "unknown setting 'evaluat': did you mean evaluate?"),
        ({"sample": {"max_new_token": 3}}, "sample: unknown setting 'max_new_token': did you mean max_new_tokens?"),
        ({"sample": {"n": "four"}}, "sample: n is 'four': give a whole number"),
        ({"sample": {"model": "x"}}, "sample sets model, which the round gives itself: leave it out"),
        ({"student": {"max_step": 3}}, "student: unknown setting 'max_step': did you mean max_steps?"),
        ({"student": {"stage": "base"}}, "student: stage is 'base'"),
        ({"student": {"stage": "critic"}}, "student: stage critic trains no student"),
        ({"student": {"stage": "verifiable"}}, "student stage verifiable reads a critic"),
        ({"student": {"value_coef": 1.0}}, "student: value_coef is 1.0, which nothing reads in stage baseline"),
        ({"critic": {"critic": "genrative"}}, "critic: critic is 'genrative': stage critic trains one of value_head"),
        ({"critic": {}, "student": {"stage": "rho1"}}, "critic is trained, and nothing reads it in stage rho1"),
        ({"score": {"scheme": "td"}}, "score is read with a critic and student stage baseline: leave it out"),
        ({"critic": {}, "score": {"gama": 1}}, "score: unknown setting 'gama': did you mean gamma?"),
        ({"sample": {"chat": True}}, "chat differs between sample and evaluate"),
        ({"rounds": 0}, "rounds is 0: give at least 1"),
        ({"model": "http://localhost/v1"}, "model is http://localhost/v1: give a directory, which can be trained"),
        ({"verifier": "numerical"}, "numeric"),
        ({"held_out": "none.jsonl"}, "none.jsonl: no such file"),
        ({"start_from": "best"}, "--start_from best: give start or previous"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_done(changed, said, settings, tmp_path, capsys):
    assert answer(settings | changed, tmp_path) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_held_out_is_not_trained_on(settings, tmp_path, capsys):
    rows = read_json_lines(settings["held_out"])[:3] + read_json_lines(settings["problems"])[:2]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert answer(settings | {"held_out": str(tmp_path / "held.jsonl")}, tmp_path) == 2
    assert "2 of 5 prompts are in" in capsys.readouterr().err


def test_a_dry_run_prints_the_steps_and_their_cost_and_does_nothing(settings, tmp_path, capsys):
    assert answer(settings | {"keep": False, "critic": {"max_steps": 7}}, tmp_path, "--dry_run", "true") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line) for line in lines[1:]] == [
        "0 evaluation: wmtp evaluate 90 720",
        "1 to 2 sample: wmtp sample 160 1,280",
        "1 to 2 critic: wmtp train critic 160 7 57,344",
        "1 to 2 skill: wmtp score 90 92,160",
        "1 to 2 scores: wmtp score 160 163,840",
        "1 to 2 student: wmtp train baseline 160 12 24,576",
        "1 to 2 evaluation: wmtp evaluate 90 720",
        "all rounds: at most 680,560 tokens, written or read; nothing was done",
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("improve/*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_hold_nothing_that_is_not_read(path):
    config = ImproveConfig(**yaml.safe_load(path.read_text()))
    _check_run("critic", "critic", config.training_critic("m"))
    _check_run("student", config.stage, config.training("m"))


def test_a_finished_step_is_not_made_again_because_of_where_it_is_made(tmp_path):
    here = Step("sample", tmp_path, "sample", {"n": 2})
    there = Step("sample", tmp_path, "sample", {"n": 2, "engine": "ray", "workers": 8, "num_gpus": 1.0})
    assert here.fingerprint() == there.fingerprint()
