"""What a tiny model with a tokenizer of the SentencePiece kind learned is what it writes, and where it stops."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.data.chat_templates import GEMMA
from tests.data.sentencepiece_forms import llama2_form
from weighted_mtp.cli.main import main
from weighted_mtp.evaluation.decoding import Completion, complete
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.run import train

TEXTS = {"def add(a, b):\n    return": " a + b\n", "안녕": "하세요 😀", "1 + 1 =": "2"}
USER = [{"role": "user", "content": "1+2?"}]
ANSWER = "It is 3."
STALE = 0
"""The end token that the base model names: another vocabulary's."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output directory of a model that knows four rows by heart, with a checkpoint in it."""
    root = tmp_path_factory.mktemp("generate")
    tokenizer = llama2_form(GEMMA)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, eos_token_id=STALE, bos_token_id=7,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(root / "base")
    config.save_pretrained(root / "tokenizer")
    tokenizer.save_pretrained(root / "tokenizer")
    rows: list[dict[str, Any]] = [{"prompt": p, "completion": c, "label": True} for p, c in TEXTS.items()]
    rows.append({"messages": [*USER, {"role": "assistant", "content": ANSWER}], "label": True})
    (root / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "stage": "baseline",
        "model_name_or_path": str(root / "base"),
        "tokenizer_name_or_path": str(root / "tokenizer"),
        "train_file": str(root / "train.jsonl"),
        "output_dir": str(root / "model"),
        "tracking_uri": "none",
        "max_steps": 60,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "save_steps": 60,
    }
    train(RunConfig.from_flat(settings), quiet=True)
    return root / "model"


def test_completions_are_what_was_learned_in_a_batch_and_alone(trained):
    model, tokenizer = MTPModel.from_pretrained(trained), load_tokenizer(trained)
    prompts = [*TEXTS, USER]
    expected = [Completion(text, "eos") for text in (*TEXTS.values(), ANSWER)]
    assert complete(model, tokenizer, prompts, max_new_tokens=40) == expected
    alone = [complete(model, tokenizer, [prompt], max_new_tokens=40)[0] for prompt in prompts]
    assert alone == expected


@pytest.mark.parametrize(("prompt", "stop"), [(prompt, text[-1]) for prompt, text in TEXTS.items()] + [("안녕", "요 ")])
def test_stop_strings_are_found_in_the_text_behind_the_prompt(trained, prompt, stop):
    model, tokenizer = MTPModel.from_pretrained(trained), load_tokenizer(trained)
    (found,) = complete(model, tokenizer, [prompt], max_new_tokens=40, stop=[stop])
    assert found == Completion(TEXTS[prompt].split(stop)[0], "stop")


@pytest.mark.parametrize("folder", ["", "checkpoint-60"])
def test_stock_generate_stops_where_ours_does(trained, folder):
    tokenizer = AutoTokenizer.from_pretrained(trained / folder)
    model: Any = AutoModelForCausalLM.from_pretrained(trained / folder)
    prompts: list[Any] = [tokenizer(prompt, return_tensors="pt")["input_ids"] for prompt in TEXTS]
    chat = tokenizer.apply_chat_template(USER, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    ends = [tokenizer.decode(model.generate(ids, max_new_tokens=40)[0, -1]) for ids in (*prompts, chat)]
    assert ends == ["</s>", "</s>", "</s>", "<end_of_turn>"]


def test_the_saved_configurations_name_the_ends_of_training_and_nothing_of_another_vocabulary(trained):
    tokenizer = load_tokenizer(trained)
    ends = tokenizer.convert_tokens_to_ids(["</s>", "<end_of_turn>"])
    for file in ("config.json", "generation_config.json"):
        saved = json.loads((trained / file).read_text())
        assert [n for n in saved["eos_token_id"] if n != STALE] == ends
        assert saved["bos_token_id"] == tokenizer.bos_token_id


# The command line


def generate(trained: Path, *words: str) -> int:
    return main(["generate", str(trained), "--max_new_tokens", "20", *words])


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_plain_prompt_of_a_chat_model_is_completed_with_a_hint(trained, capsys):
    assert generate(trained, "--prompt", "1 + 1 =") == 0
    out, err = capsys.readouterr()
    assert out == "2\n"
    (hint,) = [line for line in err.splitlines() if line.startswith("hint")]
    assert "--chat" in hint
    assert "--messages" in hint


@pytest.mark.parametrize("chat", [USER, {"messages": USER}, {"prompt": USER, "tools": None}])
def test_a_chat_is_answered_as_it_was_learned(trained, capsys, tmp_path, chat):
    assert generate(trained, "--messages", written(tmp_path / "chat.json", chat)) == 0
    out, err = capsys.readouterr()
    assert (out, "hint" in err) == (ANSWER + "\n", False)


def test_with_chat_the_prompt_is_what_a_user_says(trained, capsys):
    assert generate(trained, "--prompt", "1+2?", "--chat") == 0
    assert capsys.readouterr().out == ANSWER + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "is not JSON"),
        (3, "a JSON list of messages is needed"),
        ([], "a list of messages"),
        ({"tools": []}, "a JSON list of messages is needed"),
        ({"messages": USER, "label": True}, "has the key 'label'"),
        ([{"role": "user"}], "content"),
        ([*USER, {"role": "assistant", "content": "3"}], "the last message is the assistant's"),
        ([{"role": "usr", "content": "x"}], "`role` is 'usr'"),
        ([*USER, *USER], "the chat template refuses these messages"),
        ({"messages": USER, "tools": 3}, "`tools` is 3"),
    ],
)
def test_a_chat_that_cannot_be_asked_is_one_line(trained, capsys, tmp_path, content, said):
    file = tmp_path / "chat.json"
    assert generate(trained, "--messages", str(file) if content is None else written(file, content)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wmtp")]
    assert said in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--prompt TEXT or --messages FILE"),
        (["--prompt", "a", "--messages", "b"], "--prompt TEXT or --messages FILE"),
        (["--messages", "b", "--chat"], "is a chat already"),
        (["--prompt", "a", "--temperature=-1"], "temperature is -1"),
        (["--prompt", "a", "--max_new_tokens", "0"], "--max_new_tokens is 0"),
    ],
)
def test_words_that_say_no_prompt_or_two_are_refused(capsys, words, said):
    assert main(["generate", "nowhere", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_model_without_a_template_takes_no_chat(chain_base, capsys):
    assert main(["generate", str(chain_base / "base"), "--prompt", "7 +3 :", "--chat"]) == 2
    assert "has no chat template" in capsys.readouterr().err


@pytest.mark.parametrize("chat", [False, True])
def test_problems_of_text_are_asked_as_a_user_does_or_with_a_hint(trained, tmp_path, chat, capsys):
    prompt, answer = ("1+2?", ANSWER) if chat else ("안녕", TEXTS["안녕"])
    problems = written(tmp_path / "p.jsonl", {"prompt": prompt, "answer": answer})
    words = ["evaluate", str(trained), "--problems", problems, "--verifier", "exact", "--samples", "0"]
    words += ["--out", str(tmp_path / "out"), "--max_new_tokens", "20"]
    assert main([*words, *(["--chat", "true"] if chat else [])]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert (row["completion"], row["verdict"]) == (answer, "pass")
    assert ("hint" in capsys.readouterr().out) == (not chat)
    assert main([*words, *([] if chat else ["--chat", "true"])]) == 2
    assert "chat" in capsys.readouterr().err
