"""The arithmetic of docs/real-code.md is that of the script that it names."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "real-code.md"


def test_the_arithmetic_is_that_of_the_script():
    table = runpy.run_path(str(ROOT / "examples" / "one_gpu.py"))["table"]()
    assert f"<!-- gpu:begin -->\n{table}\n<!-- gpu:end -->" in PAGE.read_text(encoding="utf-8")


def test_the_arithmetic_holds_for_a_decoder_that_is_counted():
    """A tiny Llama: adapters of rank 16 on its seven linear maps a layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from weighted_mtp.models import MTPModel

    module = runpy.run_path(str(ROOT / "examples" / "one_gpu.py"))
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = MTPModel(LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes, **heads)))
    model.add_lora(module["RANK"], 16.0)
    counted = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    assert module["Decoder"]("tiny", 0, 3, 32, 48, 16).adapters == counted
