"""Text that continues another, to token ids and back: both ways, what stands before it decides how it is written (for
SentencePiece `2` alone is ` 2`). So text is tokenized behind an anchor, a short text whose own tokens come out
unchanged and are taken off again, and ids are decoded behind their prompt, whose own text is cut off."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

# A line break is a token of its own in most vocabularies; the others are for those that have none, or that join it with
# what follows.
_ANCHORS = ("\n", ".", "1", "a")
_CONTEXT = 8  # pieces in front of a token that settle what it adds; the decoders that we know look at one

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What decoders give for bytes that are no character, or not yet."""
Ids = Sequence[int]


class Continuation(NamedTuple):
    """The tokens of one text."""

    ids: list[int]
    extents: list[tuple[int, int]] | None
    """[start, end) of each token in characters of the text, where they were asked for."""


class Border:
    """Tokenizes continuations for one tokenizer, and checks that the tokens say what was written."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        # Without a decoder, tokens are joined by spaces that nobody wrote.
        self.spaces_count = backend is None or backend.decoder is not None
        self.anchors = _ANCHORS if self.spaces_count and self._puts_something_before() else ("",)

    def _puts_something_before(self) -> bool:
        (once,) = self._tokenized(["a"], False)["input_ids"]
        return self.decode([once + once]) != ["aa"]

    def tokens(self, texts: Sequence[str], extents: bool, anchor: str | None = None) -> list[Continuation | None]:
        """Tokens behind the anchor, by default the first that suits this tokenizer; None where it did not hold."""
        anchor = self.anchors[0] if anchor is None else anchor
        (skipped,) = self._tokenized([anchor], False)["input_ids"] if anchor else ([],)
        found = self._tokenized([anchor + text for text in texts], extents)
        n, shift = len(skipped), len(anchor)
        places: list[Any] = found["offset_mapping"] if extents else [None] * len(texts)
        return [
            Continuation(ids[n:], None if at is None else [(max(a - shift, 0), b - shift) for a, b in at[n:]])
            if ids[:n] == skipped
            else None
            for ids, at in zip(found["input_ids"], places, strict=True)
        ]

    def decode(self, rows: Sequence[Ids]) -> list[str]:
        """The texts of token ids, special tokens included, nothing tidied up."""
        return self.tokenizer.batch_decode(
            [list(row) for row in rows], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def says(self, found: str, head: str, text: str) -> bool:
        """Whether a decoded row is the decoded prompt `head` and then `text`; without spaces where none is kept."""
        if self.spaces_count:
            return found == head + text
        return "".join(found.split()) == "".join((head + text).split())

    def _tokenized(self, texts: list[str], extents: bool) -> Any:
        return self.tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=extents, return_attention_mask=False
        )


class Detokenizer:
    """Turns the ids of one tokenizer back into text: what a model wrote, and what each token adds to it.

        text of ids behind a prompt = decode(prompt + ids) without decode(prompt)

    A tokenizer without a decoder joins its tokens by spaces that nobody wrote: its ids are decoded alone.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special = {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        """Tokens that are no text: ends, beginnings, padding, roles of a chat."""
        self._border = Border(tokenizer)

    def texts(self, prompts: Sequence[Ids], rows: Sequence[Ids]) -> list[str]:
        """The text of each row behind its prompt, special tokens left out; padding in the prompts does no harm."""
        return self._added(prompts, [[token for token in row if token not in self.special] for row in rows])

    def pieces(self, prompt: Ids, ids: Ids) -> list[str]:
        """What each token adds to the text, special tokens included; joined they are the text.

        A character of several tokens is the last one's; the others have the empty text.
        """
        if not self._border.spaces_count:
            return self._border.decode([[token] for token in ids])
        pieces = self._each_behind_some(prompt, ids)
        (text,) = self._added([prompt], [ids])
        return pieces if "".join(pieces) == text else self._each_behind_all(prompt, ids, text)

    def _added(self, prompts: Sequence[Ids], rows: Sequence[Ids]) -> list[str]:
        if not self._border.spaces_count:
            return self._border.decode(rows)
        heads = self._border.decode(prompts)
        wholes = self._border.decode([[*prompt, *row] for prompt, row in zip(prompts, rows, strict=True)])
        return [
            whole[len(head) :] if whole.startswith(head) else self._behind_a_broken_end(prompt, row, whole)
            for prompt, row, head, whole in zip(prompts, rows, heads, wholes, strict=True)
        ]

    def _behind_a_broken_end(self, prompt: Ids, row: Ids, whole: str) -> str:
        """Where the row completes a character of the prompt's end, or breaks that end, beginning with no character."""
        for n in range(len(prompt) - 1, max(len(prompt) - 4, -1), -1):  # a character has at most four bytes
            (head,) = self._border.decode([prompt[:n]])
            if not head.endswith(BROKEN) and whole.startswith(head):
                return whole[len(head) :]
        mark = [number for number in sorted(self.special) if number not in (*prompt[-1:], *row[:1])][:1]
        head, text = self._border.decode([mark, [*mark, *row]])
        return text.removeprefix(head)

    def _each_behind_some(self, prompt: Ids, ids: Ids) -> list[str]:
        """By the few pieces before each: the work grows with the number of tokens."""
        row, pieces = [*prompt, *ids], []
        marks = [0] * _CONTEXT + [len(prompt)]  # places between characters
        for end in range(len(prompt) + 1, len(row) + 1):
            start, told = marks[-_CONTEXT], marks[-1]
            head, text = self._border.decode([row[start:told], row[start:end]])
            whole = not text.endswith(BROKEN)
            pieces.append(text.removeprefix(head) if whole else "")
            marks += [end] if whole else []
        return pieces

    def _each_behind_all(self, prompt: Ids, ids: Ids, text: str) -> list[str]:
        """By all tokens before each, for bytes that are no characters: decoders may break their neighbours too."""
        grown = self._added([prompt] * len(ids), [ids[: n + 1] for n in range(len(ids))])
        ends = [0]
        for part in grown[:-1]:
            same = takewhile(lambda pair: pair[0] == pair[1], zip(part, text, strict=False))
            ends.append(max(ends[-1], sum(1 for _ in same)))
        return [text[a:b] for a, b in zip(ends, [*ends[1:], len(text)], strict=True)]
