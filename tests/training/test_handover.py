"""The published hand-over, step by step on our model, and how the trainer's loss differs from it."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from weighted_mtp.models import MTPModel
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.value_weighting import build_weights, compute_td_errors, compute_td_stats, compute_weight_stats


@pytest.fixture(scope="module")
def batch(prepare) -> TokenBatch:
    run = prepare()
    inputs = run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(8)])
    return TokenBatch.from_inputs(inputs, 2)


@pytest.fixture(scope="module")
def model(critic_dir) -> MTPModel:
    return MTPModel.from_pretrained(critic_dir, n_future=2)


def test_the_published_hand_over_runs_on_our_model(model, batch):
    """trunk_forward and full_forward -> TD errors -> weights -> (ce * weights).mean(), as published.

    The published loss is a plain mean over every position of every head: positions without a target
    (prompt, padding, beyond the end) add 0 to the sum and 1 to the count, so the loss shrinks as rows get
    padding, and a batch differs from its micro-batches. `weighted_mtp_loss` has the same numerator and
    divides it by the number of valid predictions, counted over all micro-batches and processes before the
    first backward pass. On one batch the two differ by the share of positions that have a target, so their
    gradients have one direction.
    """
    trunk = model.trunk_forward(batch.input_ids, batch.attention_mask)
    td_errors = compute_td_errors(trunk["values"].detach(), batch.rewards, batch.attention_mask)
    weights = build_weights(td_errors, beta=0.9, min_weight=0.1, max_weight=5.0)
    logits = model.full_forward(batch.input_ids, batch.attention_mask)["logits"]
    ce = torch.stack(
        [cross_entropy(logits[:, :, k].transpose(1, 2), batch.targets[:, :, k], reduction="none") for k in range(2)],
        dim=-1,
    )
    loss = (ce * weights[..., None]).mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.hf_model.parameters())
    assert {*compute_td_stats(td_errors), *compute_weight_stats(weights)} == {
        *("td_mean", "td_std", "td_min", "td_max"),
        *("weight_mean", "weight_std", "weight_min", "weight_max", "weight_entropy"),
    }


def test_our_normaliser_differs_from_the_published_mean_by_the_share_of_positions_with_a_target(
    prepare, critic_dir, batch
):
    """ours * valid predictions == published * all positions, given the same weights."""
    from weighted_mtp.losses import weighted_mtp_loss
    from weighted_mtp.value_weighting import align_to_heads

    model = MTPModel.from_pretrained(critic_dir, n_future=2)
    values = model.trunk_forward(batch.input_ids, batch.attention_mask)["values"].detach()
    weights = build_weights(compute_td_errors(values, batch.rewards, batch.mask), mask=batch.mask)
    weights = align_to_heads(weights, 2)
    outputs = model.full_forward(batch.input_ids, batch.attention_mask)
    ce = cross_entropy(outputs["logits"].flatten(0, 2), batch.targets.flatten(), reduction="none")
    published = (ce * weights.flatten()).mean()
    ours = weighted_mtp_loss(
        outputs["hidden_states"], targets=batch.targets, weights=weights, **model.output_head()
    ).loss
    share = batch.valid.float().mean()
    torch.testing.assert_close(ours * share, published)


def test_right_padding_moves_the_published_mean_and_not_ours(prepare, critic_dir, batch):
    from weighted_mtp.losses import weighted_mtp_loss

    model = MTPModel.from_pretrained(critic_dir)

    def losses(width: int) -> tuple[float, float]:
        def pad(x: torch.Tensor, fill: int) -> torch.Tensor:
            return torch.nn.functional.pad(x, (0, width), value=fill)

        targets = pad(batch.targets[..., 0], -100)[..., None]
        with torch.no_grad():
            outputs = model.full_forward(pad(batch.input_ids, 24), pad(batch.attention_mask, 0))
            ce = cross_entropy(outputs["logits"].flatten(0, 2), targets.flatten(), reduction="none")
            ours = weighted_mtp_loss(outputs["hidden_states"], targets=targets, **model.output_head()).loss
        return float(ce.mean()), float(ours)

    (published, ours), (published_padded, ours_padded) = losses(0), losses(10)
    assert ours_padded == pytest.approx(ours, rel=1e-5)
    assert published_padded < 0.8 * published
