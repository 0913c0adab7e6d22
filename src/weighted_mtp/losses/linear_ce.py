"""Weighted sum of linear cross-entropies, its gradients made in the forward pass, chunk by chunk.

The logits of a few rows at a time live in one scratch buffer; each chunk's share of every gradient is added
up before the next chunk overwrites it, so that nothing of size rows x vocabulary is ever held. Keeping the
gradients of hidden and unembedding, which backward returns anyway, costs less than keeping logits, and saves
the second matmul with the unembedding that recomputing them in backward would take.

Source: chunks with gradients in the forward pass are Liger Kernel's (Hsu et al. 2024, arXiv 2410.10989); that
logits need not be stored, Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models", arXiv
2411.09009.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

LOGITS_PER_CHUNK = 2**21  # 2**23 takes 11-20 % more memory at 1,024 positions x 4 heads x 32k tokens
MIN_ROWS_PER_CHUNK = 64


class Rows(NamedTuple):
    """The rows that are computed: where they stand in `hidden`, what they predict, how much each counts."""

    positions: Int[Tensor, " kept"]
    targets: Int[Tensor, " kept"]
    weights: Float[Tensor, " kept"]  # not divided by the denominator, or float16 gradients would underflow


class Unembedding(NamedTuple):
    """How rows become logits: softcap * tanh(z / softcap), z = logit_scale * (rows @ weight.T + bias)."""

    weight: Shaped[Tensor, "vocab dim"]
    bias: Shaped[Tensor, " vocab"] | None
    logit_scale: float
    softcap: float | None


class Gradients(NamedTuple):
    """Gradients of the weighted sum; None where none is wanted."""

    hidden: Shaped[Tensor, "rows dim"] | None
    weight: Float[Tensor, "vocab dim"] | None
    bias: Float[Tensor, " vocab"] | None


def weighted_ce_sum(
    hidden: Shaped[Tensor, "rows dim"], unembedding: Unembedding, rows: Rows, chunk_size: int | None
) -> tuple[Float[Tensor, ""], Float[Tensor, " kept"]]:
    """Sum of weights * nll over the rows, and the detached nll of each.

    Outside gradient mode, or when no input requires a gradient, no gradient work is done.
    """
    inputs = (hidden, unembedding.weight, unembedding.bias)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        apply: Callable[..., tuple[Tensor, Tensor]] = _WeightedCESum.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return apply(*inputs, unembedding, rows, chunk_size)
    nll, _ = _chunked(hidden, unembedding, rows, chunk_size, (False, False, False))
    return (rows.weights * nll).sum(), nll


class _WeightedCESum(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        unembedding: Unembedding,
        rows: Rows,
        chunk_size: int | None,
    ) -> tuple[Tensor, Tensor]:
        nll, gradients = _chunked(hidden, unembedding, rows, chunk_size, ctx.needs_input_grad[:3])
        ctx.gradients = gradients  # save_for_backward keeps a reference, which makes every .grad a copy
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(nll)
        return (rows.weights * nll).sum(), nll

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # create_graph: the gradients would silently count as constants
            raise RuntimeError("weighted_mtp_loss has no second derivative; create_graph=False is needed")
        if ctx.gradients is None:
            raise RuntimeError(
                "weighted_mtp_loss can go backward only once: its gradients are made in the forward pass and "
                "handed out by the first backward, also with retain_graph=True. Call it again for another."
            )
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (
            None if x is None else x.mul_(upstream).to(dtype)
            for x, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return (*scaled, None, None, None)


@torch.no_grad()
def _chunked(
    hidden: Tensor,
    unembedding: Unembedding,
    rows: Rows,
    chunk_size: int | None,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Gradients]:
    """nll of every row, and the wanted gradients (of hidden, weight, bias) of the weighted sum."""
    kept, wide = rows.positions.numel(), rows.weights.dtype
    dtype = _compute_dtype(hidden, unembedding.weight)
    size = _rows_per_chunk(kept, unembedding.weight.shape[0], chunk_size)
    nll = rows.weights.new_empty(kept)
    gradients = _zero_gradients(hidden, unembedding.weight, wide, wanted)
    with torch.autocast(hidden.device.type, enabled=False):
        unembedding = unembedding._replace(weight=unembedding.weight.to(dtype))
        scratch = _Scratch.allocate(unembedding, size, wide, wanted)
        for start in range(0, kept, size):
            part = slice(start, start + size)
            positions, targets = rows.positions[part], rows.targets[part, None]
            x = hidden.index_select(0, positions).to(dtype)
            logits = _logits(x, unembedding, scratch)
            # z_t - max and log sum exp(z - max) stay exact however large the logits are
            logits.sub_(logits.amax(1, keepdim=True))
            target_logits = _gather_targets(logits, targets)
            total = logits.exp_().sum(1, keepdim=True)
            nll[part] = (total.log() - target_logits).squeeze(1)
            if any(wanted):
                weights = rows.weights[part, None] * unembedding.logit_scale
                d_logits = logits.mul_(weights / total).scatter_add_(1, targets, -weights)
                if unembedding.softcap is not None:  # d tanh = 1 - tanh^2
                    d_logits.addcmul_(d_logits, scratch.tanh[: len(x)].square_(), value=-1.0)
                _accumulate(gradients, d_logits, x, positions, unembedding.weight, scratch)
    return nll, gradients


class _Scratch(NamedTuple):
    """Buffers that every chunk writes anew; those not used are empty."""

    logits: Tensor  # [size, vocab], wide
    narrow: Tensor  # [size, vocab] in the precision of the matmuls, where that is not the wide one
    tanh: Tensor  # [size, vocab], wide: tanh(z / softcap)
    weight: Tensor  # [vocab, dim] in the precision of the matmuls, where that is not the wide one

    @classmethod
    def allocate(
        cls, unembedding: Unembedding, size: int, wide: torch.dtype, wanted: tuple[bool, bool, bool]
    ) -> "_Scratch":
        weight = unembedding.weight
        vocab, dim = weight.shape
        narrow = weight.dtype != wide
        capped = unembedding.softcap is not None
        return cls(
            weight.new_empty((size, vocab), dtype=wide),
            weight.new_empty((size if narrow else 0, vocab)),
            weight.new_empty((size if capped else 0, vocab), dtype=wide),
            weight.new_empty((vocab if narrow and wanted[1] else 0, dim)),
        )


def _logits(x: Tensor, unembedding: Unembedding, scratch: _Scratch) -> Tensor:
    """Logits of one chunk, in scratch.logits."""
    weight, bias, logit_scale, softcap = unembedding
    logits, narrow = scratch.logits[: len(x)], scratch.narrow[: len(x)]
    if x.dtype == logits.dtype:
        torch.mm(x, weight.t(), out=logits)
    else:
        logits.copy_(torch.mm(x, weight.t(), out=narrow))
    if bias is not None:
        logits.add_(bias)
    if logit_scale != 1.0:
        logits.mul_(logit_scale)
    if softcap is not None:
        tanh = torch.tanh(logits.div_(softcap), out=scratch.tanh[: len(x)])
        torch.mul(tanh, softcap, out=logits)
    return logits


def _gather_targets(logits: Tensor, targets: Tensor) -> Tensor:
    try:
        return logits.gather(1, targets)
    except RuntimeError as error:  # gather checks anyway on the CPU; a check of our own would synchronise
        raise ValueError(
            f"a target lies outside the vocabulary of {logits.shape[1]} tokens ({error}); "
            "token ids below that, or -100, are needed"
        ) from error


def _accumulate(
    gradients: Gradients, d_logits: Tensor, x: Tensor, positions: Tensor, weight: Tensor, scratch: _Scratch
) -> None:
    """Add one chunk's share to the gradients; sums over rows are float32 (float64 for float64)."""
    wide = d_logits.dtype
    narrow = d_logits if x.dtype == wide else scratch.narrow[: len(x)].copy_(d_logits)
    if gradients.hidden is not None:
        gradients.hidden.index_copy_(0, positions, torch.mm(narrow, weight).to(gradients.hidden.dtype))
    if gradients.weight is not None and x.dtype == wide:
        gradients.weight.addmm_(narrow.t(), x)
    elif gradients.weight is not None:
        gradients.weight.add_(torch.mm(narrow.t(), x, out=scratch.weight))
    if gradients.bias is not None:
        gradients.bias.add_(d_logits.sum(0))


def _zero_gradients(
    hidden: Tensor, weight: Tensor, wide: torch.dtype, wanted: tuple[bool, bool, bool]
) -> Gradients:
    # float16 rows wait in float32 for the loss scaler: CUDA would cast its factor to float16 (<= 65,504)
    row_dtype = wide if hidden.dtype == torch.float16 else hidden.dtype
    return Gradients(
        hidden.new_zeros(hidden.shape, dtype=row_dtype) if wanted[0] else None,
        weight.new_zeros(weight.shape, dtype=wide) if wanted[1] else None,
        weight.new_zeros(weight.shape[0], dtype=wide) if wanted[2] else None,
    )


def _compute_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Precision of the matmuls: the one autocast would choose (float64 stays), or that of the wider input."""
    device, joint = hidden.device.type, torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(device) and joint != torch.float64:
        return torch.get_autocast_dtype(device)
    return joint


def _rows_per_chunk(rows: int, vocab: int, chunk_size: int | None) -> int:
    """Chunk length that makes all chunks about equally long."""
    limit = max(MIN_ROWS_PER_CHUNK, LOGITS_PER_CHUNK // max(1, vocab)) if chunk_size is None else chunk_size
    chunks = max(1, -(-rows // limit))
    return max(1, -(-rows // chunks))
