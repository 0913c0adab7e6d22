"""Skill out of fold: measured by critics of folds, found by scheme gated, and kept by a resumed run."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import weighted_mtp as wm
from weighted_mtp.cli.main import main
from weighted_mtp.data import load_rows, prompt_id
from weighted_mtp.evaluation.critic_checks import quality_of_scores
from weighted_mtp.evaluation.cross_fit import skill_of_rows, skill_of_scores
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import train as train_run
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.training.skill import SKILL, read_skill, with_skill
from weighted_mtp.training.tracking import MLflowLogger


@pytest.fixture(scope="module")
def config(train, rows, tmp_path_factory):
    """Of a critic of its own, two folds; half of the rows are right, and half of their 20 prompts new to the critic."""
    critic = train("critic", max_steps=4).args.output_dir
    folder = tmp_path_factory.mktemp("scored")
    known = load_rows(str(rows["train"]))[0]
    twice = known + [{**row, "prompt": f"0 {row['prompt']}"} for row in known]
    even = [{**row, "label": i % 2 == 0} for i, row in enumerate(twice)]
    return ScoreConfig(critic, write(folder / "rows.jsonl", even), str(folder / "out"), max_length=64, cross_fit=2)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def measured(config):
    return skill_of_scores(config, quiet=True)


def test_no_prompt_of_a_fold_is_one_that_its_critic_was_trained_on(config, measured):
    seen = 0
    for i in (1, 2):
        folder = Path(config.out) / "cross_fit" / f"{i}-of-2"
        trained, held = ({prompt_id(row["prompt"]) for row in load_rows(folder / x)[0]} for x in FILES)
        assert trained.isdisjoint(held)
        seen += len(load_rows(folder / "scores")[0])
    assert seen == measured.rows == 160


FILES = ("train.jsonl", "held_out.jsonl")


def test_folds_whose_critics_kept_far_steps_are_told_and_kept_in_the_file(config, measured, capsys):
    assert json.loads((Path(config.out) / SKILL).read_text())["folds_differ"] is None
    states = [Path(config.out) / "cross_fit" / f"{i}-of-2/critic/checkpoint-{STEP}/trainer_state.json" for i in (1, 2)]
    for path, step in zip(states, (1, 4), strict=True):
        path.parent.mkdir()
        path.write_text(json.dumps({"best_global_step": step, "global_step": STEP}))
    assert skill_of_scores(config) == measured
    said = json.loads((Path(config.out) / SKILL).read_text())["folds_differ"]
    assert "steps 1, 4 were kept" in said
    assert said in capsys.readouterr().out
    for path in states:
        shutil.rmtree(path.parent)


STEP = 9


def test_folds_that_are_there_are_not_made_again(config, measured):
    made = {path: os.stat(path).st_mtime_ns for path in Path(config.out).rglob("*") if path.name != SKILL}
    assert skill_of_scores(config, quiet=True) == measured
    assert {path: os.stat(path).st_mtime_ns for path in Path(config.out).rglob("*") if path.name != SKILL} == made


def test_a_fold_that_was_interrupted_is_scored_alone(config, measured):
    scores = Path(config.out) / "cross_fit" / "1-of-2" / "scores"
    critic = scores.parent / "critic" / "model.safetensors"
    before = critic.stat().st_mtime_ns
    next(scores.glob("shard-*")).unlink()
    assert skill_of_scores(config, quiet=True) == measured
    assert critic.stat().st_mtime_ns == before


def test_the_skill_lies_beside_scores_and_critic_until_that_is_another(config, measured):
    for folder in (config.out, config.critic):
        assert read_skill(folder)["verdict"] == measured.verdict
    weights = Path(config.critic) / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert read_skill(config.critic) is None
    weights.write_bytes(content)


def test_scores_of_rows_that_the_critic_knows_say_nothing_of_its_skill(config, tmp_path, capsys):
    words = ["--critic", config.critic, "--data", config.data, "--out", str(tmp_path / "out")]
    assert main(["score", *words]) == 0
    said = capsys.readouterr().out
    assert "the critic was trained on these prompts: give --cross_fit 3 to know what it knows" in said
    assert "\non prompts that the critic was trained on:\ncritic" in said
    assert not (tmp_path / "out" / SKILL).exists()


def test_the_last_line_says_what_the_advice_says(config, measured, capsys):
    words = ["--critic", config.critic, "--data", config.data, "--out", config.out, "--max_length", "64"]
    assert main(["score", *words, "--cross_fit", "2"]) == 0
    said = capsys.readouterr().out
    assert measured.gate == 0
    assert "learns from it no more than keep: right" in said
    assert said.endswith(f"wmtp train baseline --keep right --train_file {config.data} ...\n")
    assert "\nout of fold, by critics that were not trained on these prompts:\ncritic" in said


def test_where_the_first_wrong_token_is_looked_for_out_of_fold(config, measured, capsys):
    words = ["--critic", config.critic, "--data", config.data, "--out", config.out, "--max_length", "64"]
    assert main(["score", *words, "--cross_fit", "2"]) == 0
    shown = capsys.readouterr().out
    folds = [Path(config.out) / "cross_fit" / f"{i}-of-2" / "scores" for i in (1, 2)]
    located = quality_of_scores(folds, config.critic)[0].localisation
    found = json.loads((Path(config.out) / SKILL).read_text())["localisation"]
    assert located.n_completions == 160
    assert found["auc_within_wrong"] == located.auc_within_wrong
    assert found["low"] < found["auc_within_wrong"] < found["high"]
    assert located.auc_within_wrong != quality_of_scores(config.out, config.critic)[0].localisation.auc_within_wrong
    assert f"{located.auc_within_wrong:.3f}" in shown
    assert f"95 % interval             {found['low']:.2f}, {found['high']:.2f}" in shown


@pytest.mark.parametrize("kind", ["generative", "value_head"])
def test_the_folder_of_scores_alone_is_enough_to_follow_the_advice(config, measured, make_config, tmp_path, kind):
    out = tmp_path / "out"
    shutil.copytree(config.out, out)
    if kind == "generative":  # whose scores hold credit too
        critic = train_run(make_config("critic", critic="generative", output_dir=str(tmp_path / "critic")))
        score(dataclasses.replace(config, critic=str(critic), out=str(tmp_path / "generative")), quiet=True)
        shutil.copy(out / SKILL, tmp_path / "generative")
        out = tmp_path / "generative"
    gate(out, 0.375)
    flat = {"scheme": "gated", "train_file": str(out), "max_steps": 1, "save_steps": 0}
    run = train_run(make_config("baseline", output_dir=str(tmp_path / "run"), **flat))
    found = RunConfig.load(run)
    assert (found.scheme_options, found.data.keep) == ({"skill": 0.375}, "all")


def test_python_says_what_the_command_says_of_the_critic(config, measured, capsys):
    rows, how = config.data, {"max_length": 64, "cross_fit": 2, "out": config.out}
    wm.score(config.critic, rows, **how)
    assert "\n".join(measured.lines) in capsys.readouterr().out
    assert any(line.startswith("advice: ") for line in measured.lines)
    assert any("; log-loss " in line for line in measured.lines)
    wm.score(config.critic, rows, **how, quiet=True)
    assert capsys.readouterr().out == ""


def test_scores_of_other_prompts_are_skill_out_of_fold(config, rows, tmp_path):
    fresh = dataclasses.replace(config, data=str(rows["eval"]), out=str(tmp_path / "out"), cross_fit=0)
    score(fresh, quiet=True)
    assert skill_of_scores(fresh).rows == 21
    assert (tmp_path / "out" / SKILL).is_file()


@pytest.mark.parametrize(
    ("settings", "said"), [({"cross_fit": 1}, "cross_fit is 1: give 2"), ({"shard": "1/2"}, "leave shard out")]
)
def test_folds_that_cannot_be_made_are_refused(config, settings, said):
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(config, **settings)


def test_a_critic_that_does_not_say_how_it_was_trained_is_refused(config, chain_base, tmp_path):
    with pytest.raises(ConfigError, match=r"has no run\.yaml, which says how to train it"):
        skill_of_scores(dataclasses.replace(config, critic=str(chain_base / "critic"), out=str(tmp_path)))


@pytest.mark.parametrize("kept", [lambda rows: [r for r in rows if r["label"]], lambda rows: rows[:1] * 60])
def test_no_fold_is_trained_where_the_rows_are_too_few_to_tell(config, kept, tmp_path, capsys):
    rows = [row | {"logprobs": [-1.0] * len(row["completion"].split())} for row in kept(load_rows(config.data)[0])]
    few = dataclasses.replace(config, data=write(tmp_path / "rows.jsonl", rows), out=str(tmp_path / "out"))
    score(few, quiet=True)
    assert "cannot be told" in skill_of_scores(few).verdict
    assert "fold" not in capsys.readouterr().out
    assert not (tmp_path / "out" / "cross_fit").exists()
    found = read_skill(tmp_path / "out")
    assert (found["gate"], found["auc"], found["folds_differ"], found["own_samples"]) == (0.0, None, None, True)
    assert found["localisation"] is None


def test_more_folds_than_prompts_are_refused_in_words_of_the_command(config, tmp_path):
    many = dataclasses.replace(config, out=str(tmp_path), cross_fit=1_000)
    with pytest.raises(ConfigError, match=r"cross_fit is 1000, and the rows are of \d+ prompts: give as many folds"):
        skill_of_scores(many)


def test_what_a_fold_lacks_is_told_as_of_that_fold(config, tmp_path):
    rows = [{"prompt": f"{i % 10} +3 :", "completion": f" {i % 10}", "label": i % 10 == 0} for i in range(240)]
    rows += [{"prompt": f"{i % 10} +3 {i} :", "completion": " 1", "label": False} for i in range(20)]
    odd = dataclasses.replace(config, data=write(tmp_path / "rows.jsonl", rows), out=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"^fold \d of 2, whose critic is trained on the rows of the other prompts: "):
        skill_of_scores(odd)


def scored(right, log_odds):
    return [
        {"prompt": f"p{i}", "completion": "a", "label": bool(r), "values": [0.5], "credit": [x], "p_success": 0.5}
        for i, (r, x) in enumerate(zip(right, log_odds, strict=True))
    ]


def test_the_credit_of_rows_adds_up_to_what_their_critic_says():
    truth = np.random.default_rng(0).normal(size=400)
    right = np.random.default_rng(1).random(400) < expit(truth)
    assert skill_of_rows(scored(right, truth)).slope.mean == pytest.approx(1.0, abs=0.4)


def run_of(prepare, critic, **settings):
    return prepare("verifiable", critic=str(critic), scheme="gated", **settings).config


def gate(folder, value):
    path = Path(folder) / SKILL
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gate": value}))


def test_the_gate_is_the_skill_measured_for_the_critic(config, measured, prepare):
    gate(config.critic, 0.375)
    found = with_skill(run_of(prepare, config.critic, scheme_options={"beta": 2.0}))
    assert found.scheme_options == {"beta": 2.0, "skill": 0.375}
    assert found.data.keep == "all"
    assert with_skill(found) is found
    inner = RunConfig.from_flat(found.to_flat() | {"scheme": "shuffled", "scheme_options": {"inner": "gated"}})
    assert with_skill(inner).scheme_options["inner_options"] == {"skill": 0.375}


def test_rows_that_say_what_the_sampler_thought_of_them_are_right_only_unless_a_skill_is_given(
    config, measured, prepare, tmp_path, caplog
):
    gate(config.critic, 0.375)
    rows = [json.loads(line) for line in Path(config.data).read_text().splitlines()]
    own = [row | {"logprobs": [-0.5] * 3} for row in rows]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in own))
    run = run_of(prepare, config.critic)
    sampled = RunConfig.from_flat(run.to_flat() | {"train_file": str(file)})
    found = with_skill(sampled)
    assert (found.scheme_options, found.data.keep) == ({"skill": 0.0}, "right")
    assert "scheme_options: {skill: 0.38} mixes all the same" in caplog.text
    with_skill(RunConfig.from_flat(sampled.to_flat() | {"scheme": "shuffled", "scheme_options": {"inner": "gated"}}))
    assert "scheme_options: {inner_options: {skill: 0.38}} mixes all the same" in caplog.text
    assert with_skill(run, own).scheme_options == {"skill": 0.0}
    assert with_skill(run, rows).scheme_options == {"skill": 0.375}
    given = RunConfig.from_flat(sampled.to_flat() | {"scheme_options": {"skill": 0.375}})
    assert with_skill(given) is given


@pytest.mark.parametrize("where", ["hub:{}", "{}.json"])
def test_own_samples_are_known_wherever_they_lie(config, measured, prepare, tmp_path, where):
    gate(config.critic, 0.375)
    rows = [json.loads(line) | {"logprobs": [-0.5]} for line in Path(config.data).read_text().splitlines()]
    (tmp_path / "own").mkdir()
    (tmp_path / "own/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.json").write_text(json.dumps(rows) + " " * 10_000_000)  # too large to be looked at early
    flat = run_of(prepare, config.critic).to_flat() | {"train_file": where.format(tmp_path / "own")}
    assert with_skill(RunConfig.from_flat(flat)).scheme_options == {"skill": 0.0}


@pytest.mark.parametrize(
    ("first", "others", "skill"), [("bad", [-0.5], 0.0), ("unjudged", [-0.5], 0.0), ("", None, 0.4)]
)
def test_the_first_row_that_is_used_says_whether_rows_are_own_samples(
    config, measured, prepare, tmp_path, first, others, skill
):
    gate(config.critic, 0.4)
    rows: list[Any] = [json.loads(line) | {"logprobs": others} for line in Path(config.data).read_text().splitlines()]
    rows[:0] = {"bad": [{"prompt": 1}], "unjudged": [rows[0] | {"verdict": "error", "logprobs": None}], "": []}[first]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flat = run_of(prepare, config.critic).to_flat() | {"train_file": str(file), "on_bad_row": "skip"}
    for given in (None, rows):
        assert with_skill(RunConfig.from_flat(flat), given).scheme_options == {"skill": skill}


def test_what_the_critic_knows_is_a_tag_of_every_run_that_reads_it(config, measured, make_config):
    tags = MLflowLogger(make_config("verifiable", critic=str(config.critic), scheme="td")).tags
    assert tags["critic_skill"] == (read_skill(config.critic) or {})["verdict"]
    assert "critic_skill" not in MLflowLogger(make_config("baseline")).tags


def test_without_skill_wrong_rows_are_left_out_where_no_value_head_learns_from_them(make_config, critic_dir):
    separate = with_skill(make_config("verifiable", scheme="", critic=str(critic_dir)))
    assert (separate.scheme, separate.scheme_options, separate.data.keep) == ("gated", {"skill": 0.0}, "right")
    own_head = with_skill(make_config("verifiable", scheme="", model_name_or_path=str(critic_dir)))
    assert (own_head.scheme_options, own_head.data.keep) == ({"skill": 0.0}, "all")
    assert with_skill(make_config("verifiable", critic=str(critic_dir), scheme="td")).scheme == "td"


def test_a_run_by_default_is_right_only_to_the_last_bit(make_config, critic_dir, rows, tmp_path):
    same = {"train_file": str(rows["train"]), "max_steps": 3, "per_device_train_batch_size": 8, "save_steps": 0}
    gated = train_run(
        make_config("verifiable", scheme="", critic=str(critic_dir), output_dir=str(tmp_path / "a"), **same)
    )
    plain = train_run(make_config("baseline", keep="right", output_dir=str(tmp_path / "b"), **same))
    assert (gated / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    assert RunConfig.load(gated).scheme_options == {"skill": 0.0}


def test_a_gate_without_a_measured_skill_is_shut_and_says_so(prepare, critic_dir, caplog):
    found = with_skill(run_of(prepare, critic_dir))
    assert found.scheme_options == {"skill": 0.0}
    assert (found.data.keep, found.data.keep_above) == ("right", 0.0)
    [line] = [record.message for record in caplog.records if "right-only" in record.message]
    assert "run wmtp score --cross_fit 3" in line
