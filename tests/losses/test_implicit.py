"""The implicit reward loss against its formula on full logits, in float64."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from weighted_mtp.losses import implicit_reward_loss

BETA = 0.3


@pytest.fixture
def parts():
    """Three rows of five positions, the last row without a target; vocabulary 7, dimension 4; float64."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    targets = torch.tensor([[-100, 3, 1, 0, -100], [2, 2, 6, -100, -100], [-100] * 5])[..., None]
    return {
        "hidden": randn(3, 5, 1, 4).requires_grad_(),
        "lm_head_weight": randn(7, 4).requires_grad_(),
        "targets": targets,
        "reference_nll": randn(3, 5, 1).abs(),
        "rewards": torch.tensor([1.0, 0.0, 1.0]),
        "prior": torch.tensor(-0.7, dtype=torch.float64, requires_grad=True),
    }


def by_formula(parts, normalizer=2.0):
    logits = parts["hidden"] @ parts["lm_head_weight"].T
    nll = cross_entropy(logits.flatten(0, 2), parts["targets"].flatten(), reduction="none").view(3, 5, 1)
    log_ratio = torch.where(parts["targets"] != -100, parts["reference_nll"] - nll, 0.0).sum((1, 2))
    losses = binary_cross_entropy_with_logits(
        parts["prior"] + BETA * log_ratio[:2], parts["rewards"][:2].double(), reduction="none"
    )
    return losses.sum() / normalizer


def gradients(loss, parts):
    return torch.autograd.grad(loss, [parts[name] for name in ("hidden", "lm_head_weight", "prior")])


@pytest.mark.parametrize("normalizer", [None, 8.0])
def test_loss_and_gradients_are_those_of_the_formula(parts, normalizer):
    loss = implicit_reward_loss(**parts, beta=BETA, normalizer=normalizer)
    expected = by_formula(parts, normalizer or 2.0)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for given, wanted in zip(gradients(loss, parts), gradients(expected, parts), strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-12)


def test_micro_batches_add_up_to_the_batch(parts):
    rows = [slice(0, 1), slice(1, 3)]
    split = ("hidden", "targets", "reference_nll", "rewards")
    some = [
        implicit_reward_loss(
            **{name: x[part] if name in split else x for name, x in parts.items()}, beta=BETA, normalizer=2.0
        )
        for part in rows
    ]
    torch.testing.assert_close(sum(some), implicit_reward_loss(**parts, beta=BETA))


def test_a_nan_where_nothing_is_predicted_does_no_harm(parts):
    clean = implicit_reward_loss(**parts, beta=BETA)
    with torch.no_grad():
        parts["reference_nll"][0, 0] = parts["reference_nll"][2] = float("nan")
        parts["hidden"][2] = float("nan")
    torch.testing.assert_close(implicit_reward_loss(**parts, beta=BETA), clean)


def test_rows_without_any_target_give_a_zero_loss_with_a_gradient(parts):
    parts["targets"] = torch.full_like(parts["targets"], -100)
    loss = implicit_reward_loss(**parts, beta=BETA)
    assert loss.item() == 0
    assert all(not g.any() for g in gradients(loss, parts))


def test_a_second_backward_is_refused(parts):
    loss = implicit_reward_loss(**parts, beta=BETA)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="only once"):
        loss.backward()


@pytest.mark.parametrize(("name", "shape"), [("rewards", (2,)), ("reference_nll", (3, 5))])
def test_a_wrong_shape_is_named(parts, name, shape):
    parts[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=name):
        implicit_reward_loss(**parts)


@pytest.mark.parametrize("beta", [True, float("nan"), -1.0, 0.0, "1", None])
def test_a_beta_that_is_no_temperature_is_refused(parts, beta):
    with pytest.raises(ValueError, match=r"beta is .*; a finite number above 0 is needed"):
        implicit_reward_loss(**parts, beta=beta)
