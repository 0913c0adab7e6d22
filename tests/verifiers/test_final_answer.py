"""What of a completion counts is one rule, and every verifier keeps to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.verifiers.answers import ExactMatch, NumericMatch
from weighted_mtp.verifiers.final_answer import THINKING, counted
from weighted_mtp.verifiers.math_answers import MathMatch
from weighted_mtp.verifiers.python_tests import PythonTests

HARMONY = "<|channel|>analysis<|message|>41?<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>"


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("42", "42"),
        ("<think>41</think>42", "42"),
        ("41</think>42", "42"),  # the prompt, or the template, began it
        ("<think>a<think>41</think>b</think>42", "42"),
        ("<think>41</think>No. <think>40</think>42", "42"),
        ("<think>41", None),
        ("<think>41</think>No. <think>42", None),
        ("<think></think>42", "42"),
        ("[THINK]41[/THINK]42", "42"),
        ("<|START_THINKING|>41<|END_THINKING|>42", "42"),
        ("<|channel>thought\n41<channel|>42", "42"),
        ("<|channel>thought\n41", None),
        (HARMONY, "42"),
        ("<|channel|>final<|message|>42", "42"),
        ("<|channel|>final <|constrain|>json<|message|>42<|return|>", "42"),
        ("<|channel|>analysis<|message|>42", None),
        ("<|channel|>analysis<|message|>42<|end|><|start|>assistant<|channel|>commentary<|message|>42<|call|>", None),
        ("So <answer>42</answer>.", "42"),
        ("<answer>41</answer> no <answer>42</answer>", "42"),
        ("Put it in <answer></answer>: <answer>42</answer>", "42"),
        ("<answer><answer>42</answer></answer>", "42"),
        ("<answer>42", "<answer>42"),
        ("</answer>42<answer>", "</answer>42<answer>"),
        ("<think><answer>41</answer></think>42", "42"),
        ("<think>41</think><answer>42</answer>", "42"),
        ([{"role": "assistant", "content": "<think>41</think>42"}], "42"),
        ([{"role": "assistant", "content": said} for said in ("41", "42")] + [{"role": "user", "content": "?"}], "42"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]}], "42"),
        ([{"role": "assistant", "reasoning_content": "41", "content": "42"}], "42"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], ""),
        ([{"role": "user", "content": "42"}], ""),
        ([], ""),
        ([None, 3, "x", {"role": "assistant", "content": 3}], ""),
        ([{"role": "assistant", "content": [None, {"type": "image"}, {"text": 3}]}], ""),
    ],
)  # fmt: skip
def test_what_counts(completion, text):
    assert counted({"completion": completion}) == text


@pytest.mark.parametrize(("begin", "end"), THINKING)
def test_thinking_that_the_prompt_begins_must_end_in_the_completion(begin, end):
    assert counted({"prompt": f"6 * 7?{begin}\n", "completion": f"41?{end}42"}) == "42"
    assert counted({"prompt": f"6 * 7?{begin}\n", "completion": "41? 42"}) is None
    assert counted({"prompt": f"6 * 7?{begin}\n\n{end}\n\n", "completion": "42"}) == "42"
    assert counted({"prompt": [{"role": "user", "content": begin}], "completion": "42"}) == "42"


@given(st.lists(st.sampled_from([tag for pair in THINKING for tag in pair] + ["<answer>", "</answer>", "42", "\n"])))
def test_any_heap_of_tags_is_read(pieces):
    assert isinstance(counted({"completion": "".join(pieces)}), str | None)


WRAPPED = [
    ("{}", "pass"),
    ("<think>{} is right</think>\nno", "fail"),
    ("<think>hm</think>\n{}", "pass"),
    ("<think>hm {}", "fail"),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{}", "pass"),
    ("I say <answer>{}</answer>", "pass"),
    ("<answer>{}</answer> no, <answer>no</answer>", "fail"),
]
RIGHT = {
    "exact": ({"answer": "42"}, "42"),
    "numeric": ({"answer": "42"}, "42"),
    "math": ({"answer": r"2\sqrt{3}"}, r"\boxed{2\sqrt{3}}"),
    "python-tests": (
        {"prompt": "def f():\n", "test": "def check(f):\n    assert f() == 42\n", "entry_point": "f"},
        "```python\ndef f():\n    return 42\n```\n",
    ),
}


@pytest.fixture(scope="module")
def verifiers(sandbox_works, math_verify):
    return {
        "exact": ExactMatch(),
        "numeric": NumericMatch(),
        "math": MathMatch(workers=1),
        "python-tests": PythonTests(),
    }


@pytest.mark.parametrize("name", RIGHT)
def test_every_verifier_judges_what_counts(verifiers, name):
    columns, right = RIGHT[name]
    texts = [(shape.format(right), verdict) for shape, verdict in WRAPPED]
    rows = [columns | {"completion": text} for text, _ in texts]
    rows += [columns | {"completion": [{"role": "assistant", "content": text}]} for text, _ in texts]
    found = [judgement.verdict for judgement in verifiers[name].judge_all(rows)]
    assert found == 2 * [verdict for _, verdict in WRAPPED]


@pytest.mark.parametrize("name", RIGHT)
def test_a_row_whose_completion_is_neither_text_nor_messages_is_an_error(verifiers, name):
    rows = [RIGHT[name][0] | {"completion": completion} for completion in (None, 42, {})]
    assert {found.verdict for found in verifiers[name].judge_all(rows)} == {"error"}
