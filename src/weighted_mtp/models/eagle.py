"""A trained head as an EAGLE-1 draft model: a folder of its own, in the keys that vLLM and SGLang load."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from weighted_mtp.models.mtp_model import MTPModel

ARCHITECTURES = ("LlamaForCausalLMEagle", "LlamaForCausalLM")
"""SGLang takes the first; vLLM puts Eagle before each and takes what it then knows, EagleLlamaForCausalLM."""
_SHARED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "initializer_range",
    "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "attention_bias", "mlp_bias",
)  # fmt: skip
"""Of a decoder's config, what its draft model has, too."""


def write_eagle(model: MTPModel, folder: Path) -> int:
    """Writes config.json and model.safetensors of the head's draft model; returns how many weights it has.

        s_1[t] = layer(W [embed(x_{t+1}); s_0[t]]),  logits = unembedding s_1[t]

    Embedding and unembedding are not in it: servers share the decoder's own. vLLM 0.33.0 (model_executor/models/
    llama_eagle.py) builds W without a bias and passes over one in a file, SGLang 0.5.23 (srt/models/llama_eagle.py)
    builds it with one, random where none is in the file: so one is written, all 0.
    Source: Li et al. 2024, arXiv 2401.15077. Raises ValueError where the model has no `heads: eagle`.
    """
    if model.extra_heads.kind != "eagle":
        had = "no extra heads" if model.n_future == 1 else f"{model.extra_heads.kind} heads"
        raise ValueError(
            f"an EAGLE-1 draft model is made of a head trained with heads: eagle and n_future: 2, and this model has "
            f"{had}: what else there is (norms, further layers) has no place in one"
        )
    own: Any = model.config.get_text_config()
    state = model.extra_heads.state_dict()
    tensors = {name.replace("0.mtp_block.", "layers.0."): tensor for name, tensor in state.items()}
    tensors["fc.weight"] = tensors.pop("0.eh_proj.weight")
    tensors["fc.bias"] = torch.zeros_like(tensors["fc.weight"][:, 0])
    sizes = {name: getattr(own, name) for name in _SHARED if getattr(own, name, None) is not None}
    if "layers.0.self_attn.q_proj.bias" in tensors:  # Llama's layer has it at all four projections, Qwen2's at three
        sizes["attention_bias"] = True
        tensors.setdefault("layers.0.self_attn.o_proj.bias", torch.zeros_like(tensors["fc.bias"]))
    dtype = tensors["fc.weight"].dtype
    config = LlamaConfig(num_hidden_layers=1, architectures=[*ARCHITECTURES], dtype=dtype, **sizes)
    config.save_pretrained(folder)
    tensors = {name: tensor.to(dtype).contiguous().cpu() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(tensor.numel() for tensor in tensors.values())
