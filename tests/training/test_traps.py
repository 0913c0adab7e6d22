"""The traps of `transformers.Trainer` that can be shown in one process, each closed on purpose."""

import copy
import math
import time

import pytest
import torch

from weighted_mtp.data import CompletionCollator
from weighted_mtp.losses import weighted_mtp_loss
from weighted_mtp.training.batch import BatchCounts, TokenBatch


@pytest.fixture(scope="module")
def mtp_run(prepare):
    """An untrained run with two heads: trainer, config, inputs."""
    return prepare(n_future=2)


def collate(run, picked) -> dict[str, torch.Tensor]:
    dataset = run.inputs.train_dataset
    return CompletionCollator.from_tokenizer(run.inputs.tokenizer)([dataset[i] for i in picked])


def test_the_denominator_counts_the_predictions_of_all_heads(mtp_run):
    batches = [collate(mtp_run, range(3)), collate(mtp_run, range(3, 8))]
    counts = mtp_run.trainer._get_num_items_in_batch(batches, torch.device("cpu"))
    labelled = [sum(label != -100 for label in mtp_run.inputs.train_dataset[i]["labels"]) for i in range(8)]
    assert int(counts.positions) == sum(labelled)
    # head 1 predicts every labelled token too, from one position earlier: prompts have two tokens or more
    assert int(counts.predictions) == 2 * sum(labelled)


def test_head_1_reaches_the_first_labelled_token_from_the_prompt_and_not_beyond_the_end(mtp_run):
    batch = TokenBatch.from_inputs(collate(mtp_run, [0]), 2)
    first = int((batch.labels[0] != -100).nonzero()[0])
    assert batch.targets[0, first - 2, 1] == batch.labels[0, first]
    assert batch.targets[0, -2, 1] == -100


def test_accumulation_does_not_divide_the_loss_again(mtp_run):
    trainer = mtp_run.trainer
    assert trainer.loss_is_scaled_for_ga is True
    batch = collate(mtp_run, range(4))
    counts = BatchCounts.of(TokenBatch.from_inputs(batch, 2))
    trainer.current_gradient_accumulation_steps = 4
    with torch.no_grad():
        plain = trainer.compute_loss(trainer.model, batch, num_items_in_batch=counts)
    trainer.model.zero_grad()
    stepped = trainer.training_step(trainer.model, batch, num_items_in_batch=counts)
    assert float(stepped) == pytest.approx(float(plain), rel=1e-6)


def test_a_nan_loss_is_not_replaced_by_the_average_of_earlier_ones(mtp_run):
    assert mtp_run.trainer.args.logging_nan_inf_filter is False


def test_the_warm_up_and_the_decay_of_the_heads_reach_the_loss(prepare):
    run = prepare(n_future=3, head_warmup_steps=4, head_decay=0.6)
    trainer, batch = run.trainer, collate(run, range(4))
    tokens = TokenBatch.from_inputs(batch, 3)
    hidden = run.inputs.model(batch["input_ids"], batch["attention_mask"])["hidden_states"]
    for step, head_weights in ((0, [1.0, 0.0, 0.0]), (1, [1.0, 0.15, 0.09]), (4, [1.0, 0.6, 0.36])):
        trainer.state.global_step = step
        expected = weighted_mtp_loss(
            hidden, targets=tokens.targets, head_weights=head_weights, **run.inputs.model.output_head()
        ).loss
        with torch.no_grad():
            assert float(trainer.compute_loss(trainer.model, batch)) == pytest.approx(float(expected), rel=1e-6)


def test_a_head_that_the_warm_up_leaves_out_is_not_logged_as_a_loss_of_zero(train):
    """Steps 0 and 1 are one log entry: head 1 weighs 0, then 1, and only step 1 computes its loss."""
    settings = {"n_future": 2, "learning_rate": 1e-9, "max_steps": 2}
    (entry, *_), (plain, *_) = (train(head_warmup_steps=warmup, **settings).state.log_history for warmup in (1, 0))
    assert entry["ce_head_0"] == pytest.approx(plain["ce_head_0"], rel=1e-5)
    # one step's rows against two steps' rows: near each other, and far from half
    assert entry["ce_head_1"] == pytest.approx(plain["ce_head_1"], rel=0.25)
    assert entry["weighted_ce"] > 0.75 * plain["weighted_ce"]


def evaluations(trainer) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "eval_loss" in entry]


def test_the_evaluation_loss_is_the_mean_over_tokens_and_not_over_batches(prepare, rows):
    losses, run = [], None
    for batch_size in (21, 5, 1):
        run = prepare(eval_file=str(rows["eval"]), per_device_eval_batch_size=batch_size)
        losses.append(run.trainer.evaluate()["eval_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[2] == pytest.approx(losses[0], rel=1e-6)
    means = []
    for row in run.inputs.eval_dataset:
        batch = run.trainer.data_collator([row])
        with torch.no_grad():
            means.append(float(run.trainer.compute_loss(run.trainer.model, batch)))
    assert sum(means) / len(means) != pytest.approx(losses[0], rel=1e-3)


def test_evaluation_has_the_loss_of_training(prepare, rows):
    """The same rows, weights, coefficients and value loss: lm_coef is counted once."""
    run = prepare(
        "critic", lm_coef=0.25, value_coef=2.0, train_file=str(rows["eval"]), eval_file=str(rows["eval"]),
        per_device_train_batch_size=21, max_steps=1, logging_steps=1,
    )  # fmt: skip
    before = run.trainer.evaluate()["eval_loss"]
    trained = run.fit().state.log_history
    loss = next(entry["loss"] for entry in trained if "loss" in entry)
    assert before == pytest.approx(loss, rel=1e-6)


def test_evaluation_reads_the_running_statistics_and_leaves_them(prepare, rows, critic_dir):
    run = prepare(
        "verifiable", model_name_or_path=str(critic_dir), eval_file=str(rows["eval"]),
        scheme_options={"whitening": "ema", "unit_mean": True},
    )  # fmt: skip
    scheme = run.fit().scheme
    state = copy.deepcopy(scheme.state_dict())
    assert float(state["whitener.weight"]) > 0
    first = run.trainer.evaluate()
    assert all(torch.equal(state[name], tensor) for name, tensor in scheme.state_dict().items())
    scheme.whitener.mean += 1.0
    second = run.trainer.evaluate()
    assert second["eval_weight_mean"] < first["eval_weight_mean"]


def test_evaluation_twice_gives_the_same_numbers(prepare, rows):
    run = prepare(eval_file=str(rows["eval"]))
    first, second = run.trainer.evaluate(), run.trainer.evaluate()
    assert first["eval_loss"] == second["eval_loss"]


def test_the_time_of_an_evaluation_is_not_training_time(prepare, rows):
    trainer = prepare(eval_file=str(rows["eval"])).trainer
    before, started = trainer.window_start, time.perf_counter()
    trainer.evaluate()
    elapsed = time.perf_counter() - started
    assert 0.9 * elapsed < trainer.window_start - before <= elapsed


def test_equal_rewards_leave_no_variance_to_explain(train):
    entry = train("verifiable", keep="right", value_coef=0.0).state.log_history[0]
    assert "value_explained_variance" not in entry
    assert math.isfinite(entry["td_mean"])


def test_a_frozen_trunk_logs_no_cross_entropy(train):
    entry = train("critic", freeze_trunk=True).state.log_history[0]
    assert "value_loss" in entry
    assert not {"weighted_ce", "ce_head_0"} & entry.keys()


def test_the_best_model_and_not_the_last_is_kept_where_that_is_asked_for(prepare, rows):
    """A learning rate that ruins the model: the best evaluation is not the last."""
    run = prepare(
        "verifiable",
        n_future=2,
        scheme_options={"whitening": "ema"},
        eval_file=str(rows["eval"]),
        eval_steps=1,
        save_steps=1,
        learning_rate=2.0,
        lr_scheduler_type="constant",
        max_steps=4,
        save_total_limit=5,
        early_stopping_patience=9,  # more than there are evaluations
    )
    trainer = run.fit()
    losses = {entry["step"]: entry["eval_loss"] for entry in evaluations(trainer)[:-1] if entry["step"]}
    best = min(losses, key=losses.__getitem__)
    assert best < 4
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert evaluations(trainer)[-1]["eval_loss"] == pytest.approx(losses[best], rel=1e-5)
