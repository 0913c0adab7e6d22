"""weighted_mtp_loss at the edges: nothing to learn, NaN, constants, a second backward, bad input."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from weighted_mtp.losses import mtp_nll, weighted_mtp_loss

from .conftest import example, naive, relative_error

NAN = float("nan")
INPUTS = ("hidden", "lm_head_weight")


def assert_zero_loss_with_zero_gradients(inputs: dict[str, Any], **options: Any):
    out = weighted_mtp_loss(**inputs, **options)
    out.loss.backward()
    assert out.loss.item() == 0.0
    for name in INPUTS:
        assert inputs[name].grad is not None
        assert not inputs[name].grad.any()


@pytest.mark.parametrize("normalizer", ["tokens", "weights", "sum", 0, torch.tensor(0.0)])
def test_ignored_rows_give_a_zero_loss_that_still_has_a_graph(normalizer: Any):
    inputs = example()
    inputs["targets"].fill_(-100)
    assert_zero_loss_with_zero_gradients(inputs, normalizer=normalizer)


@pytest.mark.parametrize("normalizer", ["tokens", "weights", "sum", 0])
def test_zero_weights_give_a_zero_loss_that_still_has_a_graph(normalizer: Any):
    inputs = example()
    inputs["weights"].zero_()
    assert_zero_loss_with_zero_gradients(inputs, normalizer=normalizer)


def test_zero_head_weights_give_a_zero_loss_that_still_has_a_graph():
    assert_zero_loss_with_zero_gradients(example(), head_weights=[0.0, 0.0, 0.0])


def test_an_empty_batch_gives_a_zero_loss_that_still_has_a_graph():
    assert_zero_loss_with_zero_gradients(example(batch=0))


def test_weights_that_are_all_zero_give_a_zero_loss_under_the_weights_normalizer():
    inputs = example(batch=1, seq=2, n_future=1)
    inputs["targets"] = torch.zeros(1, 2, 1, dtype=torch.long)
    inputs["weights"] = torch.zeros(1, 2, 1)
    assert_zero_loss_with_zero_gradients(inputs, normalizer="weights")


def test_weights_that_cancel_are_counted_by_their_size_under_the_weights_normalizer():
    inputs = example(batch=1, seq=2, n_future=1)
    inputs["targets"] = torch.zeros(1, 2, 1, dtype=torch.long)
    inputs["weights"] = torch.tensor([[[1.0], [-1.0]]])
    out = weighted_mtp_loss(**inputs, normalizer="weights")
    assert out.weight_sum.tolist() == [2.0]
    half = weighted_mtp_loss(**inputs, normalizer=2.0)
    torch.testing.assert_close(out.loss, half.loss)
    torch.testing.assert_close(out.weighted_ce_per_head[0], half.loss.detach())


def test_metrics_of_a_head_without_rows_are_zero():
    inputs = example()
    inputs["targets"][..., 1] = -100
    out = weighted_mtp_loss(**inputs)
    assert [x[1].item() for x in (out.ce_per_head, out.weighted_ce_per_head, out.count, out.weight_sum)] == [0] * 4


def test_nan_in_dropped_rows_does_no_harm():
    inputs, head_weights = example(), [1.0, 0.0, 1.0]
    expected = naive(*inputs.values(), head_weights=head_weights)
    dropped = (inputs["targets"] == -100) | (inputs["weights"] == 0) | (torch.tensor(head_weights) == 0)
    inputs["hidden"] = inputs["hidden"].detach().masked_fill(dropped[..., None], NAN).requires_grad_()
    inputs["weights"] = inputs["weights"].masked_fill(inputs["targets"] == -100, NAN)
    out = weighted_mtp_loss(**inputs, head_weights=head_weights)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    assert relative_error(inputs["hidden"].grad, expected.hidden_grad) <= 1e-5
    assert relative_error(inputs["lm_head_weight"].grad, expected.weight_grad) <= 1e-5
    assert not any(x.isnan().any() for x in (out.ce_per_head, out.weighted_ce_per_head, out.weight_sum))


def test_a_nan_weight_under_head_weight_zero_does_not_reach_the_loss():
    inputs = example()
    inputs["targets"][0, 0, 1] = 2
    inputs["weights"][0, 0, 1] = NAN
    assert math.isfinite(weighted_mtp_loss(**inputs, head_weights=[1.0, 0.0, 1.0]).loss.item())


@pytest.mark.parametrize("where", ["hidden", "weights"])
def test_nan_at_a_row_that_counts_stays_nan(where: str):
    inputs = example()
    inputs["targets"][0, 0, 0], inputs["weights"][0, 0, 0] = 1, 1.0
    with torch.no_grad():
        inputs[where][0, 0, 0] = NAN
    out = weighted_mtp_loss(**inputs)
    out.loss.backward()
    assert out.loss.isnan()
    assert inputs["hidden"].grad[0, 0, 0].isnan().all()
    assert not inputs["hidden"].grad[1].isnan().any()


def test_nll_does_not_read_rows_without_a_target():
    inputs = example()
    hidden = inputs["hidden"].detach().masked_fill((inputs["targets"] == -100)[..., None], NAN)
    assert mtp_nll(hidden, inputs["lm_head_weight"], inputs["targets"]).isfinite().all()


def test_a_vocabulary_entry_masked_by_the_bias_does_no_harm():
    inputs = example()
    inputs["targets"] = inputs["targets"].masked_fill(inputs["targets"] == 3, 4)
    bias = torch.zeros(11).index_fill(0, torch.tensor([3]), -math.inf).requires_grad_()
    weighted_mtp_loss(**inputs, bias=bias).loss.backward()
    assert bias.grad[3] == 0
    assert inputs["lm_head_weight"].grad.isfinite().all()


def test_weights_head_weights_and_normalizer_are_constants():
    inputs = example()
    constants = {
        "weights": inputs.pop("weights").requires_grad_(),
        "head_weights": torch.ones(3, requires_grad=True),
        "normalizer": torch.tensor(2.0, requires_grad=True),
    }
    weighted_mtp_loss(**inputs, **constants).loss.backward()
    assert all(x.grad is None for x in constants.values())


def test_integer_and_bool_weights_are_numbers():
    inputs = example()
    kept = inputs.pop("weights") > 0
    losses = [weighted_mtp_loss(**inputs, weights=w).loss.item() for w in (kept, kept.long(), kept.float())]
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("retain_graph", [False, True])
def test_a_second_backward_says_what_to_do(retain_graph: bool):
    loss = weighted_mtp_loss(**example()).loss
    loss.backward(retain_graph=retain_graph)
    with pytest.raises(RuntimeError, match=r"backward"):
        loss.backward()


def test_a_second_backward_with_retained_graph_names_the_loss():
    inputs = example()
    loss = weighted_mtp_loss(**inputs).loss
    torch.autograd.grad(loss, inputs["hidden"], retain_graph=True)
    with pytest.raises(RuntimeError, match="weighted_mtp_loss can go backward only once"):
        torch.autograd.grad(loss, inputs["lm_head_weight"], retain_graph=True)


def test_second_derivatives_are_refused():
    inputs = example()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(weighted_mtp_loss(**inputs).loss, inputs["hidden"], create_graph=True)


@pytest.mark.parametrize("frozen", INPUTS)
def test_a_frozen_input_gets_no_gradient_and_changes_none(frozen: str):
    inputs = example()
    inputs[frozen].requires_grad_(False)
    weighted_mtp_loss(**inputs).loss.backward()
    reference = naive(*inputs.values())
    assert inputs[frozen].grad is None
    learned, expected = (
        ("lm_head_weight", reference.weight_grad) if frozen == "hidden" else ("hidden", reference.hidden_grad)
    )
    assert relative_error(inputs[learned].grad, expected) <= 1e-5


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradient_mode_the_loss_is_the_same_and_has_no_graph(context: Any):
    inputs = example()
    with context():
        loss = weighted_mtp_loss(**inputs).loss
    assert not loss.requires_grad
    assert loss.item() == weighted_mtp_loss(**inputs).loss.item()


def test_tied_embeddings_add_both_gradients():
    inputs = example(dim=4, n_future=1)
    tokens, targets, weights = inputs["targets"][..., 0].clamp_min(0), inputs["targets"], inputs["weights"]
    tied = inputs["lm_head_weight"].detach().clone().requires_grad_()
    weighted_mtp_loss(nn.functional.embedding(tokens, tied)[:, :, None], tied, targets, weights).loss.backward()
    reference = naive(nn.functional.embedding(tokens, tied)[:, :, None], tied, targets, weights)
    expected = reference.weight_grad.index_add(0, tokens.flatten(), reference.hidden_grad.flatten(0, 2))
    assert relative_error(tied.grad, expected) <= 1e-5


@pytest.mark.parametrize("around", ["model", "model and loss"])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(around: str, use_reentrant: bool):
    inputs = example()
    layer = nn.Linear(5, 5)
    learned = (inputs["hidden"], inputs["lm_head_weight"], layer.weight)

    def loss_of(hidden: torch.Tensor) -> torch.Tensor:
        return weighted_mtp_loss(hidden, learned[1], inputs["targets"], inputs["weights"]).loss

    expected = torch.autograd.grad(loss_of(layer(learned[0])), learned)
    if around == "model":
        loss = loss_of(checkpoint(layer, learned[0], use_reentrant=use_reentrant))
    else:
        loss = checkpoint(lambda h: loss_of(layer(h)), learned[0], use_reentrant=use_reentrant)
    loss.backward()
    for x, y in zip(learned, expected, strict=True):
        assert torch.equal(x.grad, y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(2, 7, 5)}, r"hidden has shape \[2, 7, 5\]; \[any, any, any, any\] is needed"),
        ({"hidden": torch.zeros(2, 7, 3, 5, dtype=torch.long)}, r"hidden has dtype torch\.int64"),
        ({"lm_head_weight": torch.zeros(11, 4)}, r"lm_head_weight has shape \[11, 4\]; \[any, 5\] is needed"),
        ({"lm_head_weight": torch.zeros(11, 5, dtype=torch.int8)}, r"lm_head_weight has dtype torch\.int8"),
        ({"targets": torch.zeros(2, 7, dtype=torch.long)}, r"targets has shape \[2, 7\]; \[2, 7, 3\] is needed"),
        ({"targets": torch.zeros(2, 7, 3)}, r"targets has dtype torch\.float32; an integer dtype is needed"),
        ({"weights": torch.zeros(2, 7)}, r"weights has shape \[2, 7\]; \[2, 7, 3\] .*align_to_heads"),
        ({"head_weights": [1.0, 2.0]}, r"head_weights has shape \[2\]; \[3\] is needed"),
        ({"normalizer": "mean"}, r"normalizer is 'mean'; \"tokens\", \"weights\", \"sum\" or a number"),
        ({"normalizer": torch.ones(2)}, r"normalizer has shape \[2\]; one number is needed"),
        ({"normalizer": -1.0}, r"normalizer is -1\.0; a finite number"),
        ({"normalizer": NAN}, r"normalizer is nan; a finite number"),
        ({"normalizer": None}, r"normalizer is None; a finite number"),
        ({"normalizer": 0}, r"normalizer is 0; the number of predictions"),
        ({"normalizer": 0.0}, r"normalizer is 0; the number of predictions"),
        ({"normalizer": torch.tensor(0)}, r"normalizer is 0; the number of predictions"),
        ({"normalizer": torch.tensor([0.0])}, r"normalizer is 0; the number of predictions"),
        ({"normalizer": torch.tensor(True)}, r"normalizer has dtype torch.bool; a number"),
        ({"normalizer": torch.tensor(-1.0)}, r"normalizer is -1; a finite number"),
        ({"normalizer": torch.tensor(NAN)}, r"normalizer is nan; a finite number"),
        ({"normalizer": torch.tensor(math.inf)}, r"normalizer is inf; a finite number"),
        ({"normalizer": True}, r"normalizer is True; a finite number"),
        ({"normalizer": math.inf}, r"normalizer is inf; a finite number"),
        ({"head_weights": [1.0, NAN, 1.0]}, r"head_weights is nan; a finite number"),
        ({"head_weights": [1.0, "2", 1.0]}, r"head_weights is '2'; a finite number"),
        ({"chunk_size": 0}, r"chunk_size is 0; at least 1 row"),
        ({"chunk_size": 2.5}, r"chunk_size is 2\.5; at least 1 row"),
        ({"chunk_size": True}, r"chunk_size is True; at least 1 row"),
        ({"softcap": math.inf}, r"softcap is inf; a finite number above 0"),
        ({"softcap": NAN}, r"softcap is nan; a finite number above 0"),
        ({"logit_scale": "1"}, r"logit_scale is '1'; a finite number"),
        ({"bias": torch.zeros(5)}, r"bias has shape \[5\]; \[11\] is needed"),
        ({"softcap": 0.0}, r"softcap is 0\.0; a finite number above 0"),
        ({"logit_scale": NAN}, r"logit_scale is nan; a finite number"),
    ],
)
def test_bad_input_is_named_with_what_is_needed(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        weighted_mtp_loss(**{**example(), **changes})


@pytest.mark.parametrize("token", [11, -1])
def test_a_target_outside_the_vocabulary_is_an_error(token: int):
    inputs = example()
    inputs["targets"][0, 0, 0], inputs["weights"][0, 0, 0] = token, 1.0
    with pytest.raises(ValueError, match="outside the vocabulary of 11 tokens"):
        weighted_mtp_loss(**inputs)


def test_a_target_outside_the_vocabulary_is_an_error_in_nll():
    inputs = example()
    with pytest.raises(ValueError, match="outside the vocabulary of 11 tokens"):
        mtp_nll(inputs["hidden"], inputs["lm_head_weight"], torch.full((2, 7, 3), 11))
