"""Which tokens of a conversation are learned: those that the assistant writes, of every turn that is to be learned."""

import itertools
import json
import random
import re

import pytest

from tests.data import chat_templates as templates
from tests.data.sentencepiece_forms import llama2_form, mistral_form, space_before_form
from tests.data.test_chat import ADD, CALL, RESULT, chats
from weighted_mtp.data import DataError, parse_row, prompt_id, tokenize_rows

__all__ = ["chats"]

WORDS = ("a b", "3", "It is b", "x\n\ny", "assistant", "model", "think", "ok. Yes", "42 is", "end")


def conversation(rng, calls=False):
    """Questions with answers, some with a thought, and before some a call or two of a tool."""
    messages = [{"role": "system", "content": rng.choice(WORDS)}] if calls and rng.random() < 0.4 else []
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": f"{rng.choice(WORDS)}?"})
        for _ in range(rng.randint(0, 2) if calls else 0):
            thought = {"reasoning_content": f"so {rng.choice(WORDS)}"} if rng.random() < 0.5 else {}
            call = CALL | {"function": {"name": "add", "arguments": {"a": rng.randint(0, 9)}}}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call], **thought})
            messages.append(RESULT | {"content": rng.choice(WORDS)})
        thought = {"reasoning_content": f"hm {rng.choice(WORDS)}"} if rng.random() < 0.5 else {}
        messages.append({"role": "assistant", "content": rng.choice(WORDS), **thought})
    return messages


def encoded(tokenizer, row, **options):
    """The row's text, its learned stretches as texts, and the row."""
    item = tokenize_rows([parse_row(row)], tokenizer, **options)[0][0]
    stretches, read = [], True
    for token, label in zip(item["input_ids"], item["labels"], strict=True):
        if label != -100:
            stretches = [*stretches, [token]] if read else [*stretches[:-1], [*stretches[-1], token]]
        read = label == -100
    return tokenizer.decode(item["input_ids"]), [tokenizer.decode(ids) for ids in stretches], item


@pytest.mark.parametrize("name", templates.ALL)
def test_exactly_what_the_assistant_writes_is_learned_and_the_text_is_that_of_the_template(chats, name):
    tokenizer, rng = chats(name), random.Random(0)
    for _ in range(15):
        messages = conversation(rng, name in templates.CALLS)
        tools = [ADD] if name in templates.CALLS else None
        text, learned, _ = encoded(tokenizer, {"messages": messages, "label": True, "tools": tools})
        filled = [m | {"content": m["content"] or ""} for m in messages]
        assert text == tokenizer.apply_chat_template(filled, tools=tools, tokenize=False).rstrip()
        assert learned == re.findall(templates.WRITTEN[name], text, re.DOTALL)
        assert len(learned) == sum(message["role"] == "assistant" for message in messages)


@pytest.mark.parametrize("name", ["qwen3", "harmony", "mistral3"])
def test_the_last_turn_alone_can_be_learned(chats, name):
    messages = conversation(random.Random(3), calls=True)
    row = {"messages": messages, "label": True, "tools": [ADD]}
    text, learned, item = encoded(chats(name), row, turns="last")
    assert learned == re.findall(templates.WRITTEN[name], text, re.DOTALL)[-1:]
    assert item["prompt_id"] == prompt_id(messages[:-1], [ADD])


TURNS = [
    {"role": "user", "content": "1?"},
    {"role": "assistant", "content": "one"},
    {"role": "user", "content": "2?"},
    {"role": "assistant", "content": "two"},
]


def test_turns_of_the_assistant_in_the_prompt_are_read_and_those_of_the_completion_learned(chats):
    tokenizer = chats("chatml")
    whole = encoded(tokenizer, {"messages": TURNS, "label": True})
    assert whole[1] == ["one<|im_end|>", "two<|im_end|>"]
    for prompt, learned in ((TURNS[:3], whole[1][1:]), (TURNS[:1], whole[1])):
        row = {"prompt": prompt, "completion": TURNS[len(prompt) :], "label": True}
        text, found, item = encoded(tokenizer, row)
        assert (text, found) == (whole[0], learned)
        assert item["prompt_id"] == prompt_id(prompt)


def test_what_follows_the_last_turn_is_read_and_what_greets_before_the_first_question_too(chats):
    messages = [{"role": "assistant", "content": "Hi"}, *TURNS, {"role": "user", "content": "3?"}]
    text, learned, _ = encoded(chats("chatml"), {"messages": messages, "label": True})
    assert learned == ["one<|im_end|>", "two<|im_end|>"]
    assert text.startswith("<|im_start|>assistant\nHi<|im_end|>")
    assert text.endswith("3?<|im_end|>\n")


def test_one_reward_reaches_the_last_learned_token_of_a_conversation(chats):
    item = encoded(chats("chatml"), {"messages": TURNS, "reward": 0.25})[2]
    assert item["reward"] == item["pass_rate"] == 0.25


@pytest.mark.parametrize("off", [{"train": False}, {"weight": 0}, {"loss_weight": 0.0}])
def test_a_turn_with_weight_0_is_read(chats, off):
    messages = [*TURNS[:1], TURNS[1] | off, *TURNS[2:]]
    _, learned, item = encoded(chats("chatml"), {"messages": messages, "label": True})
    assert learned == ["two<|im_end|>"]
    assert item["loss_weights"] == [1.0] * sum(label != -100 for label in item["labels"])
    assert item["prompt_id"] == prompt_id(messages[:3])


def test_the_weight_of_a_message_is_the_factor_of_each_of_its_tokens(chats):
    messages = [*TURNS[:1], TURNS[1] | {"weight": 0.5, "loss_weight": 0.5}, *TURNS[2:]]
    item = encoded(chats("chatml"), {"messages": messages, "label": True})[2]
    n_first = len(chats("chatml")("one<|im_end|>", add_special_tokens=False)["input_ids"])
    n_last = len(item["loss_weights"]) - n_first
    assert item["loss_weights"] == [0.25] * n_first + [1.0] * n_last
    assert "loss_weights" not in encoded(chats("chatml"), {"messages": TURNS, "label": True})[2]


def test_a_conversation_without_a_learned_turn_is_refused(chats):
    with pytest.raises(DataError, match="none of its turns is learned, by their weight or train"):
        encoded(chats("chatml"), {"messages": [TURNS[0], TURNS[1] | {"train": False}], "label": True})


def test_a_weight_that_nothing_reads_is_told(chats):
    row = parse_row({"messages": [TURNS[0] | {"weight": 2}, *TURNS[1:]], "label": True})
    assert list(tokenize_rows([row], chats("chatml"))[1].notes) == [
        "`weight` of a message that is not the assistant's to learn is not read"
    ]


def test_a_negative_weight_of_a_message_is_refused():
    with pytest.raises(DataError, match=r"the weight of a message is -1: 0 or more is needed"):
        parse_row({"messages": [TURNS[0], TURNS[1] | {"weight": -1}], "label": True})


def test_a_template_that_marks_the_content_alone_has_its_end_of_turn_learned_too(chats):
    marked = templates.MARKED.replace("{{- m.content + '<|im_end|>' }}", "{{- m.content }}").replace(
        "{{- '\\n' }}\n    {%- else", "{{- '<|im_end|>\\n' }}\n    {%- else"
    )
    text, learned, _ = encoded(chats(marked), {"messages": TURNS, "label": True})
    assert learned == ["one<|im_end|>", "two<|im_end|>"]
    assert text == encoded(chats("chatml"), {"messages": TURNS, "label": True})[0]


def test_a_turn_whose_place_cannot_be_told_is_one_clear_error(chats):
    counting = (
        "{% for m in messages %}{{ m.role }} {{ messages | length }}: {{ m.content }} of {{ messages | length }}\n"
        "{% endfor %}"
    )
    with pytest.raises(DataError, match=r"where its message 2 begins cannot be told: set turns: last"):
        encoded(chats(counting), {"messages": TURNS, "label": True})


# --- lengths


def test_a_long_conversation_loses_its_end_and_one_whose_turns_all_lie_beyond_is_dropped(chats):
    tokenizer, long = chats("chatml"), {"messages": TURNS, "label": True, "reward": 1}
    whole = encoded(tokenizer, long)[2]
    places = [i for i, label in enumerate(whole["labels"]) if label != -100]
    second = next(b for a, b in itertools.pairwise(places) if b > a + 1)
    late = {"prompt": TURNS[:3], "completion": TURNS[3:], "label": True}
    data, report = tokenize_rows([parse_row(long), parse_row(late)], tokenizer, max_length=second - 1)
    assert (report.kept, report.truncated, report.dropped) == (1, 1, 1)
    assert data[0]["labels"] == whole["labels"][: second - 1]
    assert report.labelled_tokens == places.index(second)


def test_what_is_only_read_behind_the_last_turn_can_be_cut_without_loss(chats):
    messages = [*TURNS, {"role": "user", "content": "3?" * 20}]
    n = len(encoded(chats("chatml"), {"messages": TURNS, "label": True})[2]["input_ids"])
    _, report = tokenize_rows([parse_row({"messages": messages, "label": True})], chats("chatml"), max_length=n)
    assert (report.kept, report.truncated, report.dropped) == (1, 0, 0)


def test_a_list_with_an_entry_for_each_token_covers_all_turns(chats):
    n = sum(label != -100 for label in encoded(chats("chatml"), {"messages": TURNS, "label": True})[2]["labels"])
    row = {"messages": TURNS, "label": True, "weights": [-1.0] + [0.5] * (n - 1)}
    assert encoded(chats("chatml"), row)[2]["weights"] == row["weights"]
    with pytest.raises(DataError, match=rf"`weights` has {n} entries for \d+ labelled tokens .*by turns: last;"):
        encoded(chats("chatml"), row, turns="last")


def test_a_span_of_the_last_turn_marks_tokens_of_it_alone(chats):
    tokenizer = chats("chatml")
    item = encoded(tokenizer, {"messages": TURNS, "label": False, "span": [0, 3]})[2]
    ids = [t for t in item["labels"] if t != -100]
    assert tokenizer.decode([t for t, wrong in zip(ids, item["token_error"], strict=True) if wrong]) == "two"


@pytest.mark.parametrize("form", [llama2_form, mistral_form, space_before_form])
def test_turns_are_learned_without_a_space_that_a_tokenizer_puts_before_texts(form):
    tokenizer = form()
    tokenizer.add_special_tokens({"additional_special_tokens": templates.SPECIAL})
    tokenizer.chat_template = templates.CHATML
    _, report = tokenize_rows([parse_row({"messages": TURNS, "label": True})], tokenizer)
    assert report.notes == {}
    assert encoded(tokenizer, {"messages": TURNS, "label": True})[1] == ["one<|im_end|>", "two<|im_end|>"]


CALLED = (
    "{%% for m in messages %%}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{%% for c in m.tool_calls or [] %%}"
    "[{{ c.function.name }} %s]{%% endfor %%}<|im_end|>\n{%% endfor %%}"
    "{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)
ARGUMENTS = {
    "as JSON": CALLED % "{{ c.function.arguments | tojson }}",
    "one by one": CALLED
    % "{{ '{' }}{% for k, v in c.function.arguments.items() %}\"{{ k }}\": {{ v | tojson }}{% endfor %}}",
    "joined to text": CALLED % "{{ ' '[1:] + c.function.arguments }}",
    "printed": CALLED % "{{ c.function.arguments }}",
    "as text alone": CALLED % "{% if c.function.arguments is string %}{{ c.function.arguments }}{% endif %}",
}


@pytest.mark.parametrize(
    ("kind", "arguments"), [*((kind, '{"a": "b c"}') for kind in ARGUMENTS), ("printed", '{"a": ""}')]
)
def test_arguments_that_are_json_text_are_written_once_whichever_form_the_template_takes(chats, kind, arguments):
    call = CALL | {"function": {"name": "add", "arguments": arguments}}
    messages = [*TURNS[:1], {"role": "assistant", "content": None, "tool_calls": [call]}, RESULT, TURNS[1]]
    _, learned, _ = encoded(chats(ARGUMENTS[kind]), {"messages": messages, "label": True})
    assert learned[0] == f"[add {arguments}]<|im_end|>"


def test_arguments_that_are_no_json_object_or_hold_half_a_character_stay_text(chats):
    for arguments in ("add 1", "[1]", '{"a": "\\ud800"}'):
        call = {"function": {"name": "add", "arguments": arguments}}
        messages = [*TURNS[:1], {"role": "assistant", "content": None, "tool_calls": [call]}]
        _, learned, _ = encoded(chats(ARGUMENTS["as JSON"]), {"messages": messages, "label": True})
        assert learned == [f"[add {json.dumps(arguments)}]<|im_end|>"]


def test_ids_that_logs_draw_anew_do_not_tell_one_prompt_from_another():
    def asked(name, **function):
        call = CALL | {"id": name, "function": CALL["function"] | function}
        called = {"role": "assistant", "content": None, "tool_calls": [call], "id": f"m{name}"}
        return [TURNS[0], called, RESULT | {"tool_call_id": name}]

    assert prompt_id(asked("c1")) == prompt_id(asked("c2"))
    assert prompt_id(asked("c1")) != prompt_id(asked("c1", arguments={"id": 1}))
    assert prompt_id(TURNS[:1]) == 1349694744486052398


@pytest.mark.parametrize("calls", ["add(1)", {"name": "add"}, ["add(1)"]])
def test_calls_that_are_no_list_of_objects_are_refused(calls):
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    with pytest.raises(DataError, match=r"`tool_calls` is .*: a list of objects with name and arguments is needed"):
        parse_row({"messages": [TURNS[0], message], "label": True})


ONLY_USUAL = (
    "{% for m in messages %}{% if m.role in ('user', 'assistant') %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("role", "near"), [("human", "user"), ("User", "user"), ("gpt", "assistant"), ("xx", "user, a")]
)
def test_a_question_that_a_template_leaves_out_for_its_role_is_refused_and_the_nearest_role_named(chats, role, near):
    row = {"messages": [TURNS[0], {"role": role, "content": "2?"}, TURNS[3]], "label": True}
    with pytest.raises(DataError, match=f"the chat template shows nothing of `role` '{role}': did you mean {near}"):
        encoded(chats(ONLY_USUAL), row)
    assert "2?" in encoded(chats("chatml"), row)[0]


def test_an_end_that_content_spells_out_before_a_call_is_kept_since_the_template_writes_none_there(chats):
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    answer = {"role": "assistant", "content": "so<|im_end|>", "tool_calls": [call]}
    row = {"messages": [{"role": "user", "content": "1?"}, answer], "label": True, "tools": [ADD]}
    text, (learned,), _ = encoded(chats("qwen3"), row)
    assert text == chats("qwen3").apply_chat_template(row["messages"], tools=[ADD], tokenize=False).rstrip()
    assert "so<|im_end|><tool_call>" in learned
