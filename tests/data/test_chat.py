import copy

import pytest

from tests.data import chat_templates as templates
from weighted_mtp.data import DataError, bounded, parse_row, tokenize_rows
from weighted_mtp.data.chat import opened_chat, turn_end
from weighted_mtp.data.encoding import RowEncoder

USER = {"role": "user", "content": "1+2?"}
ANSWER = {"role": "assistant", "content": "3"}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "3"}


@pytest.fixture(scope="module")
def chats(tokenizer):
    """The byte-level tokenizer with the special tokens of all formats; `chats(name)` gives it the template."""

    def with_template(name: str):
        own = copy.deepcopy(tokenizer)
        own.add_special_tokens({"additional_special_tokens": templates.SPECIAL})
        own.chat_template = templates.ALL.get(name, name)
        return own

    return with_template


def row(messages, **columns):
    return parse_row({"messages": messages, "label": True, **columns})


def learned(tokenizer, given):
    """What is learned of a row, as text, and the notes on it."""
    data, report = tokenize_rows([given], tokenizer)
    item = data[0]
    return (tokenizer.decode([t for t in item["labels"] if t != -100]), tokenizer.decode(item["input_ids"]), report)


@pytest.mark.parametrize("name", templates.ALL)
def test_prompt_and_learned_tokens_decode_to_what_the_template_gives_up_to_the_end_of_the_turn(chats, name):
    tokenizer = chats(name)
    messages = [
        USER,
        {"role": "assistant", "content": "It is 3."},
        USER,
        {"role": "assistant", "content": "Three.\n\nYes."},
    ]
    answer, whole, report = learned(tokenizer, row(messages))
    assert whole == tokenizer.apply_chat_template(messages, tokenize=False).rstrip()
    assert answer.endswith(f"Three.\n\nYes.{templates.ENDS[name]}")
    assert "It is 3." in answer
    assert report.notes == {}
    assert report.is_whole


@pytest.mark.parametrize("name", templates.ALL)
def test_the_end_of_a_turn_is_what_the_template_writes_behind_the_content(chats, name):
    assert turn_end(chats(name)) == templates.ENDS[name]


def test_a_template_that_writes_no_end_is_ended_by_eos(chats):
    tokenizer = chats(templates.NO_END)
    assert turn_end(tokenizer) == ""
    assert learned(tokenizer, row([USER, ANSWER]))[0] == "3\n</s>"


def test_tools_and_a_tool_call_beside_and_without_text_reach_the_template(chats):
    tokenizer = chats("qwen3")
    for content in (None, "I add."):
        messages = [USER, {"role": "assistant", "content": content, "tool_calls": [CALL]}]
        answer, whole, report = learned(tokenizer, row(messages, tools=[ADD]))
        assert whole == tokenizer.apply_chat_template(messages, tools=[ADD], tokenize=False).rstrip()
        assert '"description": "Adds."' in whole
        assert answer.endswith('<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>')
        assert (content or "") in answer
        assert report.notes == {}


def test_a_tool_call_and_its_result_before_the_answer_are_read(chats):
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT, ANSWER]
    answer, whole, _ = learned(chats("qwen3"), row(messages, tools=[ADD]))
    assert answer.endswith("3<|im_end|>")
    assert "<tool_response>\n3\n</tool_response>" in whole.removesuffix(answer)


def test_reasoning_content_is_learned_where_the_template_writes_it(chats):
    given = row([USER, ANSWER | {"reasoning_content": "one and two"}])
    assert learned(chats("qwen3"), given)[0] == "<think>\none and two\n</think>\n\n3<|im_end|>"
    assert learned(chats("qwen3_thinking"), given)[0] == "one and two\n</think>\n\n3<|im_end|>"


@pytest.mark.parametrize("content", ["<think>\none and two\n</think>\n\n3", "<think>one and two</think>3"])
def test_a_turn_that_is_opened_with_think_has_it_once(chats, content):
    tokenizer = chats("qwen3_thinking")
    answer, whole, _ = learned(tokenizer, row([USER, ANSWER | {"content": content}]))
    assert whole.count("<think>") == 1
    assert whole.startswith(opened_chat(tokenizer, [USER]))
    assert answer == "one and two\n</think>\n\n3<|im_end|>"


def test_what_a_template_leaves_out_of_the_turn_is_told(chats):
    cut = learned(chats("deepseek_r1"), row([USER, ANSWER | {"content": "<think>one</think>3"}]))
    assert cut[0] == "3</s>"
    assert cut[2].notes == {"the chat template leaves out a part of the assistant's content": (1, 0)}
    given = row([USER, ANSWER | {"reasoning_content": "one", "tool_calls": [CALL]}], tools=[ADD])
    notes = learned(chats("chatml"), given)[2].notes
    assert {note.removeprefix("the chat template leaves out ") for note in notes} == {
        "reasoning_content",
        "tool_calls",
        "tools",
    }


PARTS_ONLY = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content if p.type == 'text' %}{{ p.text }}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM = {"role": "system", "content": "Answer in French."}


def as_parts(message):
    return message | {"content": [{"type": "text", "text": message["content"]}]}


@pytest.mark.parametrize("name", ["qwen3", PARTS_ONLY])
@pytest.mark.parametrize("form", [as_parts, dict])
def test_content_is_given_in_the_form_that_the_template_shows(chats, name, form):
    answer, whole, report = learned(chats(name), row([form(USER), form(ANSWER)]))
    assert USER["content"] in whole
    assert answer.endswith(f"{ANSWER['content']}<|im_end|>")
    assert report.notes == {}


def test_the_end_of_a_turn_is_found_where_only_parts_are_read(chats):
    assert turn_end(chats(PARTS_ONLY)) == "<|im_end|>"
    assert turn_end(chats("{% for m in messages %}<|im_start|>{% endfor %}")) == ""


CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("name", "messages", "gone"),
    [
        (NO_SYSTEM, [SYSTEM, USER, ANSWER], {"the content of a system message"}),
        ("chatml", [USER, CALLING, RESULT, ANSWER], {"tool_calls of an earlier assistant message"}),
        (
            "qwen3",
            [USER, ANSWER | {"reasoning_content": "one"}, USER, ANSWER],
            {"reasoning_content of an earlier assistant message"},
        ),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content if m.role == 'user' else 'im' }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
            [USER, ANSWER | {"content": "im"}],
            {"a part of the assistant's content"},
        ),
        (
            "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>"
            "{% endfor %}\n{% endfor %}",
            [USER, CALLING],
            {"the arguments of tool_calls"},
        ),
    ],
)  # fmt: skip
def test_what_a_template_leaves_out_anywhere_is_told(chats, name, messages, gone):
    notes = learned(chats(name), row(messages))[2].notes
    assert {note.removeprefix("the chat template leaves out ") for note in notes} == gone


def test_what_is_left_out_of_a_chat_that_is_asked_is_told(chats, caplog):
    encoder = RowEncoder(chats(NO_SYSTEM), append_eos=False, columns=(), use_spans=False)
    encoder.prompts([[SYSTEM, USER], [USER]])
    assert caplog.messages == ["the chat template leaves out the content of a system message (1 of 2 chats)"]


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "qwen3"])
def test_a_prompt_that_ends_with_the_assistant_is_gone_on_with(chats, name):
    begun = {"role": "assistant", "content": "I think"}
    tokenizer = chats(name)
    answer, whole, report = learned(tokenizer, parse_row({"prompt": [USER, begun], "completion": " 4", "label": 1}))
    assert answer == f" 4{templates.ENDS[name]}"
    assert whole.count("I think 4") == 1
    assert whole.removesuffix(answer) == opened_chat(tokenizer, [USER, begun])
    assert report.notes == {}


def test_an_end_of_turn_in_the_middle_is_told_whatever_eos_is(chats):
    tokenizer = chats("chatml")
    tokenizer.eos_token = "</s>"
    notes = learned(tokenizer, row([USER, ANSWER | {"content": "a <|im_end|> b"}]))[2].notes
    assert notes == {"'<|im_end|>' stands in the middle of what is learned, as a special token": (1, 0)}


@pytest.mark.parametrize("length", [1, 60, 300])
def test_content_that_begins_in_what_opens_the_turn_is_shown(chats, length):
    opens = templates.CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>{% endif %}")
    answer, _, report = learned(chats(opens), row([USER, ANSWER | {"content": f"<think>{'x' * length}</think>6"}]))
    assert answer == f"{'x' * length}</think>6<|im_end|>"
    assert report.notes == {}


def test_ends_that_the_completion_has_already_are_learned_once(chats):
    answer, _, _ = learned(chats("chatml"), row([USER, ANSWER | {"content": "3<|im_end|><|im_end|>\n"}]))
    assert answer == "3<|im_end|>"


def test_a_template_that_writes_todays_date_is_told(chats):
    dated = "{{ strftime_now('%d %b %Y') }}\n" + templates.CHATML
    (note,) = learned(chats(dated), row([USER, ANSWER]))[2].notes
    assert "today's date" in note


def test_a_turn_that_the_template_does_not_show_at_all_is_refused(chats):
    given = row([USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}])
    with pytest.raises(DataError, match=r"shows nothing of the assistant's turn \(tool_calls\)"):
        tokenize_rows([given], chats("chatml"))


def test_content_parts_are_text_where_the_template_reads_only_text(chats):
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "+2?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "3"}]}]
    assert (
        learned(chats("chatml"), row(messages))[1]
        == "<|im_start|>user\n1+2?<|im_end|>\n<|im_start|>assistant\n3<|im_end|>"
    )


def test_null_content_is_not_printed_as_none(chats):
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT, ANSWER]
    assert "None" not in learned(chats("chatml"), row(messages))[1]


def test_an_end_that_the_completion_has_already_is_learned_once_and_told(chats):
    answer, _, report = learned(chats("chatml"), row([USER, ANSWER | {"content": "3<|im_end|>\n"}]))
    assert answer == "3<|im_end|>"
    (note,) = report.notes
    assert "ends with '<|im_end|>' already" in note


def test_a_template_that_raises_is_one_reason_for_one_row(chats):
    bad = row([USER, USER, ANSWER])
    with pytest.raises(
        DataError, match=r"row 1 .*refuses these messages \(roles .*\): Conversation roles must alternate"
    ):
        tokenize_rows([row([USER, ANSWER]), bad], chats("gemma"))
    data, report = tokenize_rows([bad, row([USER, ANSWER])], chats("gemma"), on_bad_row="skip")
    assert data["row_id"][:] == [1]
    assert report.bad.count == 1


@pytest.mark.parametrize(
    "broken", ["{{ messages[0].content + 1 }}", "{{ nothing.at.all }}", "{% for %}", "{{ 1 / 0 }}"]
)
def test_whatever_a_template_raises_is_one_data_error(chats, broken):
    with pytest.raises(DataError, match="the chat template refuses these messages"):
        tokenize_rows([row([USER, ANSWER])], chats(broken))


def test_a_span_of_a_chats_completion_marks_its_tokens(chats):
    tokenizer = chats("qwen3")
    given = parse_row({"messages": [USER, ANSWER | {"content": "It is 4."}], "label": False, "span": [6, 7]})
    item = tokenize_rows([given], tokenizer)[0][0]
    ids = [t for t in item["labels"] if t != -100]
    assert tokenizer.decode([t for t, wrong in zip(ids, item["token_error"], strict=True) if wrong]) == "4"


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "qwen3"])
def test_a_turn_that_was_cut_off_is_learned_without_its_end(chats, name):
    tokenizer = chats(name)
    whole, cut = (
        tokenize_rows([parse_row({"messages": [USER, ANSWER], "label": True, "truncated": is_cut})], tokenizer)[0][0]
        for is_cut in (False, True)
    )
    said = [tokenizer.decode([t for t in item["labels"] if t != -100]) for item in (whole, cut)]
    assert said[1].endswith(ANSWER["content"])
    assert said[0].startswith(said[1])
    assert len(said[0]) > len(said[1])


def test_a_prompt_is_asked_as_the_template_opens_it(chats):
    tokenizer = chats("qwen3_thinking")
    encoder = RowEncoder(tokenizer, append_eos=False, columns=(), use_spans=False)
    (ids,) = encoder.prompts([[USER]], [[ADD]])
    assert tokenizer.decode(ids) == opened_chat(tokenizer, [USER], [ADD])
    assert tokenizer.decode(ids).endswith("<think>\n")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "takes more than .* s of proc",
        ),
        ("{{ 'a' * 100000000000 }}", "takes more than 0.25 GiB of memory"),
        ("{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "of memory"),
        ("{{ 9 ** (9 ** 9) }}", "raises to powers"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_strangers_template_is_bounded_and_reaches_nothing(chats, monkeypatch, template, reason):
    monkeypatch.setattr(bounded, "SECONDS", 0.2)
    monkeypatch.setattr(bounded, "MORE_MEMORY", 2**28)
    with pytest.raises(DataError, match=reason):
        tokenize_rows([row([USER, ANSWER])], chats(template))


def test_a_template_that_was_stopped_is_not_rendered_again(chats, monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 0.1)
    tokenizer = chats("{% for i in range(99998) %}{% for j in range(99998) %}{% endfor %}{% endfor %}")
    plain, asked = tokenizer.apply_chat_template, []
    monkeypatch.setattr(tokenizer, "apply_chat_template", lambda *a, **k: asked.append(1) or plain(*a, **k))
    for _ in range(2):
        with pytest.raises(DataError, match="takes more than"):
            tokenize_rows([row([USER, ANSWER])], tokenizer)
    assert len(asked) == 1


def test_named_arguments_that_are_handed_on_are_no_power(chats):
    own = "{% macro say(x) %}{{ x }}{% endmacro %}{% for m in messages %}{{ say(**{'x': m.content}) }}</s>{% endfor %}"
    assert learned(chats(own), row([USER, ANSWER]))[0].startswith("3")
