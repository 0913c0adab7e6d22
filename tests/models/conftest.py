"""Tiny real models: every family's own code, random weights large enough to tell logits apart."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from weighted_mtp.models import MTPModel

COMMON = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "qwen3_moe": {"head_dim": 8, "num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2},
    "mistral": {},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 0.5},
    "gemma3_text": {"head_dim": 8, "final_logit_softcapping": 0.5},
    "phi3": {},
    "olmo2": {},
    "smollm3": {},
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.25},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0},
}
MakeModel = Callable[..., Any]


def make(family: str, **options: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **(COMMON | FAMILIES[family] | options))
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.fixture
def make_lm() -> MakeModel:
    return make


@pytest.fixture(params=FAMILIES)
def any_lm(request: pytest.FixtureRequest) -> Any:
    """One causal language model of each family."""
    return make(request.param)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two rows of twelve tokens; the first is padded on the left, the second on the right."""
    input_ids = torch.randint(3, 120, (2, 12), generator=torch.Generator().manual_seed(1))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[0, :4] = 0
    attention_mask[1, -3:] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def move(model: MTPModel) -> MTPModel:
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("hf_model."):
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.fixture
def trained() -> Callable[[MTPModel], MTPModel]:
    """As after training: moves every weight beside the plain model's, in place."""
    return move
