from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from weighted_mtp.models import MTPModel
from weighted_mtp.models.meta.layout import Params, config_of, entries, ffn_dim, params_json, params_of, rotary_rows

SEVEN = Params(dim=4096, n_layers=32, n_heads=32, n_kv_heads=32, n_future_tokens=4, vocab_size=32000, ffn_dim=11008)
"""facebook/multi-token-prediction, 7B_1T_4."""


def test_the_released_7b_has_every_shape_of_the_model_that_reads_it():
    config = LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=29, num_attention_heads=32,
        tie_word_embeddings=False, max_position_embeddings=4096,
    )  # fmt: skip
    with torch.device("meta"):
        model = MTPModel(AutoModelForCausalLM.from_config(config), n_future=4)
    ours = {name.removeprefix("hf_model."): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    rows = list(entries(SEVEN))
    assert {entry.ours: entry.shape for entry in rows} == ours
    # 2 * 32000 * 4096 + 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096): that of a Llama of 32 blocks
    assert sum(torch.Size(entry.shape).numel() for entry in rows) == 6_738_415_616
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_738_415_616
    assert len(rows) == 3 + 32 * 9
    assert sum(name.startswith("extra_heads.") for name, *_ in rows) == 3 * 9
    assert params_of(config, n_future=4) == replace(SEVEN, norm_eps=config.rms_norm_eps)
    assert {name: getattr(config, name) for name in config_of(SEVEN)} == config_of(SEVEN) | {"rms_norm_eps": 1e-6}


@pytest.mark.parametrize(
    ("dim", "multiple_of", "multiplier", "width"),
    [(4096, 256, None, 11008), (4096, 256, 1.0, 11008), (5120, 256, None, 13824), (8192, 4096, 1.3, 28672)],
)
def test_the_width_of_the_feed_forward_layer_is_that_of_the_published_models(dim, multiple_of, multiplier, width):
    assert ffn_dim(dim, multiple_of, multiplier) == width


@pytest.mark.parametrize("width", [1, 37, 85, 86, 171, 255, 256, 257, 11008, 100_003])
@pytest.mark.parametrize("dim", [32, 4096])
def test_params_json_leads_to_any_width(dim, width):
    written = params_json(Params(dim=dim, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=9, ffn_dim=width))
    assert ffn_dim(dim, written["multiple_of"], written.get("ffn_dim_multiplier")) == width


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_order_of_rows_goes_back(heads):
    rows = torch.randn(16, 3)
    assert torch.equal(rotary_rows(rotary_rows(rows, heads, to_meta=False), heads, to_meta=True), rows)
