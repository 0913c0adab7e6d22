"""Text far beyond the tokens that are used, which takes minutes to tokenize: a line of 100 MB is read in seconds."""

from functools import cached_property
from typing import Any

from .chat import Written
from .forms import TURNS
from .schema import MADE_COLUMNS, TOKEN_COLUMNS, Row

_LONG = 200  # characters a token, more than texts have; and left over at a cut, which changes the tokens next to it
_PLACED = (*MADE_COLUMNS, *TOKEN_COLUMNS, "token_error", "span")


class FarText:
    """Leaves out text that `max_length` tokens of this tokenizer do not reach. A row cut so is still too long; one that
    is not (`is_beyond`) is tokenized whole: a tokenizer may drop characters, or make one unknown token of many."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length

    def cut(self, row: Row, written: Written) -> Written:
        """The row's text, as it is where it is not very long, or has lists that belong to all of its tokens."""
        if sum(map(len, written.texts)) <= _LONG * self.max_length or any(name in row for name in _PLACED):
            return written
        room, texts = self._reach, list[str]()
        for text in written.texts:
            texts.append(text[: max(room, _LONG)])
            room -= len(text)
            if room < 0 and len(texts) > 1:
                break
        return written._replace(texts=tuple(texts), factors=written.factors[: len(texts) // 2])

    def shortened(self, row: Row) -> Row:
        """The row; of a completion far too long what is within reach, marked `truncated`: for lists over all tokens."""
        text = row["completion"]
        if len(text) <= self._reach or TURNS in row or any(name in row for name in _PLACED):
            return row
        return {**row, "completion": text[: self._reach], "truncated": True}

    def is_beyond(self, tokens: Any) -> bool:
        """Whether what was cut has more tokens than the limit all the same; of a refused text that is not known."""
        return isinstance(tokens, tuple) and len(tokens[0]) + sum(len(part.ids) for part in tokens[1]) > self.max_length

    @cached_property
    def _reach(self) -> int:
        longest = max(map(len, self.tokenizer.get_vocab()), default=1)
        return self.max_length * max(longest, _LONG) + _LONG
