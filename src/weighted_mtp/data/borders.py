"""Token ids of a text that continues another, and the check that they say what was written.

Tokenizers of the SentencePiece kind put a space before every text: tokenized alone, `2` becomes the token for ` 2`, and
a completion that begins with a space loses it when it is decoded. So a continuation is tokenized behind an anchor, a
short text whose own tokens come out unchanged, and the anchor's tokens are taken off again.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

# A line break is a token of its own in most vocabularies; the others are for those that have none, or that join it with
# what follows.
_ANCHORS = ("\n", ".", "1", "a")


class Continuation(NamedTuple):
    """The tokens of one text."""

    ids: list[int]
    extents: list[tuple[int, int]] | None
    """[start, end) of each token in characters of the text, where they were asked for."""


class Border:
    """Tokenizes continuations for one tokenizer."""

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

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
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
