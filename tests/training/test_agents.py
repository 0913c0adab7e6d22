"""Trajectories of an agent, calls and results of tools between its turns, through every stage; rewards of steps."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.data import chat_templates as templates
from tests.data.conftest import byte_level_form
from weighted_mtp.cli.main import main
from weighted_mtp.data import load_rows
from weighted_mtp.models import MTPModel
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def trajectory(number, right):
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": number % 4, "b": 1}}}
    answer = number % 4 + 1 if right else 7
    return [
        {"role": "user", "content": f"{number % 4}+1?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": str(answer)},
        {"role": "assistant", "content": f"It is {answer}.", "weight": 0.5},
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny model that has a chat template with tools, and rows of sixteen trajectories."""
    folder = tmp_path_factory.mktemp("agents")
    tokenizer = byte_level_form()
    tokenizer.add_special_tokens({"additional_special_tokens": templates.SPECIAL})
    tokenizer.chat_template = templates.ALL["qwen3"]
    tokenizer.pad_token = tokenizer.eos_token
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    MTPModel(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **shape))).save_pretrained(
        folder / "base"
    )
    tokenizer.save_pretrained(folder / "base")
    rows = [{"messages": trajectory(n, n % 2), "tools": TOOLS, "label": bool(n % 2)} for n in range(16)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def critic(place, prepare):
    """What a few steps of stage 1 left."""
    run = prepare(
        "critic",
        model_name_or_path=str(place / "base"),
        train_file=str(place / "rows.jsonl"),
        output_dir=str(place / "critic"),
        max_steps=20,
        learning_rate=1e-2,
    )
    run.fit()
    return place / "critic"


def test_values_bridge_what_stands_between_turns_and_the_verdict_is_paid_at_the_end(place, prepare, critic):
    run = prepare("verifiable", model_name_or_path=str(critic), train_file=str(place / "rows.jsonl"))
    batch = TokenBatch.from_inputs(run.trainer.data_collator([run.inputs.train_dataset[1]]), 1)
    model = run.inputs.model.eval()
    signals = run.inputs.stage.signals(batch, run.inputs.stage.forward(model, batch), model, torch.Generator())
    places = batch.mask[0].nonzero().squeeze(1)
    assert (places.diff() > 1).sum() == 1  # one result of a tool between two turns
    values, td = signals.values[0, places], signals.td_errors[0, places]
    torch.testing.assert_close(td, torch.cat([values[1:], batch.rewards]) - values)
    assert run.fit().state.global_step == 4


def test_trajectories_are_scored_trained_on_and_shown(place, prepare, critic, tmp_path, capsys):
    account = score(ScoreConfig(critic=str(critic), data=str(place / "rows.jsonl"), out=str(tmp_path / "scored")))
    assert account.rows == 16
    given, scored = load_rows(place / "rows.jsonl")[0], load_rows(tmp_path / "scored")[0]
    assert [{name: row[name] for name in given[0]} for row in scored] == given
    run = prepare(
        scheme="column",
        model_name_or_path=str(place / "base"),
        train_file=str(tmp_path / "scored"),
        output_dir=str(tmp_path / "run"),
    )
    row = run.inputs.train_dataset[0]
    assert row["weights"] == pytest.approx(scored[0]["weights"])
    assert set(row["loss_weights"]) == {1.0, 0.5}
    run.fit()
    assert main(["inspect", str(tmp_path / "run"), "--rows", "[1]"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    assert "<tool_call>" in shown
    assert "Itis2." in shown


def test_the_factor_of_a_message_multiplies_the_weights_of_its_tokens(place, prepare, tmp_path):
    rows = [{"messages": trajectory(n, True), "label": True, "tools": TOOLS} for n in range(8)]
    losses = []
    for factor in (1.0, 0.5):
        for row in rows:
            for message in row["messages"]:
                message |= {"weight": factor} if message["role"] == "assistant" else {}
        (tmp_path / f"{factor}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        run = prepare(model_name_or_path=str(place / "base"), train_file=str(tmp_path / f"{factor}.jsonl"))
        batch = run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(8)])
        losses.append(run.trainer.compute_loss(run.inputs.model.eval(), batch).item())
    assert losses[1] == pytest.approx(losses[0] / 2)


# --- rewards of steps, soft labels


def made(tmp_path, rows):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "rows.jsonl")


STEPPED = [
    {"prompt": f"{n} +3 *7 :", "completion": "0 3 7", "steps": [{"end": 1, "reward": 0.5}, {"end": 5, "reward": r}]}
    for n, r in ((1, 0.5), (2, 0.0), (3, 0.25), (4, 0.1))
]


@pytest.mark.parametrize("value_loss", ["mse", "bce", "lambda"])
def test_a_critic_learns_the_steps_to_come(prepare, tmp_path, value_loss):
    run = prepare("critic", train_file=made(tmp_path, STEPPED), value_loss=value_loss)
    stage, model = run.inputs.stage, run.inputs.model
    batch = TokenBatch.from_inputs(run.trainer.data_collator([run.inputs.train_dataset[0]]), 1)
    signals = stage.signals(batch, stage.forward(model, batch), model, torch.Generator())
    assert signals.returns[batch.mask].tolist() == [1.0, 0.5, 0.5, 0.5]
    assert signals.outcomes.item() == 0.5  # the least of its steps
    assert run.fit().state.global_step == 4


@pytest.mark.parametrize("scheme", ["td", "steps", "return_weighted"])
def test_every_scheme_of_rewards_reads_those_of_steps(prepare, critic_dir, tmp_path, scheme):
    stage = "verifiable" if scheme == "td" else "baseline"
    where = {"model_name_or_path": str(critic_dir)} if scheme == "td" else {}
    run = prepare(stage, train_file=made(tmp_path, STEPPED), scheme=scheme, **where)
    assert run.fit().state.global_step == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reward": 2.0}, r"rewards lie between 0.25 and 2: a value head learns P\(success\)"),
        ({"steps": [{"end": 1, "reward": 1}, {"end": 5, "reward": 1}]}, "rewards of steps to come lie between 0"),
        ({"steps": [{"end": 1, "reward": 1}, {"end": 5, "reward": -1}], "reward": 0}, "lie between -1 and"),
    ],
)
def test_what_is_no_probability_is_refused_by_a_critic_unless_its_link_is_the_identity(prepare, tmp_path, change, told):
    row = {"prompt": "2 :", "completion": "0 3 7"}
    rows = [row | {"reward": 0.25}, row | change]
    file = made(tmp_path, rows)
    with pytest.raises(ConfigError, match=told):
        prepare("critic", train_file=file)
    assert prepare("critic", train_file=file, value_link="identity").fit().state.global_step == 4
    with pytest.raises(ConfigError, match="value_link: identity with value_loss: mse or lambda"):
        prepare("critic", train_file=file, value_link="identity", value_loss="bce")


@pytest.mark.parametrize("critic", ["value_head", "generative", "implicit"])
def test_soft_labels_train_every_critic(prepare, tmp_path, critic):
    rows = [{"prompt": f"{n % 2} :", "completion": "0 3 7", "reward": n / 8} for n in range(9)]
    losses = ("mse", "bce", "pairwise", "lambda") if critic == "value_head" else ("mse",)
    for value_loss in losses:
        given = {"value_loss": value_loss} if critic == "value_head" else {}
        assert prepare("critic", train_file=made(tmp_path, rows), critic=critic, **given).fit().state.global_step == 4


def test_rows_of_one_prompt_that_are_both_right_are_a_pair_where_their_rewards_differ(prepare, tmp_path):
    rows = [{"prompt": "1 :", "completion": "0 3 7", "reward": reward} for reward in (0.6, 0.9)]
    assert prepare("critic", train_file=made(tmp_path, rows), value_loss="pairwise").fit().state.global_step == 4


def test_what_is_kept_of_the_right_rows_lies_above_the_threshold(prepare, tmp_path):
    rows = [{"prompt": "1 :", "completion": "0 3 7", "reward": n / 10} for n in range(11)]
    file = made(tmp_path, rows)
    for given, least in (({}, 0.6), ({"keep_above": 0.8}, 0.9), ({"keep_above": -1}, 0.0)):
        kept = prepare(train_file=file, keep="right", **given).inputs.train_dataset
        assert min(kept["reward"]) == pytest.approx(least)
        assert set(kept["pass_rate"]) == {0.5}
