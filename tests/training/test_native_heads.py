"""`heads: native` in a run: trained with our loss, in checkpoints and in what is left, under their own names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.models.released import plain_tensors, release
from weighted_mtp.models import load_tokenizer


@pytest.fixture(scope="module")
def source(chain_base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mellum")
    release(folder, "mellum")
    load_tokenizer(chain_base / "base").save_pretrained(folder)
    return folder


def test_a_run_leaves_trained_layers_that_transformers_drafts_with(prepare, source):
    run = prepare(model_name_or_path=str(source), n_future=2, heads="native", scheme="dft")
    before = run.parameters()
    trainer = run.fit()
    moved = {name for name, tensor in run.inputs.model.named_parameters() if not torch.equal(tensor, before[name])}
    assert {"extra_heads.0.eh_proj.weight", "extra_heads.0.mtp_block.self_attn.q_proj.weight"} <= moved
    assert "ce_head_1" in " ".join(key for entry in trainer.state.log_history for key in entry)
    left = Path(run.config.train.output_dir)
    saved = plain_tensors(left)
    assert saved.keys() == plain_tensors(source).keys()
    assert torch.equal(saved["mtp.fc.weight"], run.inputs.model.extra_heads[0].eh_proj.weight)
    plain: Any = AutoModelForCausalLM.from_pretrained(left)
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    ids = torch.tensor([[3, 4, 5, 6]])
    assert torch.equal(plain.generate(ids, use_mtp=True, **settings), plain.generate(ids, **settings))


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(prepare, source):
    settings = {"model_name_or_path": str(source), "n_future": 2, "heads": "native", "save_steps": 2}
    whole = prepare(**settings)
    whole.fit()
    resumed = prepare(**settings)
    resumed.fit(Path(whole.config.train.output_dir) / "checkpoint-2")
    one, other = whole.parameters(), resumed.parameters()
    assert all(torch.equal(one[name], other[name]) for name in one)
