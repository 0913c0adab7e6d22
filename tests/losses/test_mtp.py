"""Values and gradients of weighted_mtp_loss and mtp_nll against a plain float64 loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from weighted_mtp.losses import mtp_nll, mtp_targets, weighted_mtp_loss

from .conftest import example, naive, relative_error


def assert_agrees(inputs: dict[str, Tensor], bias: Tensor | None = None, tolerance: float = 1e-5, **options):
    chunk_size = options.pop("chunk_size", None)
    out = weighted_mtp_loss(**inputs, bias=bias, chunk_size=chunk_size, **options)
    out.loss.backward()
    reference = naive(*inputs.values(), bias=bias, **options)
    scale = max(1.0, reference.nll.abs().sum().item())  # the loss of signed weights can cancel
    assert abs(out.loss.item() - reference.loss.item()) <= tolerance * scale
    assert_near(inputs["hidden"].grad, reference.hidden_grad, tolerance)
    assert_near(inputs["lm_head_weight"].grad, reference.weight_grad, tolerance)
    if bias is not None:
        assert_near(bias.grad, reference.bias_grad, tolerance)


def assert_near(gradient: Tensor, reference: Tensor, tolerance: float):
    """Relative to the reference, but for gradients that all but vanish."""
    assert (gradient.double() - reference).norm() <= tolerance * (reference.norm() + 1e-3)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 3),
    seq=st.integers(1, 6),
    n_future=st.integers(1, 4),
    dim=st.integers(1, 9),
    vocab=st.integers(1, 37),
    seed=st.integers(0, 10_000),
    chunk_size=st.none() | st.integers(1, 50),
    normalizer=st.sampled_from(["tokens", "sum", 7.5]),
    logit_scale=st.sampled_from([1.0, 0.25, -3.0]),
    softcap=st.sampled_from([None, 0.7, 30.0]),
    with_bias=st.booleans(),
)
def test_values_and_gradients_follow_the_definition(
    batch, seq, n_future, dim, vocab, seed, chunk_size, normalizer, logit_scale, softcap, with_bias
):
    # float64: in float32 a confident row or a saturated softcap loses digits, here as in autograd
    inputs = example(batch, seq, n_future, dim, vocab, seed, dtype=torch.float64)
    inputs["weights"] = inputs["weights"].double()
    if normalizer == "tokens" and not (inputs["targets"] != -100).any():
        normalizer = "sum"  # 0 / 0 in the reference
    bias = torch.linspace(-2, 2, vocab).double().requires_grad_() if with_bias else None
    head_weights = [1.0, 0.0, -0.5, 2.0][:n_future]
    assert_agrees(
        inputs,
        bias,
        tolerance=1e-9,
        chunk_size=chunk_size,
        normalizer=normalizer,
        logit_scale=logit_scale,
        softcap=softcap,
        head_weights=head_weights,
    )


def test_weights_divide_by_their_sum():
    inputs = example()
    inputs["weights"] = inputs["weights"].abs()
    assert_agrees(inputs, normalizer="weights")


@pytest.mark.parametrize("options", [{"softcap": 5.0}, {"logit_scale": 0.25}, {"logit_scale": -2.0}])
def test_float32_gradients_are_exact_to_1e_5_through_softcap_scale_and_bias(options: dict[str, float]):
    assert_agrees(example(batch=4, seq=20, vocab=101), torch.linspace(-2, 2, 101).requires_grad_(), **options)


def test_head_weights_may_be_a_tensor():
    assert_agrees(example(), head_weights=torch.tensor([0.0, 1.0, 0.3]))


def test_hidden_states_need_not_be_contiguous():
    inputs = example()
    inputs["hidden"] = inputs["hidden"].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert_agrees(inputs)


def test_many_default_chunks_add_up():
    # 64 rows a chunk; 16 wide, because some processors' matmuls sum narrower ones to 1.5e-5 only, naive or not
    inputs = example(batch=3, seq=50, n_future=2, dim=16, vocab=40_009)
    assert_agrees(inputs)


@pytest.mark.parametrize("factor", [8.0, 1000.0])
def test_huge_logits_stay_exact(factor: float):
    inputs = example()
    inputs["hidden"] = (inputs["hidden"].detach() * factor).requires_grad_()
    assert_agrees(inputs)


def test_one_row_is_enough():
    assert_agrees(
        {
            "hidden": torch.tensor([[[[1.0, 2.0]]]], requires_grad=True),
            "lm_head_weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True),
            "targets": torch.tensor([[[1]]]),
        }
    )


def test_two_equal_logits_cost_ln_2_and_push_half_a_unit_each_way():
    hidden = torch.tensor([[[[1.0]]]], requires_grad=True)
    unembedding = torch.zeros(2, 1, requires_grad=True)
    out = weighted_mtp_loss(hidden, unembedding, torch.tensor([[[0]]]), torch.tensor([[[3.0]]]))
    out.loss.backward()
    assert out.loss.item() == pytest.approx(3 * math.log(2))
    assert unembedding.grad.flatten().tolist() == [3 * (0.5 - 1), 3 * 0.5]


def test_uniform_weights_agree_with_cross_entropy():
    inputs = example()
    hidden, unembedding, targets = (inputs[k] for k in ("hidden", "lm_head_weight", "targets"))
    expected = cross_entropy(linear(hidden, unembedding).flatten(0, 2), targets.flatten())
    assert weighted_mtp_loss(hidden, unembedding, targets).loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("head", [0, 1, 2, 3])
def test_a_one_hot_weight_reads_exactly_the_token_its_head_predicts(head: int):
    labels = torch.tensor([[0, 1, 2, 3, 4, 5]])
    hidden = torch.randn(1, 6, 4, 3, generator=torch.Generator().manual_seed(1))
    unembedding = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    t = 1
    weights = torch.zeros(1, 6, 4)
    weights[0, t, head] = 1.0
    loss = weighted_mtp_loss(hidden, unembedding, mtp_targets(labels, 4), weights, normalizer="sum").loss
    expected = -torch.log_softmax(unembedding @ hidden[0, t, head], -1)[labels[0, t + 1 + head]]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("head", [0, 1, 2])
def test_a_one_hot_weight_sends_gradient_to_its_own_hidden_state_only(head: int):
    labels = torch.tensor([[0, 1, 2, 3, 4, 5]])
    hidden = torch.ones(1, 6, 3, 2, requires_grad=True)
    weights = torch.zeros(1, 6, 3)
    weights[0, 2, head] = 1.0
    unembedding = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
    weighted_mtp_loss(hidden, unembedding, mtp_targets(labels, 3), weights).loss.backward()
    assert hidden.grad.any(-1).nonzero().tolist() == [[0, 2, head]]


@pytest.mark.parametrize("normalizer", ["tokens", "weights"])
def test_micro_batches_with_the_global_denominator_equal_the_whole_batch(normalizer: str):
    inputs = example(batch=6, seq=9)
    weights = inputs["weights"].abs()
    valid = inputs["targets"] != -100
    denominator = valid.sum() if normalizer == "tokens" else (weights * valid).sum()
    hidden, unembedding, targets = (inputs[k] for k in ("hidden", "lm_head_weight", "targets"))
    whole = weighted_mtp_loss(hidden, unembedding, targets, weights, normalizer=normalizer)
    whole_grads = torch.autograd.grad(whole.loss, (hidden, unembedding))
    parts = [
        weighted_mtp_loss(hidden[i], unembedding, targets[i], weights[i], normalizer=denominator)
        for i in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    total = sum(part.loss for part in parts)
    part_grads = torch.autograd.grad(total, (hidden, unembedding))
    assert total.item() == pytest.approx(whole.loss.item(), rel=1e-6)
    for part, expected in zip(part_grads, whole_grads, strict=True):
        assert relative_error(part, expected.double()) <= 1e-6


def test_metrics_per_head_follow_their_definitions():
    inputs = example()
    head_weights = [1.0, 0.0, 0.5]
    out = weighted_mtp_loss(**inputs, head_weights=head_weights)
    reference = naive(*inputs.values(), head_weights=head_weights)
    valid = inputs["targets"] != -100
    weights = inputs["weights"] * valid
    for k, factor in enumerate(head_weights):
        nll, w = reference.nll[..., k], weights[..., k]
        computed = (w * factor != 0).sum().item()
        assert out.count[k] == valid[..., k].sum()
        assert out.weight_sum[k].item() == pytest.approx(w.abs().sum().item(), rel=1e-5)
        assert out.ce_per_head[k].item() == pytest.approx(nll.sum().item() / max(1, computed), rel=1e-5)
        assert out.weighted_ce_per_head[k].item() == pytest.approx(((w * nll).sum() / w.abs().sum()).item(), rel=1e-4)


def test_metrics_are_detached_float32():
    out = weighted_mtp_loss(**example(dtype=torch.float64))
    for x in (out.ce_per_head, out.weighted_ce_per_head, out.count, out.weight_sum):
        assert (x.dtype, x.requires_grad, x.shape) == (torch.float32, False, (3,))


def test_nll_follows_the_definition():
    inputs = example()
    hidden, unembedding, targets = (inputs[k] for k in ("hidden", "lm_head_weight", "targets"))
    options = {"bias": torch.linspace(-1, 1, 11), "logit_scale": 0.5, "softcap": 2.0}
    nll = mtp_nll(hidden, unembedding, targets, **options)
    assert relative_error(nll, naive(hidden, unembedding, targets, **options).nll) <= 1e-6
    assert not nll.requires_grad


def test_nll_is_zero_where_there_is_nothing_to_predict():
    inputs = example()
    nll = mtp_nll(inputs["hidden"], inputs["lm_head_weight"], inputs["targets"])
    assert torch.equal(nll == 0, inputs["targets"] == -100)
