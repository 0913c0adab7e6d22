"""Tokens and positions that a model does not have are told before the first step, by every command."""

import json
import logging
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken
from transformers import OPTConfig, OPTForCausalLM

from weighted_mtp.cli.main import main
from weighted_mtp.models import CriticSpec, MTPModel, load_tokenizer, require_readable


@pytest.fixture(scope="module")
def enlarged(chain_base: Path, tmp_path_factory) -> Path:
    """The tiny models with a tokenizer that has a token more than they have embeddings, and a row that holds it."""
    root = tmp_path_factory.mktemp("enlarged")
    for name in ("base", "critic"):
        MTPModel.from_pretrained(chain_base / name).save_pretrained(root / name)
        tokenizer = load_tokenizer(chain_base / name)
        tokenizer.add_tokens([AddedToken("<new>")])
        tokenizer.save_pretrained(root / name)
    rows = [json.loads(line) for line in (chain_base / "train.jsonl").read_text().splitlines()[:24]]
    rows[7]["prompt"] = "<new> " + rows[7]["prompt"]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.mark.parametrize(
    "words",
    [
        ["train", "baseline", "--model_name_or_path", "base", "--train_file", "rows.jsonl", "--output_dir", "run"],
        ["train", "verifiable", "--model_name_or_path", "base", "--critic", "critic", "--train_file", "rows.jsonl",
         "--output_dir", "run"],
        ["score", "--critic", "critic", "--data", "rows.jsonl", "--out", "scored"],
        ["generate", "base", "--prompt", "<new> 7 +3 :"],
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_a_token_beyond_the_embedding_is_named_with_both_sizes_and_the_remedy(enlarged, monkeypatch, capsys, words):
    monkeypatch.chdir(enlarged)
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    where = "prompt 0" if words[0] == "generate" else "row 7"
    for part in (where, "token 25 ('<new>')", "25 rows", "has 26 tokens", "resize_token_embeddings"):
        assert part in said
    assert not (enlarged / "run").exists()


def test_a_padding_token_beyond_the_embedding_is_named(make_config, chain_base):
    model, tokenizer = MTPModel.from_pretrained(chain_base / "base"), load_tokenizer(chain_base / "base")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    with pytest.raises(ValueError, match=r"padding token: token 25 \('\[PAD\]'\)"):
        require_readable(model, tokenizer, [[1, 2]], str)


def test_label_tags_count_as_tokens_and_as_length(chain_base):
    tokenizer = load_tokenizer(chain_base / "base")
    lm = MTPModel.from_pretrained(chain_base / "base").hf_model
    beyond = MTPModel(lm, value_head=True, critic=CriticSpec("generative", tags={"right": [1, 30], "wrong": [2]}))
    with pytest.raises(ValueError, match="label tag of right completions: token 30"):
        require_readable(beyond, tokenizer, [[1, 2]], str)


def test_a_row_longer_than_learned_positions_is_refused_and_one_longer_than_rotary_ones_warned_of(chain_base, caplog):
    tokenizer = load_tokenizer(chain_base / "base")
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=25, hidden_size=16, num_hidden_layers=1, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=8, word_embed_proj_dim=16, pad_token_id=23, bos_token_id=22, eos_token_id=23,
    )  # fmt: skip
    learned = MTPModel(OPTForCausalLM(config))
    require_readable(learned, tokenizer, [[1] * 8], str)
    with pytest.raises(ValueError, match=r"row 1: 9 tokens are more than the 8 positions .* max_length: 8"):
        require_readable(learned, tokenizer, [[1] * 3, [1] * 9], lambda i: f"row {i}")
    with pytest.raises(ValueError, match=r"6 tokens and 4 new ones .* max_new_tokens of at most 2"):
        require_readable(learned, tokenizer, [[1] * 6], str, further=4)
    with pytest.raises(ValueError, match=r"9 tokens and 4 new ones .*: shorten the prompt"):
        require_readable(learned, tokenizer, [[1] * 9], str, further=4)
    with caplog.at_level(logging.WARNING):
        require_readable(MTPModel.from_pretrained(chain_base / "base"), tokenizer, [[1] * 65], str)
    assert "max_length: 64" in caplog.text
