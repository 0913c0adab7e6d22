"""Made checkpoints in Meta's format, and a reading of it in plain PyTorch that shares nothing with the converter."""

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PARAMS = {
    "dim": 32,
    "n_layers": 5,
    "n_heads": 4,
    "n_kv_heads": 4,
    "vocab_size": 51,
    "multiple_of": 8,
    "ffn_dim_multiplier": None,
    "norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "n_future_tokens": 4,
}
COLUMNS = ("wq", "wk", "wv", "w1", "w3", "output")  # matrices whose rows are spread over the files
ROWS = ("wo", "w2", "tok_embeddings")


def params(**changed: Any) -> dict[str, Any]:
    return {**PARAMS, **changed}


def state(p: dict[str, Any], ffn: int | None = None, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights, large enough to tell heads and positions apart."""
    random = torch.Generator().manual_seed(0)
    dim, width = p["dim"], p["dim"] // p["n_heads"]
    kv = (p["n_kv_heads"] or p["n_heads"]) * width
    hidden = ffn or 88  # 8 * 32 / 3 = 85, rounded up to a multiple of 8

    def matrix(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=random) / math.sqrt(shape[-1])).to(dtype)

    def norm() -> Tensor:
        return (1 + 0.2 * torch.randn(dim, generator=random)).to(dtype)

    made = {"tok_embeddings.weight": matrix(p["vocab_size"], dim)}
    n_future = p.get("n_future_tokens", 1)
    trunk = [f"layers.{i}" for i in range(p["n_layers"] - n_future + 1)]
    for block in trunk + [f"extra_heads.{i}" for i in range(n_future - 1)]:
        made |= {
            f"{block}.attention.wq.weight": matrix(dim, dim),
            f"{block}.attention.wk.weight": matrix(kv, dim),
            f"{block}.attention.wv.weight": matrix(kv, dim),
            f"{block}.attention.wo.weight": matrix(dim, dim),
            f"{block}.feed_forward.w1.weight": matrix(hidden, dim),
            f"{block}.feed_forward.w2.weight": matrix(dim, hidden),
            f"{block}.feed_forward.w3.weight": matrix(hidden, dim),
            f"{block}.attention_norm.weight": norm(),
            f"{block}.ffn_norm.weight": norm(),
        }
    return made | {"norm.weight": norm(), "output.weight": matrix(p["vocab_size"], dim)}


def write(folder: Path, p: dict[str, Any], weights: dict[str, Tensor], files: int = 0, embedding_cut: int = 1) -> Path:
    """files 0: consolidated.pth, as released; else consolidated.00.pth and so on, each with its part."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(p))
    if not files:
        torch.save(weights, folder / "consolidated.pth")
        return folder
    for i in range(files):
        part = {}
        for name, tensor in weights.items():
            stem = name.split(".")[-2]
            axis = embedding_cut if stem == "tok_embeddings" else 0 if stem in COLUMNS else 1 if stem in ROWS else None
            part[name] = tensor if axis is None else tensor.chunk(files, axis)[i].clone()
        torch.save(part, folder / f"consolidated.{i:02}.pth")
    return folder


def made(folder: Path, **changed: Any) -> Path:
    """A small checkpoint at `folder`."""
    p = params(**changed)
    return write(folder, p, state(p))


# the reading: what each head says of each next token


def logits(p: dict[str, Any], weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """[batch, seq, n_future, vocab]"""
    turns = _turns(p, tokens.shape[1])
    n_future = p.get("n_future_tokens", 1)
    last = p["n_layers"] - n_future
    x = weights["tok_embeddings.weight"][tokens]
    for i in range(last):
        x = _block(p, weights, f"layers.{i}", x, turns)
    heads = [f"layers.{last}", *(f"extra_heads.{k}" for k in range(n_future - 1))]
    states = [_norm(_block(p, weights, head, x, turns), weights["norm.weight"], p["norm_eps"]) for head in heads]
    return torch.stack(states, 2) @ weights["output.weight"].T


def _turns(p: dict[str, Any], length: int) -> Tensor:
    """Unit complex numbers [seq, head_dim / 2]: position times frequency as an angle."""
    half = p["dim"] // p["n_heads"] // 2
    frequency = p.get("rope_theta", 10000.0) ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) * frequency
    return torch.complex(angle.cos(), angle.sin())


def _rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Neighbours (2i, 2i+1) of the last axis are the two parts of a complex number."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.complex(even.double(), odd.double()) * turns[:, None, :]
    return torch.stack([turned.real, turned.imag], -1).flatten(-2).to(x.dtype)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def _block(p: dict[str, Any], weights: dict[str, Tensor], name: str, x: Tensor, turns: Tensor) -> Tensor:
    def w(part: str) -> Tensor:
        return weights[f"{name}.{part}.weight"]

    batch, length, dim = x.shape
    heads, kv_heads = p["n_heads"], p["n_kv_heads"] or p["n_heads"]
    normed = _norm(x, w("attention_norm"), p["norm_eps"])
    q = _rotated((normed @ w("attention.wq").T).view(batch, length, heads, -1), turns)
    k = _rotated((normed @ w("attention.wk").T).view(batch, length, kv_heads, -1), turns)
    v = (normed @ w("attention.wv").T).view(batch, length, kv_heads, -1)
    mixed = torch.zeros(batch, length, heads, dim // heads)
    hidden = torch.ones(length, length).tril() == 0
    for h in range(heads):
        g = h * kv_heads // heads  # neighbouring heads share one of keys and values
        scores = q[:, :, h] @ k[:, :, g].transpose(1, 2) / math.sqrt(dim // heads)
        mixed[:, :, h] = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v[:, :, g]
    x = x + mixed.flatten(2) @ w("attention.wo").T
    normed = _norm(x, w("ffn_norm"), p["norm_eps"])
    gated = F.silu(normed @ w("feed_forward.w1").T) * (normed @ w("feed_forward.w3").T)
    return x + gated @ w("feed_forward.w2").T
