"""How good a critic is, from its own forward passes and from the scores that it left: the same numbers."""

import dataclasses
import json

import pytest
from rich.console import Console

from weighted_mtp.cli.main import main
from weighted_mtp.data import CompletionCollator, load_rows, tokenize_rows
from weighted_mtp.evaluation import critic_checks
from weighted_mtp.evaluation.critic_checks import discounted_outcomes, measure_critic, quality_of, quality_of_scores
from weighted_mtp.evaluation.critic_quality import print_critic_quality
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.run import train
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score


@pytest.fixture
def critic_dir(make_config, tmp_path):
    """A generative critic after a few steps."""
    return str(train(make_config("critic", critic="generative", output_dir=str(tmp_path / "critic"))))


def test_eos_is_left_out_and_rows_may_differ_in_length():
    quality = quality_of(
        values=[[0.5, 0.2, 0.9], [0.5, 0.6]],
        credit=[[-2.0, 1.0, -9.0], [0.5, -9.0]],
        token_error=[[1, 0, 0], [0, 0]],
        rewards=[0.0, 1.0],
    )
    assert quality.localisation.n_tokens == 3
    assert quality.localisation.auc == 1.0
    assert quality.localisation.top1 == 1.0
    assert quality.auc_by_position == [0.5, None]


def test_discounted_values_are_judged_by_the_discounted_outcome():
    rewards, lengths = [1.0, 0.0], [4, 3]
    values = discounted_outcomes(rewards, lengths, 0.5)
    assert values == [[0.125, 0.25, 0.5, 1.0], [0.0, 0.0, 0.0]]
    nothing = [[0.0] * n for n in lengths]
    quality = quality_of(values, nothing, nothing, rewards, gamma=0.5)
    assert quality.ece == quality.final_ece == quality.brier == 0.0
    assert quality.explained_variance == 1.0
    assert quality.outcome_auc == 1.0
    assert quality_of(values, nothing, nothing, rewards).ece > 0.3


def test_scores_judge_a_critic_as_its_forward_passes_do(critic_dir, chain_base, tmp_path):
    rows = chain_base / "eval.jsonl"
    score(ScoreConfig(critic_dir, str(rows), str(tmp_path / "scored"), batch_size=5))
    found, known = quality_of_scores(tmp_path / "scored", critic_dir)
    tokenizer = load_tokenizer(critic_dir)
    dataset, _ = tokenize_rows(load_rows(rows)[0], tokenizer, max_length=64)
    expected = measure_critic(load_critic(critic_dir), dataset, CompletionCollator.from_tokenizer(tokenizer))
    assert known
    for name, value in expected.as_dict().items():
        if isinstance(value, float):
            assert getattr(found, name) == pytest.approx(value, abs=1e-5), name
    assert dataclasses.replace(found.localisation, interval=None) == expected.localisation


def test_unknown_errors_are_said_to_be_unknown(critic_dir, chain_base, tmp_path):
    rows = [json.loads(line) for line in (chain_base / "eval.jsonl").read_text().splitlines()]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({k: row[k] for k in ("prompt", "completion", "label")}) + "\n" for row in rows))
    score(ScoreConfig(critic_dir, str(bare), str(tmp_path / "scored")))
    quality, known = quality_of_scores(tmp_path / "scored", critic_dir)
    assert not known
    console = Console(record=True, width=100)
    print_critic_quality(console, quality.as_dict(), errors_known=known)
    assert "not known: give `token_error` or `span`" in console.export_text()


def test_of_many_rows_some_are_judged(critic_dir, chain_base, tmp_path, monkeypatch):
    score(ScoreConfig(critic_dir, str(chain_base / "eval.jsonl"), str(tmp_path / "scored")))
    monkeypatch.setattr(critic_checks, "JUDGED_ROWS", 10)
    quality, _ = quality_of_scores(tmp_path / "scored", critic_dir)
    assert quality.localisation.n_completions == 8  # every third of 24


def test_an_empty_shard_waits_for_the_others(critic_dir, chain_base, tmp_path, capsys):
    one = tmp_path / "one.jsonl"
    one.write_text((chain_base / "eval.jsonl").read_text().splitlines()[0] + "\n")
    words = ["score", "--critic", critic_dir, "--data", str(one), "--out", str(tmp_path / "s")]
    assert main([*words, "--shard", "1/2"]) == 0  # no row falls to it
    assert main([*words, "--shard", "2/2"]) == 0
    assert "P(success) said" in capsys.readouterr().out


def test_the_command_line_judges_a_critic_when_all_shards_are_there(critic_dir, chain_base, tmp_path, capsys):
    words = ["score", "--critic", critic_dir, "--data", str(chain_base / "eval.jsonl"), "--out", str(tmp_path / "s")]
    assert main([*words, "--shard", "1/2"]) == 0
    assert "AUC" not in capsys.readouterr().out
    assert main([*words, "--shard", "2/2"]) == 0
    printed = capsys.readouterr().out
    assert "AUC of the first wrong token" in printed
    assert "P(success) said" in printed
