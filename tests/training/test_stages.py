"""What the four stages signal, train and refuse, in real runs."""

import json
import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.conftest import weights_in
from weighted_mtp.cli.main import main
from weighted_mtp.losses import mtp_nll, weighted_mtp_loss
from weighted_mtp.models import CriticSpec, MTPModel, load_tokenizer
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.value_weighting import compute_lambda_returns, weigh

OBJECTIVES = ["mse", "bce", "pairwise", "lambda"]


def changed(run, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in run.inputs.model.named_parameters() if not torch.equal(p, before[name])}


def batch_of(run, picked=range(8)) -> TokenBatch:
    inputs = run.trainer.data_collator([run.inputs.train_dataset[i] for i in picked])
    return TokenBatch.from_inputs(inputs, run.inputs.model.n_future)


def signals_of(run, batch: TokenBatch):
    outputs = run.inputs.model(batch.input_ids, batch.attention_mask)
    signals = run.inputs.stage.signals(batch, outputs, run.inputs.model, run.trainer.seeded_generator())
    return outputs, signals


# Stage 1, critic


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_critic_on_a_frozen_trunk_trains_its_value_head_alone(prepare, objective):
    run = prepare("critic", freeze_trunk=True, value_loss=objective)
    before = run.parameters()
    run.fit()
    # a ranking compares two scores, from which a common bias cancels
    bias = set() if objective == "pairwise" else {"value_head.bias"}
    assert changed(run, before) == {"value_head.weight"} | bias


def test_a_hidden_layer_of_the_value_head_learns_on_a_frozen_trunk_alone(prepare):
    run = prepare("critic", freeze_trunk=True, value_hidden=8)
    before = run.parameters()
    run.fit()
    assert changed(run, before) == {
        *("value_head.weight", "value_head.bias"),
        *("value_head.hidden.weight", "value_head.hidden.bias"),
    }


@pytest.fixture(scope="module")
def learnable(tmp_path_factory) -> str:
    """Prompts with a right and a wrong completion each: wrong is what says 9."""
    rows = [
        {"prompt": f"{i % 10} +3 :", "completion": f"{(i + 3) % 9} {9 if i % 2 else 1}", "label": i % 2 == 0}
        for i in range(10)
        for _ in range(4)
    ]
    rows += [{**row, "completion": row["completion"][:2] + ("1" if i % 2 else "9"), "label": i % 2 == 1}
             for i in range(10) for row in (rows[4 * i],)]  # fmt: skip
    path = tmp_path_factory.mktemp("learnable") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_critic_learns_what_can_be_learned(train, learnable, objective):
    entries = train(
        "critic",
        train_file=learnable,
        sampler="balanced",
        value_loss=objective,
        value_coef=4.0,
        max_steps=40,
        warmup_steps=5,
        learning_rate=5e-3,
        logging_steps=5,
    ).state.log_history
    losses = [entry["value_loss"] for entry in entries if "value_loss" in entry]
    assert losses[-1] < 0.8 * losses[0]


def test_a_critic_with_its_trunk_learns_both_losses_at_once(train):
    trainer = train("critic", max_steps=20, learning_rate=3e-3, logging_steps=10)
    first, last = (entry for entry in trainer.state.log_history if "ce_head_0" in entry)
    assert last["ce_head_0"] < first["ce_head_0"]
    assert last["loss"] == pytest.approx(last["ce_head_0"] + 0.5 * last["value_loss"], rel=0.05)


def test_lambda_returns_are_regressed_on_as_constants(prepare, critic_dir):
    run = prepare("critic", model_name_or_path=str(critic_dir), value_loss="lambda", value_lam=0.5)
    batch = batch_of(run)
    outputs, _ = signals_of(run, batch)
    loss = run.inputs.stage.value_loss(batch, outputs, BatchCounts.of(batch), run.inputs.model)
    values = outputs["values"].squeeze(-1)
    returns = compute_lambda_returns(values.detach(), batch.rewards, batch.mask, 1.0, 0.5)
    expected = (values - returns)[batch.mask].square().mean()
    grads = [torch.autograd.grad(x, outputs["values"], retain_graph=True)[0] for x in (loss, expected)]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(grads[0], grads[1])


def test_pairs_are_counted_as_the_ranking_loss_counts_them(prepare):
    run = prepare("critic", value_loss="pairwise", sampler="pairs")
    batch = batch_of(run, range(40))
    right, wrong = batch.rewards > 0.5, batch.rewards < 0.5
    expected = sum(
        bool(right[i] and wrong[j] and batch.prompt_ids[i] == batch.prompt_ids[j]) for i in range(40) for j in range(40)
    )
    assert int(BatchCounts.of(batch).pairs) == expected > 0


# Stage 2, verifiable


@pytest.fixture(scope="module")
def hidden_critic_dir(train) -> str:
    """What a stage 1 whose value head has a hidden layer left."""
    return train("critic", value_hidden=8, lora_rank=4, learning_rate=1e-2).args.output_dir


def test_stage_2_goes_on_with_a_hidden_layer_without_being_asked(prepare, hidden_critic_dir):
    saved = weights_in(hidden_critic_dir)
    run = prepare("verifiable", model_name_or_path=hidden_critic_dir)
    before = run.parameters()
    assert torch.equal(before["value_head.hidden.weight"], saved["value_head.hidden.weight"])
    run.fit()
    assert {"value_head.weight", "value_head.hidden.weight"} <= changed(run, before)


def test_another_width_than_the_critics_is_refused(prepare, hidden_critic_dir):
    with pytest.raises(ValueError, match="trained with value_hidden 8, got 16: leave it out"):
        prepare("verifiable", model_name_or_path=hidden_critic_dir, value_hidden=16)


def test_stage_2_starts_from_the_directory_of_stage_1(prepare, critic_dir):
    run = prepare("verifiable", model_name_or_path=str(critic_dir))
    saved = weights_in(critic_dir)
    assert float(saved["value_head.weight"].abs().max()) > 0
    assert torch.equal(run.inputs.model.value_head.weight, saved["value_head.weight"])


def test_no_gradient_flows_from_the_weights_into_the_value_head(prepare, critic_dir):
    """The gradient is that of fixed weights: weighted cross-entropy plus value_coef times the value loss."""
    run = prepare("verifiable", model_name_or_path=str(critic_dir), scheme_options={"beta": 0.1})
    model, batch = run.inputs.model, batch_of(run)
    names = ("input_ids", "attention_mask", "labels", "rewards", "row_ids", "prompt_ids")
    inputs = {name: getattr(batch, name) for name in names}
    run.trainer.compute_loss(model.train(), inputs).backward()
    given = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    outputs, signals = signals_of(run, batch)
    weights = weigh(run.trainer.scheme, signals)
    assert float(weights[batch.valid].std()) > 0.05
    rewards = batch.rewards[:, None].expand_as(batch.mask)
    error = (outputs["values"].squeeze(-1) - rewards)[batch.mask].square().mean()
    lm = weighted_mtp_loss(outputs["hidden_states"], targets=batch.targets, weights=weights, **model.output_head())
    (lm.loss + 0.5 * error).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(given[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_value_head_alone_reads_the_value_loss(prepare, critic_dir):
    run = prepare("verifiable", model_name_or_path=str(critic_dir), value_coef=0.0)
    before = run.parameters()
    run.fit()
    moved = changed(run, before)
    assert moved
    assert not {name for name in moved if name.startswith("value_head")}


def test_a_separate_critic_gives_the_values_and_is_left_unchanged(prepare, critic_dir):
    run = prepare("verifiable", critic=str(critic_dir))
    critic = run.inputs.stage.critic.model
    before = {name: t.clone() for name, t in critic.state_dict().items()}
    batch = batch_of(run)
    _, signals = signals_of(run, batch)
    values = critic.trunk_forward(batch.input_ids, batch.attention_mask)["values"].squeeze(-1)
    assert torch.equal(signals.values, values)
    run.fit()
    assert all(torch.equal(before[name], tensor) for name, tensor in critic.state_dict().items())
    assert not any(p.requires_grad for p in critic.parameters())
    assert run.inputs.model.value_head is None


def test_values_of_the_data_go_before_those_of_a_head(prepare, tmp_path, rows):
    table = [json.loads(line) for line in rows["train"].read_text().splitlines()]
    for row in table:
        row["values"] = [0.25] * (len(row["completion"].split()) + 1)
    path = tmp_path / "scored.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    run = prepare("verifiable", train_file=str(path))
    batch = batch_of(run)
    assert torch.equal(signals_of(run, batch)[1].values, torch.where(batch.mask, 0.25, 0.0))


def test_a_critic_without_a_value_head_is_refused(prepare, chain_base):
    with pytest.raises(ConfigError, match="has no value head: train it with `wmtp train critic`"):
        prepare("verifiable", critic=str(chain_base / "base"))


def test_stage_2_without_a_trained_value_head_is_refused_before_anything_is_written(chain_base, tmp_path, capsys):
    files = ["--train_file", str(chain_base / "train.jsonl"), "--output_dir", str(tmp_path / "run")]
    for start in (["--model_name_or_path", str(chain_base / "base")], untrained_words(chain_base, tmp_path)):
        assert main(["train", "verifiable", *start, *files]) == 2
        assert "wmtp train critic" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def untrained_words(chain_base, tmp_path) -> list[str]:
    """A separate critic whose head is all 0."""
    MTPModel.from_pretrained(chain_base / "base", value_head=True, value_hidden=4).save_pretrained(tmp_path / "zero")
    AutoTokenizer.from_pretrained(chain_base / "base").save_pretrained(tmp_path / "zero")
    return ["--model_name_or_path", str(chain_base / "base"), "--critic", str(tmp_path / "zero")]


@pytest.mark.parametrize("spec", [None, CriticSpec("generative")], ids=["value_head", "generative"])
def test_a_critic_that_was_never_trained_scores_nothing(chain_base, tmp_path, spec):
    MTPModel.from_pretrained(chain_base / "base", value_head=True, critic=spec).save_pretrained(tmp_path / "zero")
    load_tokenizer(chain_base / "base").save_pretrained(tmp_path / "zero")
    config = ScoreConfig(str(tmp_path / "zero"), str(chain_base / "train.jsonl"), str(tmp_path / "scored"))
    with pytest.raises(ConfigError, match=r"never trained.*wmtp train critic"):
        score(config)


def test_the_prior_of_a_generative_critic_is_no_value_head_to_start_from(prepare, train):
    prior = train("critic", critic="generative", prior="head", max_steps=2, learning_rate=1e-2).args.output_dir
    with pytest.warns(UserWarning, match="generative critic"), pytest.raises(ConfigError, match="never trained"):
        prepare("verifiable", model_name_or_path=prior)


@pytest.mark.parametrize("label", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize(
    ("stage", "settings"),
    [("critic", {}), ("critic", {"critic": "generative"}), ("critic", {"critic": "implicit"}), ("verifiable", {})],
)
def test_rows_of_one_outcome_train_no_critic(prepare, tmp_path, rows, stage, settings, label):
    table = [json.loads(line) | {"label": label} for line in rows["train"].read_text().splitlines()]
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    with pytest.raises(ConfigError, match=rf"are {'right' if label else 'wrong'}.*needs right and wrong ones"):
        prepare(stage, train_file=str(path), **settings)


# Stage 3, rho1


def test_an_equal_reference_gives_an_excess_of_zero(prepare, chain_base):
    run = prepare("rho1", reference=str(chain_base / "base"))
    _, signals = signals_of(run, batch_of(run))
    assert float((signals.nll - signals.reference_nll).abs().max()) < 1e-6
    assert float(signals.nll.max()) > 1


def test_a_single_head_reference_lends_its_next_token_loss_to_every_head(prepare, chain_base):
    run = prepare("rho1", reference=str(chain_base / "base"), n_future=2)
    batch = batch_of(run)
    _, signals = signals_of(run, batch)
    assert signals.reference_nll.shape == (*batch.labels.shape, 2)
    # head 1 at t predicts token t+2, whose next-token loss stands at t+1
    both = batch.valid[:, :-1, 1]
    assert torch.equal(signals.reference_nll[:, :-1, 1][both], signals.reference_nll[:, 1:, 0][both])


def test_a_reference_with_as_many_heads_is_read_head_by_head(prepare, train):
    reference = train(n_future=2).args.output_dir
    run = prepare("rho1", reference=reference, n_future=2)
    batch = batch_of(run)
    model = run.inputs.stage.reference
    outputs = model(batch.input_ids, batch.attention_mask)
    expected = mtp_nll(outputs["hidden_states"], targets=batch.targets, **model.output_head())
    assert torch.equal(signals_of(run, batch)[1].reference_nll, expected)


def test_rho1_trains_on_the_kept_share_and_leaves_the_reference_alone(prepare, chain_base):
    run = prepare("rho1", reference=str(chain_base / "base"), scheme_options={"keep_fraction": 0.5})
    stage = run.inputs.stage
    assert stage.reference is not None
    before = {name: t.clone() for name, t in stage.reference.state_dict().items()}
    entries = run.fit().state.log_history
    assert all(0.5 <= entry["weight_mean"] < 0.55 for entry in entries if "weight_mean" in entry)
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.reference.state_dict().items())


def test_a_reference_with_another_tokenizer_is_refused(prepare, chain_base, tmp_path):

    tokenizer = AutoTokenizer.from_pretrained(chain_base / "base")
    tokenizer.add_tokens(["%2"])
    MTPModel.from_pretrained(chain_base / "base").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"another tokenizer \(26 tokens, the model's has 25\)"):
        prepare("rho1", reference=str(tmp_path))


# Schemes


def test_column_weights_are_used_as_they_are(prepare, rows, tmp_path):
    table = [json.loads(line) for line in rows["train"].read_text().splitlines()]
    for i, row in enumerate(table):
        row["weights"] = [float(i + 10 * j) for j in range(len(row["completion"].split()) + 1)]
    path = tmp_path / "weighted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    run = prepare(scheme="column", train_file=str(path))
    batch = batch_of(run)
    weights = weigh(run.trainer.scheme, signals_of(run, batch)[1])[..., 0]
    for i in range(8):
        assert weights[i][batch.mask[i]].tolist() == table[i]["weights"]


def test_a_scheme_of_ones_own_is_named_by_its_import_path(prepare, tmp_path, monkeypatch):
    package = tmp_path / "my_schemes"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from weighted_mtp.value_weighting import WeightingScheme\n"
        "class EveryOther(WeightingScheme):\n"
        "    def __init__(self, weight: float = 2.0) -> None:\n"
        "        super().__init__()\n"
        "        self.weight = weight\n"
        "    def forward(self, signals):\n"
        "        return (signals.mask.cumsum(1) % 2) * self.weight\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = prepare(scheme="my_schemes:EveryOther", scheme_options={"weight": 3.0})
    entry = run.fit().state.log_history[0]
    assert (entry["weight_min"], entry["weight_max"]) == (0.0, 3.0)


# Rows


def test_keep_right_trains_on_right_rows_only(prepare):
    run = prepare(keep="right")
    assert set(run.inputs.train_dataset["reward"]) == {1.0}
    assert run.fit().state.global_step == 4


@pytest.mark.parametrize("sampler", ["balanced", "length_balanced", "pairs"])
def test_what_balances_right_and_wrong_shuffles_the_right_ones_that_keep_leaves_and_says_so(prepare, caplog, sampler):
    orders = [list(prepare(keep="right", sampler=name).trainer._get_train_sampler()) for name in ("shuffled", sampler)]
    assert orders[0] == orders[1]
    (message,) = [r.getMessage() for r in caplog.records if "keep: right" in r.getMessage()]
    assert f"sampler {sampler} no wrong rows to balance" in message


def test_a_warning_says_how_many_rows_a_sampler_leaves_out(prepare, caplog):
    run = prepare("critic", sampler="pairs", value_loss="pairwise")
    sampler = run.trainer._get_train_sampler()
    assert sampler.left_out > 0
    caplog.clear()
    with caplog.at_level(logging.WARNING, "weighted_mtp"):
        run.fit()
    (message,) = [r.getMessage() for r in caplog.records if "never shows" in r.getMessage()]
    assert f"sampler pairs never shows {sampler.left_out} of 80 rows" in message


def seen_rows(prepare, **settings) -> tuple[list[int], object]:
    """Row numbers in the order that training reads them, and the trainer."""
    run = prepare(**settings)
    seen: list[int] = []
    collate = run.trainer.data_collator
    run.trainer.data_collator = lambda some: seen.extend(row["row_id"] for row in some) or collate(some)
    return seen, run.fit()


@pytest.mark.parametrize("sampler", ["shuffled", "balanced", "pairs", "curriculum", "length_balanced"])
def test_every_sampler_orders_a_real_run(prepare, sampler):
    seen, trainer = seen_rows(prepare, sampler=sampler, max_steps=-1, num_train_epochs=2)
    order = trainer._get_train_sampler()
    expected = []
    for epoch in (0, 1):
        order.set_epoch(epoch)
        expected += list(order)
    assert seen == expected
    assert seen[: len(order)] != seen[len(order) :]


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"max_steps": -1, "num_train_epochs": 3}, 3),
        ({"max_steps": 20}, 2),
        ({"max_steps": 5, "gradient_accumulation_steps": 4}, 2),
    ],
    ids=["epochs", "steps", "accumulation"],
)
def test_a_curriculum_lasts_as_long_as_the_training(prepare, settings, epochs):
    run = prepare(sampler="curriculum", **settings)
    assert run.trainer._get_train_sampler().epochs == epochs


def test_what_a_run_leaves_is_a_directory_that_the_next_stage_reads(critic_dir):
    left = {path.name for path in Path(critic_dir).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "run.yaml", "weighting.pt"} <= left
