import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.models.sources import digest_of_model

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS = 32, 64, 2, 4, 2
TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "ab", "Ġ"]


@pytest.fixture
def gguf_file(tmp_path) -> Path:
    """A tiny llama as llama.cpp stores it, tokenizer included."""
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, 1, 1, 1, 1])
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    key_dim = DIM * KV_HEADS // HEADS
    shapes = {"token_embd": (len(TOKENS), DIM), "output_norm": (DIM,), "output": (len(TOKENS), DIM)}
    for layer in range(LAYERS):
        block = {"attn_norm": (DIM,), "attn_q": (DIM, DIM), "attn_k": (key_dim, DIM), "attn_v": (key_dim, DIM)}
        block |= {"attn_output": (DIM, DIM), "ffn_norm": (DIM,), "ffn_gate": (HIDDEN, DIM), "ffn_up": (HIDDEN, DIM)}
        block |= {"ffn_down": (DIM, HIDDEN)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.3, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_gguf_file_gives_a_model_with_fresh_heads(gguf_file):
    model = MTPModel.from_pretrained(gguf_file, n_future=3, value_head=True)
    assert model(torch.tensor([[1, 3, 4]]))["hidden_states"].shape == (1, 3, 3, DIM)


def test_a_gguf_model_loads_in_the_asked_dtype(gguf_file):
    assert MTPModel.from_pretrained(gguf_file, dtype="bfloat16").dtype == torch.bfloat16


def test_a_gguf_model_saves_as_a_directory_that_loads_everywhere(gguf_file, tmp_path):
    model = MTPModel.from_pretrained(gguf_file, n_future=2)
    model.save_pretrained(tmp_path / "saved")
    ids = torch.tensor([[1, 3, 4, 5]])
    again = MTPModel.from_pretrained(tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.full_forward(ids)["logits"], model.full_forward(ids)["logits"])
    assert torch.equal(plain(ids).logits, model.hf_model(ids).logits)


def test_a_gguf_file_gives_its_tokenizer(gguf_file):
    tokenizer = load_tokenizer(gguf_file)
    assert tokenizer("ab", add_special_tokens=False).input_ids == [5]


def test_a_gguf_file_is_trained_as_it_is(gguf_file, tmp_path):
    rows = [{"prompt": "a", "completion": "b" * n, "label": True} for n in (1, 2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model_name_or_path": gguf_file, "train_file": tmp_path / "rows.jsonl", "output_dir": tmp_path / "run",
        "max_steps": 1, "per_device_train_batch_size": 2, "n_future": 2, "tracking_uri": "none",
    }  # fmt: skip
    assert main(["train", "baseline", *(f"--{name}={value}" for name, value in settings.items())]) == 0
    assert MTPModel.from_pretrained(tmp_path / "run").n_future == 2


def test_a_gguf_file_has_a_digest_of_its_content(gguf_file):
    before = digest_of_model(gguf_file)
    (gguf_file.parent / "other.txt").write_text("beside it")
    assert digest_of_model(gguf_file) == before
    gguf_file.write_bytes(gguf_file.read_bytes() + b"x")
    assert digest_of_model(gguf_file) != before


ARCHITECTURES = {
    "llama": "LLAMA",
    "mistral": "LLAMA",
    "qwen2": "QWEN2",
    "qwen3": "QWEN3",
    "gemma2": "GEMMA2",
    "gemma3_text": "GEMMA3",
    "phi3": "PHI3",
    "olmo2": "OLMO2",
    "smollm3": "SMOLLM3",
    "granite": "GRANITE",
    "cohere": "COMMAND_R",
    "gpt_neox": "GPTNEOX",
}
"""Families whose tensors llama.cpp names one by one: it puts the experts of mixtures together, and knows no opt."""


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_llama_cpp_knows_every_tensor_of_a_saved_model(make_lm, tmp_path, family):
    MTPModel(make_lm(family), n_future=3, value_head=True).save_pretrained(tmp_path)
    architecture = getattr(gguf.MODEL_ARCH, ARCHITECTURES[family])
    names = gguf.get_tensor_name_map(architecture, 3)
    keys = [key for file in tmp_path.glob("model*.safetensors") for key in load_file(file)]  # as it reads a folder
    assert [key for key in keys if names.get_name(key, try_suffixes=(".weight", ".bias")) is None] == []
