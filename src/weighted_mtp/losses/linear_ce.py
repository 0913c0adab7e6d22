"""Weighted sum of linear cross-entropies, its gradients made in the forward pass, chunk by chunk.

Logits of a few rows at a time live in one scratch buffer, and nothing of size rows x vocabulary is ever held. Keeping
the gradients of hidden and unembedding costs less than keeping logits, and saves recomputing them in backward.

Source: chunks with gradients in the forward pass are Liger Kernel's (Hsu et al. 2024, arXiv 2410.10989); that logits
need not be stored, Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009.
"""

from collections.abc import Callable
from itertools import repeat
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from weighted_mtp.losses.chunks import rows_per_chunk, rows_per_tile


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


Entropies = tuple[Tensor | None, Tensor | None]
"""Of the whole distribution, and of its 20 likeliest tokens among themselves; None: not wanted."""

Backend = Callable[[Tensor, Unembedding, Rows, tuple[bool, bool, bool]], tuple[Tensor, Gradients]]
"""Gives nll of every row, and the wanted gradients (of hidden, weight, bias) of the weighted sum."""


def weighted_ce_sum(
    hidden: Shaped[Tensor, "rows dim"], unembedding: Unembedding, rows: Rows, backend: Backend
) -> tuple[Float[Tensor, ""], Float[Tensor, " kept"]]:
    """Sum of weights * nll over the rows, and the detached nll of each.

    Outside gradient mode, or when no input requires a gradient, no gradient work is done.
    """
    inputs = (hidden, unembedding.weight, unembedding.bias)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        apply: Callable[..., tuple[Tensor, Tensor]] = _WeightedCESum.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return apply(*inputs, unembedding, rows, backend)
    nll, _ = backend(hidden, unembedding, rows, (False, False, False))
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
        backend: Backend,
    ) -> tuple[Tensor, Tensor]:
        nll, gradients = backend(hidden, unembedding, rows, ctx.needs_input_grad[:3])
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
            None if x is None else _scaled(x, upstream, dtype) for x, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return (*scaled, None, None, None)


@torch.no_grad()
def chunked(
    hidden: Tensor,
    unembedding: Unembedding,
    rows: Rows,
    wanted: tuple[bool, bool, bool],
    chunk_size: int | None,
    entropies: Entropies = (None, None),
) -> tuple[Tensor, Gradients]:
    """The backend of this module, in chunks of about `chunk_size` rows; None chooses. Fills `entropies` [kept]."""
    kept, wide = rows.positions.numel(), rows.weights.dtype
    dtype = compute_dtype(hidden, unembedding.weight)
    nll = rows.weights.new_empty(kept)
    transposed = dtype != wide and not _sums_wide(hidden)
    gradients = _zero_gradients(hidden, unembedding.weight, wide, wanted, transposed)
    with torch.autocast(hidden.device.type, enabled=False):
        unembedding = unembedding._replace(weight=unembedding.weight.to(dtype))
        size = rows_per_chunk(kept, unembedding.weight, wide, chunk_size)
        scratch = _Scratch.allocate(unembedding, size, wide, wanted)
        for start in range(0, kept, size):
            part = slice(start, start + size)
            chunk = Rows(*(x[part] for x in rows))
            x = hidden.index_select(0, chunk.positions).to(dtype)
            logits = torch.mm(x, unembedding.weight.t(), out=scratch.logits[: len(x)])
            first, second = (None if entropy is None else entropy[part] for entropy in entropies)
            likelihoods = nll[part], first, second
            _to_derivatives(logits, unembedding, chunk, likelihoods, gradients.bias, scratch, any(wanted))
            _accumulate(gradients, logits, x, chunk.positions, unembedding.weight, scratch)
    return nll, gradients


class _Scratch(NamedTuple):
    """Buffers that every chunk writes anew; those not used are empty."""

    logits: Tensor  # [chunk, vocab] in the precision of the matmuls
    wide: Tensor  # [tile, vocab] in the precision of sums, where that is not the one of the matmuls
    softmax: Tensor  # [tile, vocab], wide
    tanh: Tensor  # [tile, vocab], wide: tanh(z / softcap)
    weight: Tensor  # [dim, tile] in the precision of the matmuls, where that is not the wide one

    @classmethod
    def allocate(
        cls, unembedding: Unembedding, size: int, wide: torch.dtype, wanted: tuple[bool, bool, bool]
    ) -> "_Scratch":
        weight = unembedding.weight
        vocab, dim = weight.shape
        narrow, capped = weight.dtype != wide, unembedding.softcap is not None
        tile = rows_per_tile(size, vocab, weight.device)
        partial_sums = narrow and wanted[1] and not _sums_wide(weight)
        return cls(
            weight.new_empty((size, vocab)),
            weight.new_empty((tile if narrow else 0, vocab), dtype=wide),
            weight.new_empty((tile, vocab), dtype=wide),
            weight.new_empty((tile if capped else 0, vocab), dtype=wide),
            weight.new_empty((dim, rows_per_tile(vocab, dim, weight.device) if partial_sums else 0)),
        )


def _to_derivatives(
    logits: Tensor,
    unembedding: Unembedding,
    rows: Rows,
    likelihoods: tuple[Tensor, Tensor | None, Tensor | None],
    bias_gradient: Tensor | None,
    scratch: _Scratch,
    wanted: bool,
) -> None:
    """Fill in nll and entropies; turn a chunk's logits, tile by tile, into derivatives of weights * nll, if wanted."""
    nll, entropy, entropy_top20 = likelihoods
    tile = rows_per_tile(logits.shape[0], logits.shape[1], logits.device)
    weights = rows.weights * unembedding.logit_scale
    columns = (logits, rows.targets[:, None], weights[:, None], nll[:, None], entropy, entropy_top20)
    tiles = (repeat(None) if x is None else torch.split(x, tile) for x in columns)
    for z, targets, factors, nll_part, entropy_part, top20_part in zip(*tiles, strict=False):  # repeat(None): no end
        wide = z if z.dtype == nll.dtype else scratch.wide[: len(z)].copy_(z)
        tanh = _finish_logits(wide, unembedding, scratch.tanh[: len(z)])
        p = torch.softmax(wide, 1, out=scratch.softmax[: len(z)])
        # the largest p is 1 / sum exp(z - max z): exact however large the logits are, where log p_t would underflow
        below_largest = wide.amax(1, keepdim=True) - _gather_targets(wide, targets)
        torch.sub(below_largest, p.amax(1, keepdim=True).log_(), out=nll_part)
        if top20_part is not None:
            likeliest = wide.topk(min(20, wide.shape[1]), 1).values.log_softmax(1)
            torch.sum(likeliest.exp().mul_(likeliest), 1, out=top20_part).neg_()
        if entropy_part is not None:
            torch.sum(torch.xlogy(p, p, out=wide), 1, out=entropy_part).neg_()
        if not wanted:
            continue
        p.mul_(factors).scatter_add_(1, targets, -factors)
        if tanh is not None:  # d tanh = 1 - tanh^2
            p.addcmul_(p, tanh.square_(), value=-1.0)
        if bias_gradient is not None:
            bias_gradient.add_(p.sum(0))
        z.copy_(p)


def _finish_logits(logits: Tensor, unembedding: Unembedding, tanh: Tensor) -> Tensor | None:
    """Add bias, scale and cap in place; the tanh of the cap, if there is one."""
    _, bias, logit_scale, softcap = unembedding
    if bias is not None:
        logits.add_(bias)
    if logit_scale != 1.0:
        logits.mul_(logit_scale)
    if softcap is None:
        return None
    torch.tanh(logits.div_(softcap), out=tanh)
    torch.mul(tanh, softcap, out=logits)
    return tanh


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
    """Add one chunk's share to the gradients of hidden and weight; sums over rows are wide."""
    if gradients.hidden is not None:
        gradients.hidden.index_copy_(0, positions, torch.mm(d_logits, weight).to(gradients.hidden.dtype))
    if gradients.weight is None:
        return
    if gradients.weight.dtype == x.dtype:
        gradients.weight.addmm_(d_logits.t(), x)
        return
    if _sums_wide(x):
        torch.addmm(gradients.weight, d_logits.t(), x, out_dtype=gradients.weight.dtype, out=gradients.weight)
        return
    columns, tile = x.t().contiguous(), scratch.weight.shape[1]
    for start in range(0, len(weight), tile):
        total = gradients.weight[start : start + tile].t()
        part = d_logits[:, start : start + tile]
        total.add_(torch.mm(columns, part, out=scratch.weight[:, : part.shape[1]]))


def _zero_gradients(
    hidden: Tensor, weight: Tensor, wide: torch.dtype, wanted: tuple[bool, bool, bool], transposed: bool
) -> Gradients:
    # float16 rows wait in float32 for the loss scaler: CUDA would cast its factor to float16 (<= 65,504)
    row_dtype = wide if hidden.dtype == torch.float16 else hidden.dtype
    weight_shape = weight.shape[::-1] if transposed else weight.shape
    weight_gradient = weight.new_zeros(weight_shape, dtype=wide) if wanted[1] else None
    return Gradients(
        hidden.new_zeros(hidden.shape, dtype=row_dtype) if wanted[0] else None,
        weight_gradient.t() if weight_gradient is not None and transposed else weight_gradient,
        weight.new_zeros(weight.shape[0], dtype=wide) if wanted[2] else None,
    )


def _scaled(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """Gradient times factor in its final precision and layout; overwrites what came."""
    if gradient.is_contiguous():
        return gradient.mul_(factor).to(dtype)
    out = torch.empty_like(gradient, dtype=dtype, memory_format=torch.contiguous_format)
    tile = rows_per_tile(gradient.shape[0], gradient.shape[1], gradient.device)
    for start in range(0, len(gradient), tile):
        part = gradient[start : start + tile].mul_(factor)
        out[start : start + tile] = part.t().to(dtype).t()  # precision, then layout: at once takes twice as long
    return out


def _sums_wide(x: Tensor) -> bool:
    """Whether a matmul of half precision can add to float32: CUDA from compute capability 8, torch from 2.8."""
    return x.is_cuda and torch.version.hip is None and torch.cuda.get_device_capability(x.device)[0] >= 8


def compute_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Precision of the matmuls: the one autocast would choose (float64 stays), or that of the wider input."""
    device, joint = hidden.device.type, torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(device) and joint != torch.float64:
        return torch.get_autocast_dtype(device)
    return joint
