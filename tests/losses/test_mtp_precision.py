"""Half precision, autocast and float64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from weighted_mtp.losses import mtp_nll, weighted_mtp_loss

from .conftest import example, naive, relative_error

LARGE = {"batch": 1, "seq": 61, "n_future": 2, "dim": 32, "vocab": 1003}


def half_loss(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """What one writes by hand: logits in the precision at hand, cross-entropy in float32."""
    nll = cross_entropy(linear(hidden, unembedding).float().flatten(0, 2), targets.flatten(), reduction="none")
    return (nll * weights.flatten()).sum() / (targets != -100).sum()


@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_gradients_are_no_worse_than_those_of_the_loss_written_by_hand(scale: float, autocast: bool):
    inputs = example(**LARGE, dtype=torch.bfloat16)
    unembedding = inputs["lm_head_weight"].detach() * scale
    inputs["lm_head_weight"] = (unembedding.float() if autocast else unembedding).requires_grad_()
    learned = (inputs["hidden"], inputs["lm_head_weight"])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = torch.autograd.grad(weighted_mtp_loss(**inputs).loss, learned)
        plain = torch.autograd.grad(half_loss(*inputs.values()), learned)
    reference = naive(*inputs.values())
    for x, y, exact in zip(ours, plain, (reference.hidden_grad, reference.weight_grad), strict=True):
        assert relative_error(x, exact) <= 1.02 * relative_error(y, exact)


def test_bf16_gradients_of_many_chunks_stay_near_those_of_one():
    inputs = example(**LARGE, dtype=torch.bfloat16)
    reference = naive(*inputs.values())
    errors = []
    for chunk_size in (1000, 5):
        weighted_mtp_loss(**inputs, chunk_size=chunk_size).loss.backward()
        errors.append(relative_error(inputs["lm_head_weight"].grad, reference.weight_grad))
        inputs["lm_head_weight"].grad = None
    assert errors[1] <= 1.5 * errors[0]  # sums in float32: bf16 sums of 13 chunks would be 3 times worse


def test_bf16_hidden_states_meet_float32_weights_under_autocast():
    inputs = example(**LARGE)
    inputs["hidden"] = inputs["hidden"].detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = weighted_mtp_loss(**inputs)
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert inputs["hidden"].grad.dtype == torch.bfloat16
    assert inputs["lm_head_weight"].grad.dtype == torch.float32


def test_autocast_is_as_exact_as_its_matmuls_and_no_less():
    inputs = example(**LARGE)
    with torch.autocast("cpu", torch.bfloat16):
        loss = weighted_mtp_loss(**inputs).loss
    assert loss.item() == pytest.approx(naive(*inputs.values()).loss.item(), rel=2e-2, abs=2e-2)
    assert loss.item() != weighted_mtp_loss(**inputs).loss.item()  # the matmul was bf16


@pytest.mark.parametrize(
    ("denominator", "loss_scale"),
    [
        (1e9, 2.0**30),  # 1e-9 is far below 6e-8, the smallest float16
        (1e3, 2.0**27),  # 2**27 / 1e3 is above 65,504, the largest, while the gradients are not
    ],
)
def test_float16_gradients_neither_underflow_nor_overflow(denominator: float, loss_scale: float):
    inputs = example(**LARGE, dtype=torch.float16)
    inputs["weights"] = inputs["weights"].abs() * 1e-3
    options = {"normalizer": denominator}
    (weighted_mtp_loss(**inputs, **options).loss * loss_scale).backward()
    reference = naive(*inputs.values(), **options)
    assert relative_error(inputs["hidden"].grad.double() / loss_scale, reference.hidden_grad) <= 1e-2
    assert relative_error(inputs["lm_head_weight"].grad.double() / loss_scale, reference.weight_grad) <= 1e-2


@pytest.mark.parametrize("autocast", [False, True])
def test_float64_stays_float64(autocast: bool):
    inputs = example(dtype=torch.float64)
    inputs["weights"] = inputs["weights"].double()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = weighted_mtp_loss(**inputs, softcap=3.0)
        nll = mtp_nll(inputs["hidden"], inputs["lm_head_weight"], inputs["targets"], softcap=3.0)
    out.loss.backward()
    reference = naive(*inputs.values(), softcap=3.0)
    assert out.loss.dtype == nll.dtype == torch.float64
    assert out.loss.item() == pytest.approx(reference.loss.item(), rel=1e-12)
    assert relative_error(inputs["hidden"].grad, reference.hidden_grad) <= 1e-13
    assert relative_error(inputs["lm_head_weight"].grad, reference.weight_grad) <= 1e-13
