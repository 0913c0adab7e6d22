"""The loss on CUDA: chunks of thousands of rows, sums of W's gradient in float32, one wait for the device."""

import warnings

import pytest
import torch

from weighted_mtp.losses import weighted_mtp_loss

from .conftest import example, naive, relative_error

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

SIZE = {"batch": 3, "seq": 400, "n_future": 4, "dim": 64, "vocab": 5_003}  # about 2,000 kept rows


def on_gpu(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    inputs = {name: x.detach().cuda() for name, x in example(**SIZE, dtype=dtype).items()}
    for name in ("hidden", "lm_head_weight"):
        inputs[name].requires_grad_()
    return inputs


@pytest.mark.parametrize("how", [{}, {"chunk_size": 300}, {"backend": "liger"}], ids=["torch", "chunks", "liger"])
@pytest.mark.parametrize("options", [{}, {"softcap": 4.0, "logit_scale": 0.5}], ids=["plain", "capped"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1.6e-2)])
def test_values_and_gradients_on_a_gpu_are_those_of_float64(dtype, bound, options, how):
    if "backend" in how:
        pytest.importorskip("liger_kernel")
    inputs = on_gpu(dtype)
    out = weighted_mtp_loss(**inputs, **how, **options)
    out.loss.backward()
    reference = naive(*(x.cpu() for x in inputs.values()), **options)
    assert out.loss.item() == pytest.approx(reference.loss.item(), rel=bound, abs=bound)
    assert relative_error(inputs["hidden"].grad.cpu(), reference.hidden_grad) <= bound
    assert relative_error(inputs["lm_head_weight"].grad.cpu(), reference.weight_grad) <= bound


def test_the_host_waits_for_the_gpu_once():
    inputs = on_gpu(torch.bfloat16)
    weighted_mtp_loss(**inputs, head_weights=[1.0, 0.5, 0.5, 0.0]).loss.backward()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            weighted_mtp_loss(**inputs, head_weights=[1.0, 0.5, 0.5, 0.0]).loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchroniz" in str(wait.message) for wait in waits) == 1
