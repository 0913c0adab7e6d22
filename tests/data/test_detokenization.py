"""Ids become the text that they add to their prompt, token by token too."""

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.sentencepiece_forms import llama2_form, mistral_form, space_before_form
from weighted_mtp.data import chain_tokenizer
from weighted_mtp.data.borders import Border, Detokenizer

PAIRS = [
    ("def f(a, b):\n    return", " a + b\n"), ("def f(a, b):\n", "    return a + b\n"), ("1 + 1 =", "2"),
    ("안녕", "하세요"), ("x", "  한글 é 😀\n 가"), ("x", " "),
]  # fmt: skip
FORMS = {
    "llama2": llama2_form, "mistral": mistral_form, "metaspace_always": lambda: mistral_form("always"),
    "space_before": space_before_form,
}  # fmt: skip


@pytest.fixture(scope="module", params=["byte_level", *FORMS])
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    name = request.param
    return FORMS[name]() if name in FORMS else request.getfixturevalue("tokenizer")


def continued(tokenizer, prompt: str, text: str) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and of a text behind it."""
    border = Border(tokenizer)
    found = [border.tokens([text], False, anchor)[0] for anchor in border.anchors]
    return tokenizer(prompt)["input_ids"], next(f.ids for f in found if f)


@pytest.mark.parametrize(("prompt", "text"), PAIRS)
def test_the_text_behind_a_prompt_is_what_was_written(any_tokenizer, prompt, text):
    read, written = continued(any_tokenizer, prompt, text)
    eos = any_tokenizer.eos_token_id
    padded = [[eos] * 3 + read, read]
    assert Detokenizer(any_tokenizer).texts(padded, [written, [*written, eos]]) == [text, text]


@pytest.mark.parametrize(("prompt", "text"), PAIRS)
def test_the_pieces_of_tokens_are_joined_the_text_with_its_special_tokens(any_tokenizer, prompt, text):
    read, written = continued(any_tokenizer, prompt, text)
    pieces = Detokenizer(any_tokenizer).pieces(read, [*written, any_tokenizer.eos_token_id])
    assert len(pieces) == len(written) + 1
    assert "".join(pieces) == text + "</s>"
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)


def test_bytes_that_are_no_character_are_shown_as_broken_and_change_nothing_around_them(any_tokenizer):
    detokenizer = Detokenizer(any_tokenizer)
    read, written = continued(any_tokenizer, "q\n", "한 b")
    cut = written[1:] if detokenizer.texts([read], [written[:1]]) == ["\N{REPLACEMENT CHARACTER}"] else written
    (text,) = detokenizer.texts([read], [cut])
    assert "".join(detokenizer.pieces(read, cut)) == text
    assert text.strip("\N{REPLACEMENT CHARACTER}") == (" b" if cut != written else "한 b")


def test_a_character_that_the_prompt_began_belongs_to_what_ends_it(any_tokenizer):
    read, written = continued(any_tokenizer, "x", "é2")
    detokenizer = Detokenizer(any_tokenizer)
    found = [detokenizer.texts([read + written[:n]], [written[n:]])[0] for n in range(len(written))]
    assert found[0] == "é2"
    assert set(found) <= {"é2", "2"}


def test_tokens_without_a_decoder_stand_alone():
    tokenizer = chain_tokenizer()
    read, written = tokenizer("7 +3 :")["input_ids"], tokenizer("0 3")["input_ids"]
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.texts([read], [written]) == ["0 3"]
    assert detokenizer.pieces(read, written) == ["0", "3"]
