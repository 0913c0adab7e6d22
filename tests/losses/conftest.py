"""A plain float64 multi-token loss, written from the definition, and inputs to compare on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor


@dataclass
class Reference:
    loss: Tensor
    hidden_grad: Tensor
    weight_grad: Tensor
    bias_grad: Tensor | None
    nll: Tensor


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, cap: float | None) -> Tensor:
    z = torch.einsum("bskd,vd->bskv", hidden, weight)
    z = scale * (z if bias is None else z + bias)
    return z if cap is None else cap * torch.tanh(z / cap)


def naive(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    head_weights: Any = None,
    normalizer: Any = "tokens",
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
) -> Reference:
    """All logits at once, float64, gradients by autograd."""
    hidden, weight = (x.detach().double().requires_grad_() for x in (hidden, weight))
    bias = None if bias is None else bias.detach().double().requires_grad_()
    w = torch.ones(targets.shape).double() if weights is None else weights.double()
    k = torch.ones(targets.shape[2]).double() if head_weights is None else torch.as_tensor(head_weights).double()
    valid = targets != -100
    w = w.masked_fill(~valid, 0.0)
    kept = (w * k) != 0
    z = _logits(hidden.masked_fill(~kept[..., None], 0.0), weight, bias, logit_scale, softcap)
    chosen = z.gather(-1, targets.masked_fill(~valid, 0)[..., None]).squeeze(-1)
    nll = (torch.logsumexp(z, -1) - chosen).masked_fill(~kept, 0.0)
    denominators = {"tokens": valid.sum(), "weights": w.abs().sum(), "sum": 1.0}
    denominator = denominators[normalizer] if isinstance(normalizer, str) else normalizer
    loss = (k * w * nll).sum() / denominator
    inputs = [hidden, weight] + ([] if bias is None else [bias])
    grads = (*torch.autograd.grad(loss, inputs), None)
    return Reference(loss.detach(), grads[0], grads[1], grads[2], nll.detach())


def example(
    batch: int = 2,
    seq: int = 7,
    n_future: int = 3,
    dim: int = 5,
    vocab: int = 11,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Random inputs; about a third of the targets are -100 and a third of the weights 0, some negative."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rows = (batch, seq, n_future)
    targets = torch.randint(0, vocab, rows, generator=generator)
    return {
        "hidden": draw(*rows, dim).to(dtype).requires_grad_(),
        "lm_head_weight": draw(vocab, dim).to(dtype).requires_grad_(),
        "targets": targets.masked_fill(draw(*rows) > 0.4, -100),
        "weights": draw(*rows).masked_fill(draw(*rows) > 0.4, 0.0),
    }


def relative_error(x: Tensor, reference: Tensor) -> float:
    """Norm of the difference over the norm of the reference; the plain norm where that is 0."""
    difference = (x.detach().double() - reference).norm()
    return (difference / reference.norm().clamp_min(1e-30)).item() if reference.any() else difference.item()


@pytest.fixture(name="naive")
def naive_fixture() -> Callable[..., Reference]:
    return naive


@pytest.fixture(name="example")
def example_fixture() -> Callable[..., dict[str, Tensor]]:
    return example


@pytest.fixture(name="relative_error")
def relative_error_fixture() -> Callable[[Tensor, Tensor], float]:
    return relative_error
