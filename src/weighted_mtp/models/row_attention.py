"""Attention of packed sequences row by row, which on a CPU takes half the time of a mask over the whole sequence."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROWS = "weighted_mtp_rows"
"""Its name among transformers' attentions."""
LONGEST = 2048
"""Tokens of a row whose pairs a backward pass may hold at once."""


def attend_by_row(hf_model: Any) -> None:
    """Gives a decoder that has `sdpa` this attention: the same, but where a call names the rows of its sequences."""
    if hf_model.config._attn_implementation == "sdpa":
        hf_model.set_attn_implementation(ROWS)


class _ByRow(torch.autograd.Function):
    """softmax(scale q k' + mask) v of each row's own pairs; the backward's torch kernel is slower than five
    products."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "packs heads length dim"],
        key: Float[Tensor, "packs groups length dim"],
        value: Float[Tensor, "packs groups length width"],
        mask: Bool[Tensor, "packs 1 length length"],
        scale: float,
        spans: Sequence[tuple[int, int, int]],
    ) -> Float[Tensor, "packs length heads width"]:
        ctx.save_for_backward(query, key, value, mask)
        ctx.scale, ctx.spans = scale, spans
        packs, heads, length, _ = query.shape
        out = value.new_zeros(packs, length, heads, value.shape[-1])
        for i, a, b in spans:
            q, k, v = (x[i : i + 1, :, a:b] for x in (query, key, value))
            row = scaled_dot_product_attention(q, k, v, mask[i : i + 1, :, a:b, a:b], scale=scale, enable_gqa=True)
            out[i, a:b] = row[0].transpose(0, 1)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, mask = ctx.saved_tensors
        d_out, d_query, d_key, d_value = gradients[0].transpose(1, 2), *map(torch.zeros_like, (query, key, value))
        groups = key.shape[1]
        shared = query.shape[1] // groups
        for i, a, b in ctx.spans:
            q, k, v, d = (x[i, :, a:b].reshape(groups, -1, x.shape[-1]) for x in (query, key, value, d_out))
            hidden = torch.zeros(b - a, b - a, dtype=q.dtype).masked_fill_(~mask[i, 0, a:b, a:b], -torch.inf)
            p = torch.baddbmm(hidden.repeat(shared, 1), q, k.transpose(1, 2), alpha=ctx.scale).softmax(-1)
            d_p = d @ v.transpose(1, 2)
            d_scores = torch.ops.aten._softmax_backward_data(d_p, p, -1, p.dtype) * ctx.scale
            d_query[i, :, a:b] = (d_scores @ k).view(-1, b - a, q.shape[-1])
            d_key[i, :, a:b] = d_scores.transpose(1, 2) @ q
            d_value[i, :, a:b] = p.transpose(1, 2) @ d
        return d_query, d_key, d_value, None, None, None


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """transformers' `sdpa`, or by row where `row_spans` are given and nothing else changes the scores."""
    spans, scale = given.pop("row_spans", None), given.get("scaling")
    plain = not (given.get("dropout") or given.get("position_bias") is not None or given.get("softcap"))
    if spans is None or attention_mask is None or not plain or max((b - a for _, a, b in spans), default=0) > LONGEST:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    query, key = query.to(value.dtype), key.to(value.dtype)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return _ByRow.apply(query, key, value, attention_mask, scale, spans), None  # pyright: ignore


AttentionInterface.register(ROWS, _attention)
AttentionMaskInterface.register(ROWS, sdpa_mask)
