"""The sums of `linear_ce` by Liger Kernel's fused Triton kernels: an optional backend for CUDA."""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.losses.linear_ce import Gradients, Rows, Unembedding, chunked, compute_dtype

NEEDED = (0, 8, 2)
"""Earlier versions scale the gradient of W after its sum over tokens, which no token weight survives."""


@torch.no_grad()
def by_liger(
    hidden: Tensor, unembedding: Unembedding, rows: Rows, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Gradients]:
    """nll of every row, and the wanted gradients (of hidden, weight, bias) of the weighted sum.

    The weights go in as the upstream gradient of each token, before Liger sums over tokens; so one forward gives
    all gradients. Liger knows no logit scale: the rows and the bias carry it. It counts targets on the host, a
    second synchronisation.

    Source: Hsu et al. 2024, "Liger Kernel: Efficient Triton Kernels for LLM Training", arXiv 2410.10989.
    """
    if not rows.positions.numel():
        return chunked(hidden, unembedding, rows, wanted, chunk_size=None)
    ops: Any = import_module("liger_kernel.ops.fused_linear_cross_entropy")
    weight, bias, scale, softcap = unembedding
    dtype = compute_dtype(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        nll, _, _, _, d_rows, d_weight, d_bias = ops.fused_linear_cross_entropy_forward(
            hidden.index_select(0, rows.positions).to(dtype) * scale,
            weight.to(dtype),
            rows.targets,
            bias=None if bias is None else bias.to(dtype) * scale,
            reduction="none",
            softcap=softcap,
            accum_dtype=rows.weights.dtype,
            token_grad_output=rows.weights if any(wanted) else None,
            compute_gradients=any(wanted),
            weight_requires_grad=wanted[1],
        )
    d_hidden = None
    if wanted[0]:
        d_hidden = torch.zeros_like(hidden)
        d_hidden.index_copy_(0, rows.positions, (d_rows * scale).to(hidden.dtype))
    d_bias = d_bias * scale if wanted[2] else None
    return nll.to(rows.weights.dtype), Gradients(d_hidden, d_weight if wanted[1] else None, d_bias)


def require_liger(device: torch.device) -> None:
    """Raise ValueError unless Liger is there, recent enough, and can run on this device."""
    how = "install it with: pip install 'liger-kernel>=0.8.2'"
    try:
        found = version("liger-kernel")
    except PackageNotFoundError:
        raise ValueError(f"backend liger needs the package liger-kernel, which is not installed; {how}") from None
    if tuple(int(part) for part in found.split(".")[:3]) < NEEDED:
        raise ValueError(f"liger-kernel is {found}, whose gradient of W is wrong for token weights; {how}")
    if device.type == "cpu" and not os.environ.get("TRITON_INTERPRET"):
        raise ValueError("backend liger runs Triton kernels, and these tensors are on a CPU; use backend torch")
