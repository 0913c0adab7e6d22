"""Scored rows as other trainers read them: every learned token keeps its weight, or what is lost is told."""

import json
from itertools import pairwise

import pytest
from datasets import load_dataset

from tests.data.chat_templates import CHATML
from tests.data.conftest import byte_level_form
from weighted_mtp.cli.main import main
from weighted_mtp.data import IGNORED, parse_row, tokenize_rows
from weighted_mtp.data.borders import Detokenizer
from weighted_mtp.integrations.formats import FORMATS, Lost

CHAT = {
    "prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "def add(a, b):"}],
    "completion": " return a + b",
    "label": True,
}
TEXT = {"prompt": "def add(a, b):", "completion": " return a - b", "label": False}


@pytest.fixture
def tokenizer():
    made = byte_level_form()
    made.chat_template = CHATML
    return made


def converted(name, rows, tokenizer, weights):
    """The rows in a format, weighted; what was lost; and the rows as tokens."""
    plain, _ = tokenize_rows(rows, tokenizer)
    counts = [sum(label != IGNORED for label in labels) for labels in plain["labels"]]
    weighed = [row | {"weights": [weights(j) for j in range(n)]} for row, n in zip(rows, counts, strict=True)]
    encoded, _ = tokenize_rows(weighed, tokenizer)
    lost = Lost()
    return list(FORMATS[name](weighed, encoded, Detokenizer(tokenizer), lost)), lost, encoded


@pytest.mark.parametrize("row", [CHAT, TEXT])
def test_tokens_hold_every_weight_at_its_token(tokenizer, row):
    (made,), _, encoded = converted("tokens", [row], tokenizer, lambda j: 0.5 + j)
    assert made["labels"] == encoded[0]["labels"]
    assert len(made["weights"]) == len(made["input_ids"])
    learned = [w for w, label in zip(made["weights"], made["labels"], strict=True) if label != IGNORED]
    assert learned == [0.5 + j for j in range(len(learned))]
    assert sum(made["weights"]) == sum(learned)


def test_position_i_of_tinker_weighs_the_prediction_of_token_i_plus_1(tokenizer):
    (made,), _, _ = converted("tinker", [TEXT], tokenizer, lambda j: 1.0 + j)
    (tokens,), _, _ = converted("tokens", [TEXT], tokenizer, lambda j: 1.0 + j)
    inputs = made["loss_fn_inputs"]
    assert made["model_input"] == {"chunks": [{"type": "encoded_text", "tokens": tokens["input_ids"][:-1]}]}
    assert inputs["target_tokens"]["data"] == tokens["input_ids"][1:]
    assert inputs["weights"] == {
        "data": tokens["weights"][1:],
        "dtype": "float32",
        "shape": [len(tokens["weights"]) - 1],
    }


def test_an_answer_becomes_pieces_whose_texts_join_to_it(tokenizer):
    (made,), lost, _ = converted("ms-swift", [CHAT], tokenizer, lambda j: [0.5, 0.5, 2.0][j % 3])
    *asked, first = made["messages"][:3]
    pieces = [first, *made["messages"][3:]]
    assert [(m["role"], m["content"], m["loss_scale"]) for m in asked] == [
        ("system", "Be short.", 0.0),
        ("user", "def add(a, b):", 0.0),
    ]
    assert "".join(piece["content"] for piece in pieces) == "return a + b"
    assert {piece["loss_scale"] for piece in pieces} == {0.5, 2.0}
    assert all(one["loss_scale"] != other["loss_scale"] for one, other in pairwise(pieces))
    assert lost.told(9)[0] == f"9 learned tokens became {len(pieces)} pieces, weights rounded to 2 digits"


def test_where_each_message_is_a_turn_a_turn_stays_one_with_the_mean_weight_of_its_tokens(tokenizer):
    (made,), lost, encoded = converted("llamafactory", [CHAT], tokenizer, lambda j: [0.5, 0.5, 2.0][j % 3])
    weights = encoded[0]["weights"]
    assert made["messages"][2:] == [
        {
            "role": "assistant",
            "content": [{"type": "text", "value": " return a + b"}],
            "loss_weight": round(sum(weights) / len(weights), 2),
        }
    ]
    assert "became 1 mean weights, one a turn" in lost.told(len(weights))[0]


def test_a_message_without_text_has_an_empty_part_for_llamafactory(tokenizer):
    asked = [{"role": "system", "content": ""}, CHAT["prompt"][1]]
    (made,), _, _ = converted("llamafactory", [CHAT | {"prompt": asked}], tokenizer, lambda j: 1.0)
    assert made["messages"][0]["content"] == [{"type": "text", "value": ""}]


def test_calls_of_tools_and_thinking_are_parts_of_the_content_for_llamafactory(tokenizer):
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    turns = [
        {"role": "assistant", "content": None, "reasoning_content": "so", "tool_calls": [call]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "one"},
    ]
    row = {"prompt": CHAT["prompt"], "completion": "one", "completion_messages": turns, "label": True, "tools": [tool]}
    (made,), _, _ = converted("llamafactory", [parse_row(row)], tokenizer, lambda j: 1.0)
    called = next(m for m in made["messages"] if m["role"] == "assistant")
    assert called["content"] == [
        {"type": "reasoning", "value": "so"},
        {"type": "tool_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
    ]
    assert called.keys() == {"role", "content", "loss_weight"}
    assert json.loads(made["tools"]) == [tool]


@pytest.mark.parametrize("name", ["ms-swift", "llamafactory"])
def test_no_message_keeps_the_weight_that_it_came_with_beside_that_of_the_format(tokenizer, name):
    ours = {"train": True, "weight": 1.0}
    asked = [message | ours for message in CHAT["prompt"]]
    answers = [{"role": "assistant", "content": text} | ours for text in ("one", "two")]
    last = {"role": "assistant", "content": "three", "train": False}
    turns = [answers[0], asked[1], answers[1], asked[1], last]
    row = {"prompt": asked, "completion": "three", "completion_messages": turns, "label": True}
    (made,), _, _ = converted(name, [row], tokenizer, lambda j: 1.0)
    field = {"ms-swift": "loss_scale", "llamafactory": "loss_weight"}[name]
    assert [message.keys() for message in made["messages"]] == [{"role", "content", field}] * len(made["messages"])


def test_a_row_of_text_becomes_a_users_and_an_assistants_message_and_that_is_told(tokenizer):
    (made,), lost, _ = converted("ms-swift", [TEXT], tokenizer, lambda j: 1.0)
    assert made["messages"] == [
        {"role": "user", "content": "def add(a, b):", "loss_scale": 0.0},
        {"role": "assistant", "content": "return a - b", "loss_scale": 1.0},
    ]
    assert "1 rows of plain text" in "\n".join(lost.told(9))


@pytest.mark.parametrize("name", FORMATS)
def test_wmtp_score_writes_every_format_beside_the_rows(critic_dir, rows, tmp_path, capsys, name):
    out = tmp_path / "scored"
    words = ["--critic", str(critic_dir), "--data", str(rows["eval"]), "--out", str(out), "--format", name]
    assert main(["score", *words]) == 0
    kind, file = ("parquet", "train.parquet") if name == "tokens" else ("json", "train.jsonl")
    assert f"{out / name / file}: 21 rows" in capsys.readouterr().out
    read = load_dataset(kind, data_files=str(out / name / file), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(read) == 21
