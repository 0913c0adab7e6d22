"""What is logged equals the published statistics of the same weights and TD errors."""

import pytest
import torch

from weighted_mtp.losses import mtp_nll
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.value_weighting import build_weights, compute_td_errors, compute_td_stats, compute_weight_stats

BETA, LOW, HIGH = 0.1, 0.7, 1.5


@pytest.fixture(scope="module")
def step(prepare, critic_dir):
    """One step of six rows in three micro-batches, by a frozen critic: its log entry, and the batch again."""
    run = prepare(
        "verifiable",
        critic=str(critic_dir),
        scheme_options={"beta": BETA, "min_weight": LOW, "max_weight": HIGH},
        per_device_train_batch_size=2,
        gradient_accumulation_steps=3,
        max_steps=1,
        logging_steps=1,
    )
    rows = []
    collate = run.trainer.data_collator
    run.trainer.data_collator = lambda some: rows.extend(some) or collate(some)
    loader = run.trainer.get_train_dataloader()
    for _, _batch in zip(range(3), loader, strict=False):
        pass
    batch = TokenBatch.from_inputs(collate(rows[:6]), 1)
    with torch.no_grad():
        hidden = run.inputs.model(batch.input_ids, batch.attention_mask)["hidden_states"]
        nll = mtp_nll(hidden, targets=batch.targets, **run.inputs.model.output_head())
        values = run.inputs.stage.critic.model.trunk_forward(batch.input_ids, batch.attention_mask)["values"]
    td_errors = compute_td_errors(values, batch.rewards, batch.mask)
    weights = build_weights(td_errors, BETA, LOW, HIGH, mask=batch.mask)
    entry = run.fit().state.log_history[0]
    return entry, batch, values.squeeze(-1), td_errors, weights, nll.squeeze(-1)


def test_td_statistics_are_the_published_ones(step):
    entry, batch, _, td_errors, _, _ = step
    for name, value in compute_td_stats(td_errors, batch.mask).items():
        assert entry[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_weight_statistics_are_the_published_ones(step):
    entry, batch, _, _, weights, _ = step
    for name, value in compute_weight_stats(weights, batch.mask).items():
        assert entry[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_the_weighted_cross_entropy_is_the_mean_weighted_by_the_weights(step):
    entry, batch, _, _, weights, nll = step
    assert entry["weighted_ce"] == pytest.approx(float((weights * nll).sum() / weights.sum()), rel=1e-5)
    assert entry["ce_head_0"] == pytest.approx(float(nll.sum() / batch.mask.sum()), rel=1e-5)


def test_the_loss_is_the_weighted_sum_over_the_number_of_predictions(step):
    entry, batch, _, _, weights, nll = step
    assert entry["loss"] == pytest.approx(float((weights * nll).sum() / batch.mask.sum()), rel=1e-5)


def test_the_clip_fraction_is_the_share_at_a_bound(step):
    entry, batch, _, _, weights, _ = step
    valid = weights[batch.mask]
    share = float(((valid <= LOW) | (valid >= HIGH)).float().mean())
    assert 0 < share < 1
    assert entry["weight_clip_fraction"] == pytest.approx(share, rel=1e-6)


def test_explained_variance_is_one_minus_the_share_that_is_left(step):
    entry, batch, values, _, _, _ = step
    rewards = batch.rewards[:, None].expand_as(values)[batch.mask]
    left = (rewards - values[batch.mask]).var()
    assert entry["value_explained_variance"] == pytest.approx(float(1 - left / rewards.var()), abs=1e-5)


def test_kl_to_uniform_is_log_n_less_the_entropy(step):
    entry, batch, _, _, weights, _ = step
    p = weights[batch.mask] / weights.sum()
    kl = float((p * (p * len(p)).log()).sum())
    assert entry["weight_kl"] == pytest.approx(kl, abs=1e-6)


def test_weights_that_are_all_0_are_told(train, caplog):
    train("baseline", scheme="profit", scheme_options={"tau": 0.999})
    assert "all weights since the last entry are 0: the language model learned nothing" in caplog.text
    caplog.clear()
    train("baseline")
    assert "are 0" not in caplog.text
