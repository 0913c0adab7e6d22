"""The text of token ids behind the ids that they continue: what a model wrote, and what each token adds to it.

Decoders look at what stands before a token: those of the SentencePiece kind take the space off the first token that
they are given, and several byte tokens are one character. So ids are decoded behind their prompt, whose own text is cut
off.
"""

from collections.abc import Sequence
from typing import Any

from .borders import Border

Ids = Sequence[int]

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What decoders give for bytes that are no character, or not yet."""
_CONTEXT = 8  # pieces in front of a token that settle what it adds; the decoders that we know look at one


class Detokenizer:
    """Turns the ids of one tokenizer back into text.

        text of ids behind a prompt = decode(prompt + ids) without decode(prompt)

    A tokenizer without a decoder joins its tokens by spaces that nobody wrote: its ids are decoded alone.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special = {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        """Tokens that are no text: ends, beginnings, padding, roles of a chat."""
        self._border = Border(tokenizer)

    def texts(self, prompts: Sequence[Ids], rows: Sequence[Ids]) -> list[str]:
        """The text of each row behind its prompt, special tokens left out.

        Args:
            prompts: ids that were read; padding among them does no harm.
            rows: ids that were written, one row a prompt.
        """
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
        """Where the row changes how the prompt's end decodes.

        Either the prompt ends within a character, which the row completes; or the row begins with bytes that are no
        character, and the decoder takes the prompt's own bytes before them for broken too.
        """
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
            ends.append(max(ends[-1], _shared(part, text)))
        return [text[a:b] for a, b in zip(ends, [*ends[1:], len(text)], strict=True)]


def _shared(a: str, b: str) -> int:
    """Characters with which both begin."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
