import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.sentencepiece_forms import llama2_form, mistral_form, space_before_form
from weighted_mtp.data import parse_row, tokenize_rows

FORMS = {
    "llama2": llama2_form, "mistral": mistral_form, "metaspace_always": lambda: mistral_form("always"),
    "space_before": space_before_form,
}  # fmt: skip
PAIRS = [
    ("1 + 1 =", "2"), ("1 + 1 =", " 2"), ("안녕", "하세요"), ("def add(a, b):\n", "    return a + b\n"),
    ("return", " a + b\n"), ("return", "\n\n  x"), ("x", "é€\U0001f600"), ("a ", "b"), ("", "2"), ("q", "  two "),
]  # fmt: skip


@pytest.fixture(scope="module", params=FORMS)
def spaced(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before every text."""
    return FORMS[request.param]()


def rows(pairs, **columns):
    return [parse_row({"prompt": p, "completion": c, "label": False, **columns}) for p, c in pairs]


def parts(tokenizer, item):
    """The text of the prompt's tokens, and what the learned tokens add to it."""
    n = item["labels"].count(-100)
    head, whole = tokenizer.decode(item["input_ids"][:n]), tokenizer.decode(item["input_ids"])
    assert whole.startswith(head)
    return head, whole[len(head) :]


def test_no_space_comes_between_prompt_and_completion_and_none_is_lost(spaced):
    data, report = tokenize_rows(rows(PAIRS), spaced)
    assert [parts(spaced, item)[1] for item in data] == [f"{completion}</s>" for _, completion in PAIRS]
    assert report.notes == {}


def test_a_continued_text_has_the_tokens_that_it_has_in_a_whole_one(spaced):
    (item,), _ = tokenize_rows(rows([("1 + 1 =\n", "2")]), spaced)
    whole = spaced("1 + 1 =\n2")["input_ids"]
    assert item["input_ids"] == [*whole, spaced.eos_token_id]


def test_a_span_marks_the_same_characters_behind_an_anchor(spaced):
    data, _ = tokenize_rows(rows([("x", "ab é")], span=[3, 4]), spaced)
    marked = [
        t
        for t, wrong in zip(data[0]["labels"][-len(data[0]["token_error"]) :], data[0]["token_error"], strict=True)
        if wrong
    ]
    assert spaced.decode(marked).strip() == "é"


def test_byte_level_tokens_are_as_they_were(tokenizer):
    for prompt, completion in PAIRS:
        item = tokenize_rows(rows([(prompt, completion)]), tokenizer)[0][0]
        apart = tokenizer(prompt)["input_ids"] + tokenizer(completion, add_special_tokens=False)["input_ids"]
        assert item["input_ids"] == [*apart, tokenizer.eos_token_id]


def test_a_text_that_the_tokenizer_changes_is_counted_with_the_first_row():
    from tokenizers import normalizers

    lowered = llama2_form()
    kept: list = [lowered.backend_tokenizer.normalizer, normalizers.Lowercase()]
    lowered.backend_tokenizer.normalizer = normalizers.Sequence(kept)
    _, report = tokenize_rows(rows([("a", "b"), ("c", "Return"), ("D", "RETURN")]), lowered)
    told = report.summary().splitlines()
    assert "2 rows, row 1 first: the learned tokens decode to other text than the completion" in told[1]
    assert "1 rows, row 2 first: the prompt's tokens decode to other text" in told[2]
    assert not report.is_whole


@pytest.mark.parametrize("ending", ["</s>", "</s>\n"])
def test_eos_in_the_completions_text_is_learned_once_and_told(tokenizer, ending):
    (item,), report = tokenize_rows(rows([("ab", f"c{ending}")]), tokenizer)
    assert tokenizer.decode(item["input_ids"]) == "<s>abc</s>"
    assert "ends with '</s>' already: it is learned once" in report.summary()


def test_bos_in_the_prompts_text_is_read_once_and_told(tokenizer):
    (item,), report = tokenize_rows(rows([("<s>ab", "c")]), tokenizer)
    assert tokenizer.decode(item["input_ids"]) == "<s>abc</s>"
    assert "begins with '<s>' already: it is read once" in report.summary()


def test_eos_in_the_middle_of_a_completion_is_told(tokenizer):
    _, report = tokenize_rows(rows([("ab", "c</s>d")]), tokenizer)
    assert "'</s>' stands in the middle of what is learned" in report.summary()
