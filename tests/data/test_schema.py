import math

import numpy
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.data import BadRows, DataError, parse_row

GOOD = {"prompt": "1 + 1 =", "completion": " 2", "label": True}
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    "label", [True, 1, 1.0, numpy.float32(1), numpy.bool_(True), pyarrow.scalar(True), "true", "True"]
)
def test_a_right_label_may_be_a_bool_a_one_or_a_word(label):
    assert parse_row(GOOD | {"label": label})["label"] is True


@pytest.mark.parametrize(
    "label", [False, 0, 0.0, numpy.int8(0), numpy.array(False), pyarrow.scalar(0.0), "false", "FALSE"]
)
def test_a_wrong_label_may_be_a_bool_a_zero_or_a_word(label):
    assert parse_row(GOOD | {"label": label})["label"] is False


@pytest.mark.parametrize("label", ["yes", "1", 2, -1, 0.7, numpy.float32(0.7), math.nan, [True], {}])
def test_any_other_label_is_malformed(label):
    with pytest.raises(DataError, match=r"`label` is .* is needed"):
        parse_row(GOOD | {"label": label})


def test_is_correct_is_an_alias_of_label():
    assert parse_row({"prompt": "p", "completion": "c", "is_correct": False}) == {
        "prompt": "p",
        "completion": "c",
        "label": False,
    }


def test_label_and_is_correct_may_both_stand_there_when_they_agree():
    row = parse_row(GOOD | {"is_correct": 1})
    assert row["label"] is True
    assert "is_correct" not in row


def test_label_and_is_correct_that_disagree_are_malformed():
    with pytest.raises(DataError, match="`label` is True but `is_correct` is 0"):
        parse_row(GOOD | {"is_correct": 0})


@pytest.mark.parametrize(("label", "verdict"), [(True, "fail"), (True, "timeout"), (False, "pass"), (0, "PASS")])
def test_a_label_against_its_verdict_is_refused(label, verdict):
    with pytest.raises(DataError, match=f"`label` is {label} but `verdict` is '{verdict}'"):
        parse_row(GOOD | {"label": label, "verdict": verdict})


@pytest.mark.parametrize(("label", "verdict"), [(True, "pass"), (False, "timeout"), (True, "mine"), (False, None)])
def test_a_label_that_its_verdict_does_not_deny_is_taken(label, verdict):
    assert parse_row(GOOD | {"label": label, "verdict": verdict})["label"] is label


def test_an_alpaca_row_becomes_the_published_prompt():
    row = parse_row({"instruction": "Add.", "input": "1 2", "output": "3", "is_correct": True})
    assert row["prompt"].endswith("### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n")
    assert (row["completion"], row["label"]) == ("3", True)


@pytest.mark.parametrize("given", [{}, {"input": ""}, {"input": None}])
def test_an_alpaca_row_without_input_has_no_input_section(given):
    row = parse_row({"instruction": "Add {1}.", "output": "3", "is_correct": True} | given)
    assert row["prompt"].endswith("request.\n\n### Instruction:\nAdd {1}.\n\n### Response:\n")


def test_the_last_message_of_a_chat_is_the_completion():
    assert parse_row({"messages": CHAT, "label": True}) == {"prompt": CHAT[:1], "completion": "hello", "label": True}


def test_a_greeting_before_the_first_question_is_not_learned_whether_a_system_text_precedes_it_or_not():
    greeted = [{"role": "assistant", "content": "Hello."}, *CHAT]
    system = {"role": "system", "content": "Be kind."}
    for messages in (greeted, [system, *greeted]):
        assert parse_row({"messages": messages, "label": True})["prompt"] == messages[:-1]
    alone = [system, CHAT[1]]
    assert parse_row({"messages": alone, "label": True})["completion"] == "hello"


def test_the_message_that_cannot_be_read_is_named():
    messages = [*CHAT, {"role": "tool", "content": None}, CHAT[1]]
    with pytest.raises(DataError, match=r"no `content` \(message 3 of `messages`\)"):
        parse_row({"messages": messages, "label": True})


def test_columns_that_are_not_ours_pass_untouched():
    extras = {"task_id": "HumanEval/0", "input": [1], "output": None, "mutation": {"a": 1}}
    assert parse_row(GOOD | extras) == GOOD | extras


def test_a_null_field_counts_as_absent():
    assert parse_row(GOOD | {"span": None, "weights": None, "is_correct": None}) == GOOD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": None}, "no `prompt` among completion, label: a row needs prompt, completion and label"),
        ({"completion": None}, "no `completion`"),
        ({"label": None}, "no `label` among .*; `wmtp data verify` judges completions and writes it"),
        ({"prompt": 3}, "`prompt` is 3: text is needed"),
        ({"prompt": []}, "`prompt` is \\[\\]: a list of messages"),
        ({"completion": ["a"]}, "`completion` is \\['a'\\]: text is needed"),
        ({"completion": ""}, "`completion` is empty"),
        ({"completion": "\ud800"}, "half a surrogate pair"),
        ({"weights": 1.0}, "`weights` is 1.0: a list"),
        ({"weights": [1.0, math.nan]}, "`weights` holds nan: finite"),
        ({"weights": [math.inf]}, "`weights` holds inf: finite"),
        ({"weights": [True]}, "`weights` holds True: finite numbers"),
        ({"weights": [10**400]}, "finite numbers are needed"),
        ({"values": [1e39]}, "`values` holds 1e\\+39: finite numbers"),
        ({"credit": [-1e39]}, "`credit` holds -1e\\+39: finite numbers"),
        ({"values": ["a"]}, "`values` holds 'a': finite"),
        ({"td_errors": [None]}, "`td_errors` holds None: finite"),
        ({"token_error": [2]}, "`token_error` is 2: true, false"),
        ({"span": [0]}, "`span` is \\[0\\]: \\[start, end\\]"),
        ({"span": [1, 0]}, "outside the completion's 2 characters"),
        ({"span": [0, 3]}, "outside the completion's 2 characters"),
        ({"span": [0.0, 1.0]}, "\\[start, end\\] in characters"),
    ],
)
def test_a_malformed_field_is_named_with_its_value_and_what_is_needed(change, reason):
    with pytest.raises(DataError, match=reason):
        parse_row(GOOD | change)


@pytest.mark.parametrize("raw", [None, 3, "text", ["prompt"]])
def test_a_row_that_is_no_object_is_malformed(raw):
    with pytest.raises(DataError, match="must be an object with named fields"):
        parse_row(raw)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (CHAT[:1], "must hold a prompt and, behind it, an assistant's message"),
        (CHAT[1:], "must hold a prompt"),
        ([CHAT[1], CHAT[0]], "must hold a prompt and, behind it, an assistant's message"),
        ("hi", "a list of messages"),
        ([CHAT[0], "hello"], "a message has role and content"),
        ([CHAT[0], {"role": "assistant"}], "no `content`"),
        ([CHAT[0], {"role": "assistant", "content": ""}], "`content` is empty"),
    ],
)
def test_a_chat_without_an_answer_to_something_is_malformed(messages, reason):
    with pytest.raises(DataError, match=reason):
        parse_row({"messages": messages, "label": True})


@settings(deadline=None)
@given(prompt=texts, completion=texts, label=st.booleans(), word=st.booleans(), both=st.booleans())
def test_every_alias_of_a_row_gives_the_same_completion_and_label(prompt, completion, label, word, both):
    written = str(label).lower() if word else label
    correct = {"label": label, "is_correct": written} if both else {"is_correct": written}
    plain = parse_row({"prompt": prompt, "completion": completion} | correct)
    alpaca = parse_row({"instruction": prompt, "input": "", "output": completion} | correct)
    user, assistant = ({"role": r, "content": c} for r, c in [("user", prompt), ("assistant", completion)])
    chat = parse_row({"messages": [user, assistant]} | correct)
    assert plain == {"prompt": prompt, "completion": completion, "label": label}
    assert prompt in alpaca["prompt"]
    assert chat["prompt"] == [user]
    assert {(r["completion"], r["label"]) for r in (plain, alpaca, chat)} == {(completion, label)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = ["prompt", "completion", "label", "is_correct", "messages", "instruction", "input", "output"]
fields += ["weights", "values", "td_errors", "token_error", "span", "extra"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(fields), json_values))
def test_whatever_json_holds_is_a_row_or_one_data_error(raw):
    try:
        row = parse_row(raw)
    except DataError:
        return
    assert row["completion"]


@settings(deadline=None)
@given(
    st.sampled_from(
        [
            GOOD | {"weights": [1, 2.5], "span": (0, 1), "task_id": 3},
            {"messages": CHAT, "is_correct": "false", "token_error": [0, 1]},
            {"instruction": "a", "output": "b", "is_correct": 1, "values": [0.5]},
        ]
    )
)
def test_parsing_a_parsed_row_changes_nothing(raw):
    assert parse_row(parse_row(raw)) == parse_row(raw)


def test_bad_rows_beyond_the_first_few_are_counted_but_not_listed():
    bad = BadRows("skip", shown=2)
    for line in range(5):
        bad.add(f"a.jsonl:{line}", "no")
    assert bad.summary().splitlines() == ["5 bad rows skipped:", "  a.jsonl:0: no", "  a.jsonl:1: no", "  and 3 more"]


def test_an_unknown_policy_for_bad_rows_is_refused():
    with pytest.raises(ValueError, match="on_bad_row is 'ignore': 'error' or 'skip'"):
        BadRows("ignore")  # pyright: ignore[reportArgumentType]


def test_a_row_that_says_its_answer_in_two_forms_is_refused():
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for other in ({"completion": "b"}, {"output": "b"}, {"conversations": chat}):
        with pytest.raises(DataError, match=r"has `.*` and `.*`, each with what was written: keep one"):
            parse_row({"messages": chat, "label": True, **other})


def test_a_prompt_beside_messages_is_that_of_the_messages():
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    row = parse_row({"prompt": "a", "messages": chat, "label": True})
    assert row["prompt"] == chat[:1]
    assert row["completion"] == "b"


def test_tools_nested_without_end_are_one_error():
    with pytest.raises(DataError, match=r"`tools` is .*a list of function descriptions is needed"):
        parse_row({"messages": CHAT, "label": True, "tools": "[" * 100_000})
