"""What is scored is what is trained: chats and SentencePiece have labelled tokens that no text alone tells."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.data import chat_templates as templates
from tests.data.conftest import byte_level_form
from tests.data.sentencepiece_forms import llama2_form
from weighted_mtp.data import load_rows, tokenize_rows
from weighted_mtp.models import MTPModel
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score


def chat_form(name):
    tokenizer = byte_level_form()
    tokenizer.add_special_tokens({"additional_special_tokens": templates.SPECIAL})
    tokenizer.chat_template = templates.ALL[name]
    return tokenizer


FORMS = {
    "chatml": lambda: chat_form("chatml"),
    "qwen3": lambda: chat_form("qwen3"),
    "sentencepiece": lambda: llama2_form(),
}
ANSWERS = ("It is 3.", " return a + b\n", "3<|im_end|>", "3</s>", "the end of the day " * 40)


def rows_of(form):
    for number, answer in enumerate(ANSWERS):
        chat = [{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": answer}]
        text = {"prompt": "1 + 2 = ", "completion": answer}
        yield (text if form == "sentencepiece" else {"messages": chat}) | {"label": number % 2}


@pytest.fixture(scope="module", params=list(FORMS))
def place(request, tmp_path_factory):
    """A folder with rows, a base and a critic whose head is not zero, as after training; and the tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = FORMS[request.param]()
    tokenizer.pad_token = tokenizer.eos_token
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **shape))
    for name in ("base", "critic"):
        mtp = MTPModel(model, value_head=name == "critic")
        if mtp.value_head is not None:
            torch.nn.init.normal_(mtp.value_head.weight)
        mtp.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(request.param)))
    return folder, tokenizer


def test_scored_rows_can_be_trained_on_by_their_weights_whole_ones_and_cut_ones(place, prepare, tmp_path):
    folder, tokenizer = place
    account = score(
        ScoreConfig(
            critic=str(folder / "critic"),
            data=str(folder / "rows.jsonl"),
            out=str(tmp_path / "scored"),
            scheme_options={"beta": 0.3},
            max_length=60,
        )
    )
    assert "1 completions cut at 60 tokens" in account.summary()
    whole, _ = tokenize_rows(load_rows(tmp_path / "scored")[0], tokenizer)
    assert [len(weights) for weights in whole["weights"]] == [
        sum(label != -100 for label in labels) for labels in whole["labels"]
    ]
    run = prepare(
        scheme="column",
        model_name_or_path=str(folder / "base"),
        train_file=str(tmp_path / "scored"),
        max_steps=1,
        max_length=60,
    )
    assert run.fit().state.global_step == 1
