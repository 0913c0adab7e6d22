"""What is where: Meta's names, shapes and cuts against ours, tensor by tensor, and params.json against config.json.

    tok_embeddings, layers.0 .. layers.L-1, extra_heads.0 .. extra_heads.H-2, norm, output;  L = n_layers - n_future + 1

The last of `layers` is head 0; all heads read the output of `layers.L-2`. Source: Gloeckle et al. 2024, arXiv
2404.19737, and the reading code released with facebook/multi-token-prediction."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

POSITIONS = 4096
"""Positions that a model is taken to have been trained on where params.json has no max_seq_len."""


@dataclass(frozen=True)
class Params:
    """params.json, under its names; `vocab_size` and `ffn_dim` are -1 until the tensors say them."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    n_future_tokens: int = 1
    vocab_size: int = -1
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_seq_len: int = POSITIONS
    ffn_dim: int = -1

    def __post_init__(self) -> None:
        for name in ("dim", "n_layers", "n_heads", "n_kv_heads", "n_future_tokens", "max_seq_len"):
            value = getattr(self, name)
            _require(type(value) is int and value >= 1, f"{name} is {value!r}: a whole number from 1 on is needed")
        for name in ("norm_eps", "rope_theta"):
            _require_positive(name, getattr(self, name))
        _require(type(self.vocab_size) is int, f"vocab_size is {self.vocab_size!r}: a whole number is needed")
        heads = f"n_heads {self.n_heads}"
        _require(self.dim % self.n_heads == 0, f"dim {self.dim} is no multiple of {heads}")
        _require(self.head_dim % 2 == 0, f"dim {self.dim} / {heads} is odd: rotary positions need pairs")
        _require(self.n_heads % self.n_kv_heads == 0, f"{heads} is no multiple of n_kv_heads {self.n_kv_heads}")
        fits = self.n_future_tokens <= self.n_layers
        _require(fits, f"n_future_tokens is {self.n_future_tokens}, but n_layers, which counts them, {self.n_layers}")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.n_heads

    @property
    def blocks(self) -> int:
        """Length of `layers`: the trunk and head 0."""
        return self.n_layers - self.n_future_tokens + 1


def _require(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)


def _require_positive(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and type(value) is not bool
    _require(number and 0 < value <= sys.float_info.max, f"{name} is {value!r}: a number above 0 is needed")


class Entry(NamedTuple):
    """One tensor."""

    meta: str
    ours: str
    shape: tuple[int, ...]
    cut: int | None = None
    """Axis along which model-parallel files cut it; None: each holds it whole."""
    heads: int | None = None
    """Attention heads whose rows are in another order there."""


def entries(params: Params) -> Iterator[Entry]:
    """Every tensor of a model, in Meta's order."""
    dim, vocab = params.dim, params.vocab_size
    yield Entry("tok_embeddings.weight", "model.embed_tokens.weight", (vocab, dim), 1)
    for i in range(params.blocks):
        yield from _block(params, f"layers.{i}", f"model.layers.{i}")
    for i in range(params.n_future_tokens - 1):
        yield from _block(params, f"extra_heads.{i}", f"extra_heads.{i}")
    yield Entry("norm.weight", "model.norm.weight", (dim,))
    yield Entry("output.weight", "lm_head.weight", (vocab, dim), 0)


def _block(params: Params, meta: str, ours: str) -> Iterator[Entry]:
    dim, ffn, kv = params.dim, params.ffn_dim, params.n_kv_heads * params.head_dim
    for meta_name, our_name, shape, cut, heads in (
        ("attention.wq", "self_attn.q_proj", (dim, dim), 0, params.n_heads),
        ("attention.wk", "self_attn.k_proj", (kv, dim), 0, params.n_kv_heads),
        ("attention.wv", "self_attn.v_proj", (kv, dim), 0, None),
        ("attention.wo", "self_attn.o_proj", (dim, dim), 1, None),
        ("feed_forward.w1", "mlp.gate_proj", (ffn, dim), 0, None),
        ("feed_forward.w2", "mlp.down_proj", (dim, ffn), 1, None),
        ("feed_forward.w3", "mlp.up_proj", (ffn, dim), 0, None),
        ("attention_norm", "input_layernorm", (dim,), None, None),
        ("ffn_norm", "post_attention_layernorm", (dim,), None, None),
    ):
        yield Entry(f"{meta}.{meta_name}.weight", f"{ours}.{our_name}.weight", shape, cut, heads)


def rotary_rows(rows: Any, heads: int, to_meta: bool) -> Any:
    """Rows of wq or wk in the order of the other format.

    Rotary positions turn rows (2i, 2i+1) of a head together there, and rows (i, i + head_dim/2) here.
    """
    pairs, width = rows.shape[0] // heads // 2, rows.shape[1]
    split = (heads, 2, pairs, width) if to_meta else (heads, pairs, 2, width)
    return rows.reshape(split).transpose(1, 2).reshape(rows.shape)


def ffn_dim(dim: int, multiple_of: int, ffn_dim_multiplier: float | None) -> int:
    """Width of the feed-forward layer that params.json leads to: two thirds of 4 dim, scaled, rounded up."""
    width = int(8 * dim / 3)
    if ffn_dim_multiplier is not None:
        width = int(ffn_dim_multiplier * width)
    return multiple_of * -(-width // multiple_of)


KNOWN = {f.name for f in fields(Params)} - {"ffn_dim"}
FOR_FFN = {"multiple_of", "ffn_dim_multiplier"}
WITHOUT_EFFECT = {"max_batch_size", "use_scaled_rope"}


def read_params(file: Path) -> tuple[Params, list[str]]:
    """params.json, and what is to be said of it; ValueError: it is none, or names what cannot be carried over."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        _require(isinstance(content, dict), "it holds no object")
        lacking = [name for name in ("dim", "n_layers", "n_heads") if content.get(name) is None]
        _require(not lacking, f"it lacks {', '.join(lacking)}")
        scaled = "use_scaled_rope stretches the positions (Llama 3.1), which this converter does not carry over"
        _require(not content.get("use_scaled_rope"), scaled)
        given = {name: value for name, value in content.items() if value is not None}
        known = {name: given[name] for name in KNOWN & given.keys()}
        params = Params(**{"n_kv_heads": content["n_heads"]} | known)
        if FOR_FFN & given.keys():
            multiple_of = given.get("multiple_of", 256)
            _require(type(multiple_of) is int and multiple_of >= 1, f"multiple_of is {multiple_of!r}")
            multiplier = given.get("ffn_dim_multiplier")
            if multiplier is not None:
                _require_positive("ffn_dim_multiplier", multiplier)
            width = ffn_dim(params.dim, multiple_of, multiplier)
            params = replace(params, ffn_dim=width)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from None
    unread = sorted(given.keys() - KNOWN - FOR_FFN - WITHOUT_EFFECT)
    return params, [f"params.json also names {', '.join(unread)}, which nothing here reads"] * bool(unread)


def params_json(params: Params) -> dict[str, Any]:
    """What Meta's code reads to build this model."""
    content = {name: getattr(params, name) for name in (f.name for f in fields(params)) if name in KNOWN}
    plain = int(8 * params.dim / 3)
    if ffn_dim(params.dim, 256, None) == params.ffn_dim:
        return content | {"multiple_of": 256}
    # Any other width is one multiple of itself, of what does not exceed it.
    scaled = {"ffn_dim_multiplier": params.ffn_dim / plain} if plain > params.ffn_dim else {}
    return content | {"multiple_of": params.ffn_dim} | scaled


IN_CONFIG = {
    "dim": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "vocab_size": "vocab_size",
    "ffn_dim": "intermediate_size",
    "norm_eps": "rms_norm_eps",
    "max_seq_len": "max_position_embeddings",
}
"""Names in a transformers config of what means the same there."""


def config_of(params: Params) -> dict[str, Any]:
    """Settings of a LlamaConfig: of the trunk and head 0."""
    rope = {"rope_type": "default", "rope_theta": float(params.rope_theta)}
    same = {name: getattr(params, own) for own, name in IN_CONFIG.items()} | {"rms_norm_eps": float(params.norm_eps)}
    return same | {"num_hidden_layers": params.blocks, "rope_parameters": rope, "tie_word_embeddings": False}


def params_of(config: Any, n_future: int) -> Params:
    """Those of a transformers config with further heads beside it; ValueError: Meta's code cannot build the model."""
    _require(config.model_type == "llama", f"model_type is {config.model_type!r}: Meta's format is for llama alone")
    needed = {
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "head_dim": config.hidden_size // config.num_attention_heads,
    }
    found = {name: getattr(config, name) for name in needed} | {"rope_type": config.rope_parameters["rope_type"]}
    for name, value in (needed | {"rope_type": "default"}).items():
        _require(found[name] == value, f"{name} is {found[name]!r}, and Meta's format has {value!r} alone")
    same = {own: getattr(config, name) for own, name in IN_CONFIG.items()}
    layers, theta = config.num_hidden_layers + n_future - 1, config.rope_parameters["rope_theta"]
    return Params(n_layers=layers, n_future_tokens=n_future, rope_theta=theta, **same)
