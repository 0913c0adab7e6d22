"""Checkpoints with multi-token layers, under the names of their releases, beside a tiny model of the family."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from tests.models.conftest import COMMON

_EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
_ROUTED = {**_EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_key_value_heads": 4}
_LATENT = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "qk_nope_head_dim": 8}
_LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8}
RELEASED: dict[str, dict[str, Any]] = {
    "deepseek_v3": {**_ROUTED, **_LATENT},
    "glm4_moe": {**_ROUTED, "head_dim": 8},
    "mellum": {**_EXPERTS, "head_dim": 8, "num_experts": 4, "num_mtp_layers": 1, "mtp_layer_types": ["full_attention"]},
    "qwen3_5_text": {**_LINEAR, "linear_value_head_dim": 8, "head_dim": 8, "layer_types": ["full_attention"] * 3}
    | {"mtp_num_hidden_layers": 1},
}
"""Families whose multi-token layers transformers leaves out on load, and sizes of tiny ones."""


def release(folder: Path, family: str, depth: int = 3, count: int = 1) -> dict[str, Tensor]:
    """Writes a checkpoint in bfloat16 with `count` multi-token layers; returns their tensors under their names."""
    torch.manual_seed(0)
    sizes = COMMON | RELEASED[family] | {"num_hidden_layers": depth}
    if family in ("deepseek_v3", "glm4_moe"):
        sizes |= {"first_k_dense_replace": depth - 1, "num_mtp_layers": count}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    last = f"model.layers.{depth - 1}."
    block = {name.removeprefix(last): tensor for name, tensor in stored.items() if name.startswith(last)}
    wide, norm = torch.zeros(sizes["hidden_size"], 2 * sizes["hidden_size"]), torch.ones(sizes["hidden_size"])
    layers: dict[str, Tensor] = {}
    for k in range(count):
        if family in ("deepseek_v3", "glm4_moe"):
            own = {"eh_proj": wide, "enorm": norm, "hnorm": norm, "shared_head.norm": norm}
            own |= {"embed_tokens": stored["model.embed_tokens.weight"], "shared_head.head": stored["lm_head.weight"]}
            inner = outer = f"model.layers.{depth + k}."
        else:
            own = {"fc": wide, "pre_fc_norm_embedding": norm, "pre_fc_norm_hidden": norm, "norm": norm}
            outer, inner = "mtp.", "mtp.layers.0."
        layers |= {inner + name: tensor for name, tensor in block.items()}
        layers |= {f"{outer}{name}.weight": tensor for name, tensor in own.items()}
    layers = {name: (t + 0.1 * torch.randn(t.shape)).to(torch.bfloat16) for name, t in layers.items()}
    save_file(stored | layers, folder / "model.safetensors", metadata={"format": "pt"})
    return layers


def cut(folder: Path, layers: dict[str, Tensor]) -> None:
    """Lays the multi-token layers of a checkpoint into a file of their own, as large releases are cut."""
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {
        "model-00001-of-00002.safetensors": {name: t for name, t in stored.items() if name not in layers},
        "model-00002-of-00002.safetensors": layers,
    }
    for file, tensors in files.items():
        save_file(tensors, folder / file, metadata={"format": "pt"})
    named = {name: file for file, tensors in files.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": named}))


def plain_tensors(folder: Path) -> dict[str, Tensor]:
    """Of the plain model's files, as transformers and servers find them: one file, or those that the index names."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.is_file():
        return load_file(single)
    named = json.loads(index.read_text())["weight_map"]
    files = {file: load_file(folder / file) for file in {*named.values()}}
    assert {name for tensors in files.values() for name in tensors} == named.keys()
    return {name: files[file][name] for name, file in named.items()}
