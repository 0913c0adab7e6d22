"""The weighted multi-token cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weighted_mtp import IGNORED
from weighted_mtp.checks import require_number, require_shape, working_dtype
from weighted_mtp.losses.denominators import as_denominator, require_denominator, safe_divide
from weighted_mtp.losses.likelihoods import (
    MTPLikelihoods,
    checked_unembedding,
    from_likelihoods,
    kept_rows,
    require_same_predictions,
    scattered,
)
from weighted_mtp.losses.linear_ce import Backend, Rows, chunked, weighted_ce_sum


@dataclass(frozen=True, eq=False)
class MTPLossOutput:
    """The loss, and what each head contributed (detached float32, one entry per head).

    Sums run over batch and seq; "valid" means target != -100, weight 0 included.
    """

    loss: Float[Tensor, ""]
    """Weighted loss over all heads, divided by the denominator."""
    ce_per_head: Float[Tensor, " n_future"]
    """Mean nll in nats over the rows computed (valid, weight and head weight nonzero); 0 if there is none."""
    weighted_ce_per_head: Float[Tensor, " n_future"]
    """sum(weights * nll) / weight_sum, in nats; 0 where weight_sum is 0. Of signed weights no mean, but within the
    range of +- nll."""
    count: Float[Tensor, " n_future"]
    """Number of valid predictions."""
    weight_sum: Float[Tensor, " n_future"]
    """Sum of the absolute weights of valid predictions."""


def weighted_mtp_loss(
    hidden: Shaped[Tensor, "batch seq n_future dim"],
    lm_head_weight: Shaped[Tensor, "vocab dim"],
    targets: Shaped[Tensor, "batch seq n_future"],
    weights: Shaped[Tensor, "batch seq n_future"] | None = None,
    *,
    head_weights: Sequence[float] | Shaped[Tensor, " n_future"] | None = None,
    normalizer: str | float | Shaped[Tensor, ""] = "tokens",
    chunk_size: int | None = None,
    bias: Shaped[Tensor, " vocab"] | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    backend: str = "torch",
    likelihoods: MTPLikelihoods | None = None,
) -> MTPLossOutput:
    """Weighted cross-entropy of every prediction head, without ever holding their logits.

        loss = sum over b, t, k of head_weights[k] * weights[b, t, k] * nll[b, t, k] / denominator
        nll[b, t, k] = -log softmax(logits[b, t, k])[targets[b, t, k]]
        logits = softcap * tanh(z / softcap),  z = logit_scale * (hidden @ W.T + bias);  softcap None: z

    The denominator is the number of valid predictions over all heads ("tokens"), the sum of their absolute weights
    ("weights"), 1 ("sum"), or the given number. Head weights never enter it. Give the global count (all micro-batches
    and ranks) as a tensor and micro-batches add up to the whole batch exactly; a mean of means does not.

    Rows with target -100, weight 0 or head weight 0 are dropped before the matmul and never read: NaN there
    does no harm. NaN in a row that counts makes the loss NaN. Without any row the loss is 0 and its
    gradients are zeros. Weights, head weights and normalizer are constants: no gradient reaches them.

    Gradients are made in the forward pass, when gradient mode is on and an input requires one. Matmuls run
    in the precision of autocast, or of the inputs; softmax, sums and the gradient of W in float32 (float64
    for float64 inputs). A second backward raises RuntimeError, with retain_graph=True too. The one host
    synchronisation is the index of the rows.

    Source: Gloeckle et al. 2024, "Better & Faster Large Language Models via Multi-token Prediction", arXiv
    2404.19737, equation 2 (the loss, with weights 1); for the memory see `losses.linear_ce`.

    Args:
        hidden: states after the final norm; index k of the third axis belongs to head k.
        lm_head_weight: unembedding W, shared by all heads; may be tied or frozen.
        targets: token ids, -100 where there is nothing to predict (see `mtp_targets`).
        weights: one per prediction (see `weighted_mtp.value_weighting.align_to_heads`); None: all 1. May be
            negative; what they push down has no lower bound here (`weighted_mtp.value_weighting.stop_at_floor`).
        head_weights: one per head; None: all 1.
        normalizer: "tokens", "weights", "sum", or the denominator itself.
        chunk_size: rows whose logits are held at a time, by backend torch; None: as many as take .82 of the
            memory of the gradient of W, or 2**21 logits if that is more (see `losses.chunks`).
        bias: of the unembedding.
        logit_scale: factor on the logits (Granite, Cohere); 1 leaves them.
        softcap: bound on the logits' size (Gemma 2); None leaves them.
        backend: "torch", or "liger" for Liger Kernel's Triton kernels on CUDA (see `losses.liger`).
        likelihoods: what `mtp_likelihoods` gave for these very tensors; with a frozen unembedding, or without
            gradient, the unembedding is then not gone through again.

    Raises:
        ValueError: a shape, dtype or option does not fit, or (on the CPU) a target is no token id.
        RuntimeError: in a second backward.

    Examples:
        Three tokens of vocabulary, equal logits, so each nll is ln 3 = 1.0986; the weights scale it:

        >>> hidden, unembedding = torch.zeros(1, 3, 1, 2), torch.zeros(3, 2)
        >>> targets = torch.tensor([[[0], [2], [-100]]])
        >>> weights = torch.tensor([[[0.5], [1.5], [9.0]]])
        >>> out = weighted_mtp_loss(hidden, unembedding, targets, weights, normalizer="sum")
        >>> round(out.loss.item(), 4)  # (0.5 + 1.5) * ln 3
        2.1972
        >>> out.count.tolist(), out.weight_sum.tolist()
        ([2.0], [2.0])

        Two micro-batches with the global count give the loss of the whole batch:

        >>> parts = [
        ...     weighted_mtp_loss(hidden[:, i], unembedding, targets[:, i], normalizer=2).loss
        ...     for i in (slice(0, 1), slice(1, 3))
        ... ]
        >>> torch.allclose(sum(parts), weighted_mtp_loss(hidden, unembedding, targets).loss)
        True
    """
    unembedding = checked_unembedding(hidden, lm_head_weight, targets, bias, logit_scale, softcap)
    compute = _backend(backend, chunk_size, hidden.device)
    if likelihoods is not None:
        require_same_predictions(likelihoods, hidden, targets, unembedding)
        compute = from_likelihoods(likelihoods, compute)
    valid = targets != IGNORED
    weights = _valid_weights(weights, valid, hidden)
    factors = _head_weights(head_weights, hidden)
    denominator = _denominator(normalizer, valid, weights)

    row_weights = torch.where(factors == 0, 0.0, weights * factors)  # a NaN under head weight 0 is not read
    # Only a power of two is left for after the sum: it rounds nothing, and float16 gradients of single rows
    # do not underflow, as they would under the whole denominator.
    mantissa, exponent = torch.frexp(denominator)
    rows = kept_rows(row_weights, targets)
    require_denominator(normalizer, rows.positions.numel())
    rows = rows._replace(weights=rows.weights / mantissa)
    total, nll = weighted_ce_sum(hidden.reshape(-1, hidden.shape[-1]), unembedding, rows, compute)
    loss = total * torch.exp2(-exponent.to(total.dtype))
    return MTPLossOutput(loss, *_per_head(nll, rows, weights, valid))


def _backend(name: str, chunk_size: int | None, device: torch.device) -> Backend:
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise ValueError(f"chunk_size is {chunk_size!r}; at least 1 row, or None, is needed")
    if name == "torch":
        return partial(chunked, chunk_size=chunk_size)
    if name != "liger":
        raise ValueError(f'backend is {name!r}; "torch" or "liger" is needed')
    from weighted_mtp.losses.liger import by_liger, require_liger

    require_liger(device)
    return by_liger


def _valid_weights(weights: Tensor | None, valid: Tensor, hidden: Tensor) -> Tensor:
    """Weights as constants in the precision of sums, 0 where there is nothing to predict."""
    dtype = working_dtype(hidden)
    if weights is None:
        return valid.to(dtype)
    if weights.shape != valid.shape:
        raise ValueError(
            f"weights has shape {list(weights.shape)}; {list(valid.shape)} is needed, one per prediction "
            "(weighted_mtp.value_weighting.align_to_heads turns [batch, seq] into that)"
        )
    return torch.where(valid, weights.detach().to(dtype), 0.0)


def _head_weights(head_weights: Sequence[float] | Tensor | None, hidden: Tensor) -> Tensor:
    n_future, dtype = hidden.shape[2], working_dtype(hidden)
    if head_weights is None:
        return torch.ones(n_future, dtype=dtype, device=hidden.device)
    if isinstance(head_weights, Tensor):
        factors = head_weights.detach().to(hidden.device, dtype)
    else:  # filled on the device: copying a list from the host would wait for it
        for weight in head_weights:
            require_number("head_weights", weight)
        filled = [torch.full((), float(w), dtype=dtype, device=hidden.device) for w in head_weights]
        factors = torch.stack(filled) if filled else torch.zeros(0, dtype=dtype, device=hidden.device)
    require_shape("head_weights", factors, (n_future,))
    return factors


def _denominator(normalizer: str | float | Tensor, valid: Tensor, weights: Tensor) -> Tensor:
    if not isinstance(normalizer, str):
        return as_denominator(normalizer, weights)
    if normalizer == "tokens":
        return valid.sum().to(weights.dtype)
    if normalizer == "weights":
        total = weights.abs().sum()
        return total.masked_fill(total == 0, torch.inf)  # a zero sum of weights means a zero loss
    if normalizer == "sum":
        return weights.new_ones(())
    raise ValueError(f'normalizer is {normalizer!r}; "tokens", "weights", "sum" or a number is needed')


def _per_head(nll: Tensor, rows: Rows, weights: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
    """The per-head entries of `MTPLossOutput`."""
    nll_by_head = scattered(nll, rows, valid.shape)
    computed = scattered(torch.ones_like(nll), rows, valid.shape)
    weight_sum = weights.abs().sum((0, 1))
    metrics = (
        safe_divide(nll_by_head.sum((0, 1)), computed.sum((0, 1))),
        safe_divide((weights * nll_by_head).sum((0, 1)), weight_sum),
        valid.sum((0, 1)),
        weight_sum,
    )
    return tuple(x.float() for x in metrics)
