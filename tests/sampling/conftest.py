"""A tiny chat model that writes at random, and problems."""

import json
from pathlib import Path

import pytest
import torch

QUESTIONS = ["7 +3", "2 *3", "1 +3 *7 +3", "7 +3 *7"]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model`, a tiny Llama with a chat template that has learned nothing, and problems.jsonl."""
    from weighted_mtp.data import chain_tokenizer
    from weighted_mtp.demo.draw import tiny_llama
    from weighted_mtp.models import MTPModel

    root = tmp_path_factory.mktemp("sampling")
    tokenizer = chain_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}{% if add_generation_prompt %}: {% endif %}"
    )
    torch.manual_seed(0)
    model = tiny_llama(tokenizer)
    model.generation_config.do_sample = True
    MTPModel(model, n_future=2, value_head=True).save_pretrained(root / "model")  # which no server sees
    tokenizer.save_pretrained(root / "model")
    rows = [{"prompt": f"{q} :", "answer": "0", "task_id": f"t/{i}", "extra": [i]} for i, q in enumerate(QUESTIONS)]
    (root / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root
