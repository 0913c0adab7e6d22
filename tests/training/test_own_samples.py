"""Whose samples the rows are, by what `wmtp sample` writes; and what is said where a critic without skill weighs."""

import json
import logging
import shutil
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from rich.console import Console

import weighted_mtp as wm
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.models import load_tokenizer
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.sampling.sample import sample
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import train
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.training.skill import SKILL, read_skill, with_skill
from weighted_mtp.training.writers import lineage, own_samples_by

ORDERS = "this critic orders completions (AUC 0.74) and explains 14 % of the outcome [12, 16]"
NOTHING = "this critic knows nothing beyond the share of right rows"


@pytest.fixture
def sampled(chain_base, tmp_path):
    """A function (model, **settings) -> rows that it wrote, labelled."""

    def write(model: Path, **settings) -> list[dict]:
        problems = tmp_path / "problems.jsonl"
        problems.write_text("".join(json.dumps({"prompt": f"{i} +3 :", "answer": str(i)}) + "\n" for i in range(3)))
        settings = {"n": 2, "max_new_tokens": 3, "verifier": "numeric"} | settings
        out = tmp_path / "sampled.jsonl"
        out.unlink(missing_ok=True)
        config = SampleConfig(model=str(model), problems=str(problems), out=str(out), **settings)
        sample(config, Console(quiet=True))
        return read_json_lines(out)

    return write


@pytest.fixture
def critic(critic_dir, tmp_path):
    """A function (gate, verdict) -> a critic of which that was measured."""

    def make(gate: float = 0.375, verdict: str = ORDERS) -> str:
        shutil.copytree(critic_dir, tmp_path / "critic", dirs_exist_ok=True)
        said = {"gate": gate, "verdict": verdict, "critic": digest_of_model(critic_dir)}
        (tmp_path / "critic" / SKILL).write_text(json.dumps(said))
        return str(tmp_path / "critic")

    return make


@pytest.fixture
def told(make_config, tmp_path, caplog):
    """A function (stage, **settings) -> what a run of one step says of skill."""

    def run(stage: str = "verifiable", **settings) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            train(make_config(stage, output_dir=mkdtemp(dir=tmp_path), max_steps=1, **settings), quiet=True)
        return [r.message for r in caplog.records if r.name == "weighted_mtp.training.skill"]

    return run


@pytest.mark.parametrize("settings", [{}, {"logprobs": True}])
def test_gated_is_right_only_on_what_sample_writes_of_the_model_itself(
    sampled, chain_base, critic, make_config, settings, caplog
):
    rows = sampled(chain_base / "base", **settings)
    config = with_skill(make_config("verifiable", scheme="gated", critic=critic()), rows)
    assert (config.scheme_options, config.data.keep) == ({"skill": 0.0}, "right")
    assert "by their `model_digest` the rows are the model's own samples" in caplog.text


@pytest.mark.parametrize("settings", [{}, {"logprobs": True}])
def test_a_teachers_rows_are_mixed_even_with_logprobs(sampled, chain_base, critic, make_config, settings):
    rows = sampled(chain_base / "critic", **settings)
    config = with_skill(make_config("verifiable", scheme="gated", critic=critic()), rows)
    assert config.scheme_options == {"skill": 0.375}


def test_what_a_model_was_trained_from_and_what_was_trained_from_it_count_as_itself(sampled, chain_base, critic_dir):
    base, by_child = str(chain_base / "base"), sampled(critic_dir)[0]
    assert own_samples_by(sampled(chain_base / "base")[0], str(critic_dir)) == "model_digest"
    assert own_samples_by(by_child, base) == "model_digest"
    assert own_samples_by(by_child | {"model_digest": "0" * 12}, base) is None, "what lies there now did not write it"
    assert own_samples_by(by_child, f"<LlamaForCausalLM {critic_dir} in memory>") == "model_digest"
    another = {"model": str(chain_base / "critic"), "logprobs": [-0.5]}
    assert own_samples_by(another, base) is None, "a model of that name lies here, and is another"
    assert lineage(str(critic_dir)) > lineage(base)


@pytest.mark.parametrize(
    ("row", "start", "column"),
    [
        ({"model": "org/name", "server": "http://127.0.0.1:1"}, "hub:org/name", "model"),
        ({"model": "hub:org/name", "model_digest": "hub:org/name"}, "hub:org/name", "model"),
        ({"model": "hub:org/one", "model_digest": "hub:org/name"}, "hub:org/other", None),
        ({"model": "org/teacher"}, "hub:org/name", None),
        ({"model": "alias", "logprobs": [-0.5]}, "hub:org/name", "logprobs"),
        ({"model": 3, "model_digest": None}, "hub:org/name", None),
        ({"model": "alias", "logprobs": np.array([-0.5, -0.1])}, "hub:org/name", "logprobs"),
        ({"model": "alias", "logprobs": []}, "hub:org/name", None),
        ({"model": "alias"}, "<Llama in memory>", None),
        ({"model": "hub:org/name"}, "<LlamaForCausalLM hub:org/name in memory>", "model"),
    ],
)
def test_without_a_digest_names_speak_and_then_logprobs(row, start, column):
    assert own_samples_by(row, start) == column


def test_a_named_scheme_is_trained_with_one_line_on_what_its_critic_knows(told, critic):
    assert told(scheme="td", critic=critic()) == [ORDERS]
    [line] = told(scheme="td", critic=critic(0.0, NOTHING))
    assert line == f"{NOTHING}: scheme td weighs by it all the same; compare keep: right"
    assert told(scheme="uniform", critic=critic(0.0, NOTHING)) == []
    assert told(scheme="gated", critic=critic()) == [ORDERS]


def test_a_named_scheme_says_that_no_skill_was_measured(told, critic_dir):
    [line] = told(scheme="td", critic=str(critic_dir))
    assert line.startswith(f"no skill of critic {critic_dir} was measured out of fold: scheme td weighs by it all the")
    assert "run wmtp score --cross_fit 3" in line


def test_a_named_scheme_says_that_the_rows_are_own_samples(told, critic, sampled, chain_base, tmp_path):
    rows = tmp_path / "own.jsonl"
    own = [row | {"label": i == 0} for i, row in enumerate(sampled(chain_base / "base", verifier=None))]
    rows.write_text("".join(json.dumps(row) + "\n" for row in own))
    [line] = told(scheme="td", critic=critic(), train_file=str(rows))
    assert "own samples, where weighing by credit did worse than right-only: compare keep: right" in line


def test_the_weights_of_scores_come_with_the_skill_of_their_critic(told, chain_base, critic_dir, tmp_path):
    out = str(tmp_path / "scored")
    score(ScoreConfig(str(critic_dir), str(chain_base / "train.jsonl"), out, max_length=64), quiet=True)
    assert told("baseline", scheme="column", train_file=out) == [], "weights may be anyone's"
    (tmp_path / "scored" / SKILL).write_text(json.dumps({"gate": 0.0, "verdict": NOTHING, "critic": ""}))
    [line] = told("baseline", scheme="column", train_file=out)
    assert line == f"{NOTHING}: scheme column weighs by it all the same; compare keep: right"


def said(gate: str) -> str:
    return f'{{"gate": {gate}, "verdict": "a", "critic": "b"}}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"gate": 0.2, "verdict": "a"}', *map(said, ("null", "7", "NaN", '"x"'))]
)
def test_a_file_of_skill_that_score_did_not_write_is_one_error_that_names_it(critic, make_config, text):
    folder = Path(critic())
    (folder / SKILL).write_text(text)
    with pytest.raises(ConfigError, match=f"{folder}/{SKILL} is not what wmtp score writes"):
        with_skill(make_config("verifiable", scheme="gated", critic=str(folder)))


@pytest.mark.parametrize(("given", "skill"), [(None, 0.375), ({}, 0.375), (3, None)])
def test_options_of_an_inner_gate_may_be_left_empty(critic, make_config, given, skill):
    options = {"inner": "gated", "inner_options": given}
    found = with_skill(make_config("verifiable", scheme="shuffled", scheme_options=options, critic=critic()))
    assert found.scheme_options["inner_options"] == (given if skill is None else {"skill": skill})


def test_what_score_writes_of_a_critic_in_memory_is_read(critic_dir, chain_base, tmp_path):
    rows = [json.loads(line) for line in (chain_base / "train.jsonl").read_text().splitlines()]
    shutil.copytree(critic_dir, tmp_path / "gone")
    held, tokenizer = wm.load_critic(str(tmp_path / "gone")), load_tokenizer(critic_dir)
    shutil.rmtree(tmp_path / "gone")
    out = tmp_path / "scored"
    wm.score(held, rows, out=str(out), tokenizer=tokenizer, cross_fit=2, max_length=64, quiet=True)
    found = read_skill(out)
    assert found is not None
    assert "critic" not in found
    assert "cannot be told" in found["verdict"]
