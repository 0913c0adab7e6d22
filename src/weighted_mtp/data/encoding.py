"""One row -> its tokens, labels and per-token columns, whole: what each entry belongs to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .schema import DataError, Row

IGNORED = -100
"""The label of a token that is read but not learned."""


@dataclass(frozen=True)
class RowEncoder:
    """Turns rows into token ids and columns; knows nothing of limits and counts."""

    tokenizer: Any
    """A Hugging Face tokenizer."""
    append_eos: bool
    """Whether a completion ends with EOS, which is learned."""
    columns: tuple[str, ...]
    """The per-token number columns that every row must carry."""
    use_spans: bool
    """Whether `span` becomes `token_error`, by the tokenizer's offsets."""

    def encode(self, rows: Sequence[Row]) -> list[dict[str, Any] | DataError]:
        """For each row its columns and `n_prompt`, or the reason why it cannot be used."""
        prompts = self._prompt_tokens([row["prompt"] for row in rows])
        completions = self.tokenizer(
            [row["completion"] for row in rows],
            add_special_tokens=False,
            return_offsets_mapping=self.use_spans,
            return_attention_mask=False,
        )
        extents = completions["offset_mapping"] if self.use_spans else [None] * len(rows)
        encoded: list[dict[str, Any] | DataError] = []
        for parts in zip(rows, prompts, completions["input_ids"], extents, strict=True):
            try:
                encoded.append(self._columns(*parts))
            except DataError as error:
                encoded.append(error)
        return encoded

    def _prompt_tokens(self, prompts: list[str | list[dict[str, Any]]]) -> list[list[int]]:
        """Token ids of prompts: with special tokens, except that a chat template writes its own."""
        ids: dict[int, list[int]] = {}
        for chat in (False, True):
            indices = [i for i, prompt in enumerate(prompts) if isinstance(prompt, list) == chat]
            texts = [prompt_text(prompts[i], self.tokenizer) for i in indices]
            found = self.tokenizer(texts, add_special_tokens=not chat)["input_ids"] if texts else []
            for i, text, tokens in zip(indices, texts, found, strict=True):
                ids[i] = tokens if chat else self._opened(text, tokens)
        return [ids[i] for i in range(len(prompts))]

    def _opened(self, text: str, tokens: list[int]) -> list[int]:
        """The prompt without the EOS that some tokenizers put at the end of every text."""
        eos = self.tokenizer.eos_token
        closed = eos and tokens[-1:] == [self.tokenizer.eos_token_id] and not text.rstrip().endswith(eos)
        return tokens[:-1] if closed else tokens

    def _columns(
        self, row: Row, prompt: list[int], completion: list[int], extents: list[tuple[int, int]] | None
    ) -> dict[str, Any]:
        if not prompt:
            raise DataError("the prompt has no token, so nothing could predict the completion's first")
        if not completion:
            raise DataError("the completion has no token")
        learned = completion + [self.tokenizer.eos_token_id] * self.append_eos
        columns: dict[str, Any] = {
            "input_ids": prompt + learned,
            "labels": [IGNORED] * len(prompt) + learned,
            "reward": float(row["label"]),
            "prompt_id": prompt_id(row["prompt"]),
            "n_prompt": len(prompt),
            "token_error": self._token_error(row, completion, extents),
        }
        for name in self.columns:
            if name not in row:
                raise DataError(f"no `{name}`, which other rows have: all rows or none must carry it")
            if len(row[name]) != len(learned):
                raise self._wrong_length(name, row, completion)
            columns[name] = row[name]
        return columns

    def _token_error(
        self, row: Row, completion: list[int], extents: list[tuple[int, int]] | None
    ) -> list[bool] | None:
        """Which labelled tokens are wrong; None where that is not known."""
        n_eos = int(self.append_eos)
        if "token_error" in row:
            missing = len(completion) + n_eos - len(row["token_error"])
            if missing not in (0, n_eos):
                raise self._wrong_length("token_error", row, completion)
            return row["token_error"] + [False] * missing
        if self.use_spans and row["label"]:
            return [False] * (len(completion) + n_eos)
        if extents is not None and "span" in row:
            end = len(row["completion"])
            return overlapping([*extents, *[(end, end + 1)] * n_eos], row["span"])
        return None

    def _wrong_length(self, name: str, row: Row, completion: list[int]) -> DataError:
        n = len(completion)
        counted = f"{n + 1} labelled tokens ({n} of the completion and EOS)"
        needed = counted if self.append_eos else f"{n} labelled tokens"
        return DataError(f"`{name}` has {len(row[name])} entries for {needed}")


def overlapping(extents: Sequence[tuple[int, int]], span: Sequence[int]) -> list[bool]:
    """Which tokens share a character with the span.

    Edge conventions: an empty span (something was deleted) marks the token at its start. Where the
    tokenizer's offsets leave out the white space that the span covers, the next token carries it, else the
    last.

    Examples:
        >>> overlapping([(0, 3), (3, 5), (5, 9)], [4, 6])
        [False, True, True]
        >>> overlapping([(0, 3), (3, 5), (5, 9)], [3, 3])
        [False, True, False]
        >>> overlapping([(0, 3), (4, 5)], [3, 4])
        [False, True]
    """
    start, end = span[0], max(span[1], span[0] + 1)
    hit = [first < end and last > start for first, last in extents]
    if not any(hit):
        hit[next((i for i, (first, _) in enumerate(extents) if first >= start), -1)] = True
    return hit


def prompt_text(prompt: str | list[dict[str, Any]], tokenizer: Any) -> str:
    """The text of a prompt: itself, or messages through the chat template, the assistant's turn opened.

    Raises:
        DataError: when the prompt is messages and the tokenizer has no chat template.
    """
    if isinstance(prompt, str):
        return prompt
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "rows with messages need a tokenizer with a chat template, and this one has none: set "
            "tokenizer.chat_template, or write the rows as prompt and completion"
        )
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)


def prompt_id(prompt: str | list[dict[str, Any]]) -> int:
    """A number in [0, 2**63) that depends on the prompt alone: the same in every file, on every machine.

    Examples:
        >>> prompt_id("7 +3 :") == prompt_id("7 +3 :"), prompt_id("7 +3 :") == prompt_id("7 +7 :")
        (True, False)
    """
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
