"""Liger's kernels behind our loss, run by Triton's interpreter on the CPU: slow, and the same numbers."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from weighted_mtp.losses import liger, weighted_mtp_loss

from .conftest import example, naive, relative_error

CASES = {
    "weights": {},
    "scaled": {"logit_scale": 0.5},  # no cap: the interpreter stumbles over Liger's, see test_gpu.py
    "bias": {"bias": torch.linspace(-1, 1, 11), "logit_scale": 0.5},
    "head weights": {"head_weights": [1.0, 0.0, 0.5], "normalizer": 7.0},
}


def compare() -> None:
    """Run in a process with TRITON_INTERPRET=1, which Triton reads when it is imported."""
    for name, options in CASES.items():
        for frozen in (False, True):
            inputs = example()
            inputs["lm_head_weight"].requires_grad_(not frozen)
            out = weighted_mtp_loss(**inputs, **options, backend="liger")
            out.loss.backward()
            reference = naive(*inputs.values(), **options)
            assert abs(out.loss.item() - reference.loss.item()) <= 1e-5, name
            assert relative_error(inputs["hidden"].grad, reference.hidden_grad) <= 1e-5, name
            if not frozen:
                assert relative_error(inputs["lm_head_weight"].grad, reference.weight_grad) <= 1e-5, name
    inputs = example()
    inputs["weights"].zero_()
    assert weighted_mtp_loss(**inputs, backend="liger").loss.item() == 0.0
    with torch.no_grad():
        plain, fused = (weighted_mtp_loss(**example(), backend=name).loss for name in ("torch", "liger"))
    torch.testing.assert_close(fused, plain)
    print("the same")


def test_liger_gives_the_numbers_of_float64():
    if importlib.util.find_spec("liger_kernel") is None:
        if os.environ.get("REQUIRE_LIGER"):
            pytest.fail("REQUIRE_LIGER is set and liger-kernel is not installed")
        pytest.skip("Liger is not installed: pip install 'liger-kernel>=0.8.2'")
    root = Path(__file__).parents[2]
    code = "from tests.losses.test_liger import compare; compare()"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "the same", done.stderr[-2000:]


def test_a_backend_of_another_name_is_refused():
    with pytest.raises(ValueError, match='backend is \'cut\'; "torch" or "liger" is needed'):
        weighted_mtp_loss(**example(), backend="cut")


@pytest.mark.parametrize(
    ("found", "needed"),
    [(None, "which is not installed; install it with"), ("0.8.1", "gradient of W is wrong for token weights")],
)
def test_liger_is_refused_where_it_cannot_be_right(monkeypatch, found, needed):
    def version(_: str) -> str:
        if found is None:
            raise liger.PackageNotFoundError
        return found

    monkeypatch.setattr(liger, "version", version)
    with pytest.raises(ValueError, match=needed):
        weighted_mtp_loss(**example(), backend="liger")


def test_liger_is_refused_on_a_cpu(monkeypatch):
    monkeypatch.setattr(liger, "version", lambda _: "0.8.5")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="these tensors are on a CPU; use backend torch"):
        weighted_mtp_loss(**example(), backend="liger")
