"""One row -> its tokens, labels and per-token columns, whole: what each entry belongs to."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from weighted_mtp import IGNORED
from weighted_mtp.files import number_of

from .borders import Border, Continuation
from .chat import Written, end_tokens, not_shown, opened_chat, turn_end, without_end, written_chat
from .far_text import FarText
from .fields import DataError, numbers_of, without_ids
from .last_turn import LastTurn
from .schema import Row

T = TypeVar("T")
Tokens = tuple[list[int], list[Continuation], list[str]]
Turn = Literal["all", "last"]
logger = logging.getLogger(__name__)

CHANGED = "the learned tokens decode to other text than the completion: this tokenizer changes text or lacks characters"
PROMPT_SPACED = "the prompt's tokens decode to other white space: this tokenizer changes it"
PROMPT_CHANGED = "the prompt's tokens decode to other text: this tokenizer changes text or lacks characters"
_NO_PROMPT_TOKEN = "the prompt has no token, so nothing could predict the completion's first"


@contextmanager
def _refusing() -> Iterator[None]:
    """What a tokenizer raises at text that it cannot read, as `DataError`; it has no class of its own."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise DataError(f"the tokenizer cannot read this text: {error}") from None


def _or_reason(function: Callable[..., T], *args: Any) -> T | DataError:
    try:
        return function(*args)
    except DataError as error:
        return error


@dataclass
class RowEncoder:
    """Turns rows into token ids and columns. The invariant: prompt tokens and learned tokens decode to the text that
    the chat template, or prompt + completion, gives as a whole; a row where it fails says so in its `notes`."""

    tokenizer: Any
    append_eos: bool
    """Whether a completion ends with EOS or the end of its turn, which is learned; one that is `truncated` does not."""
    columns: tuple[str, ...]
    """The per-token number columns that every row must carry."""
    use_spans: bool
    """Whether `span` becomes `token_error`, by the tokenizer's offsets."""
    turns: Turn = "all"
    """Which turns of the assistant are learned."""
    pays_steps: bool = False
    """Whether rows have `steps`: then `rewards` says what each learned token is paid."""
    policy: bool = False
    """Whether `logprobs` of the model that wrote the completions are read."""
    far: FarText | None = None
    """What leaves out text beyond a limit of tokens; None: nothing does."""

    @cached_property
    def border(self) -> Border:
        """Where prompts end and completions begin."""
        return Border(self.tokenizer)

    def encode(self, rows: Sequence[Row]) -> list[dict[str, Any] | DataError]:
        """For each row its columns, `n_prompt` and `notes`, or the reason why it cannot be used."""
        results: list[Any] = [_or_reason(self._written, row) for row in rows]
        usable = [i for i, text in enumerate(results) if isinstance(text, Written)]
        near = [self.far.cut(rows[i], results[i]) if self.far else results[i] for i in usable]
        for i, written, tokens in zip(usable, near, self._tokens_or_reasons(near), strict=True):
            if self.far and written is not results[i] and not self.far.is_beyond(tokens):
                written, (tokens,) = results[i], self._tokens_or_reasons([results[i]])
            if isinstance(tokens, DataError):
                results[i] = tokens
            else:
                results[i] = _or_reason(self._columns, rows[i], written, *tokens)
        return results

    def prompts(
        self, prompts: Sequence[str | list[dict[str, Any]]], tools: Sequence[Any] | None = None
    ) -> list[list[int]]:
        """Token ids of prompts as a model is asked with them: texts with special tokens, chats with the turn opened."""
        asked = list(zip(prompts, tools or [None] * len(prompts), strict=True))
        chats = [(prompt, its_tools) for prompt, its_tools in asked if isinstance(prompt, list)]
        parts = Counter(part for chat in chats for part in not_shown(self.tokenizer, *chat))
        for part, count in parts.items():
            logger.warning("the chat template leaves out %s (%d of %d chats)", part, count, len(chats))
        texts = [prompt_text(prompt, self.tokenizer, its_tools) for prompt, its_tools in asked]
        is_chat = [isinstance(prompt, list) for prompt in prompts]
        with _refusing():
            found = [ids for ids, _ in self._prompt_tokens(texts, is_chat)]
        if not all(found):
            raise DataError(_NO_PROMPT_TOKEN)
        return found

    @cached_property
    def _stops(self) -> dict[int, str]:
        """Tokens that end a text, for whoever generates."""
        return {i: self.tokenizer.convert_ids_to_tokens(i) for i in end_tokens(self.tokenizer)}

    @cached_property
    def _turn_end(self) -> str:
        return turn_end(self.tokenizer)

    def _ends(self, row: Row) -> bool:
        return self.append_eos and not row.get("truncated")

    def _written(self, row: Row) -> Written:
        """The row's text in parts, without an end that stands there already."""
        if isinstance(row["prompt"], list):
            chat = written_chat(self.tokenizer, row, self._turn_end, self.turns)
            if self._ends(row) or not chat.ends_itself or len(chat.texts) % 2:
                return chat
            return chat._replace(texts=(*chat.texts[:-1], chat.texts[-1].removesuffix(self._turn_end)))
        eos = self.tokenizer.eos_token or ""
        completion, ended = without_end(row["completion"], eos) if self._ends(row) else (row["completion"], False)
        note = f"the completion's text ends with {eos!r} already: it is learned once"
        return Written((row["prompt"], completion), row["prompt"], notes=(note,) if ended else ())

    def _tokens_or_reasons(self, written: Sequence[Written]) -> Sequence[Tokens | DataError]:
        """`_tokens`, or why the tokenizer refuses a row: all at once, and one by one where it refuses one of them."""
        found = _or_reason(self._tokens, written)
        if not isinstance(found, DataError):
            return found
        return [found] if len(written) == 1 else [self._tokens_or_reasons([row])[0] for row in written]

    @_refusing()
    def _tokens(self, written: Sequence[Written]) -> list[Tokens]:
        """Prompt tokens, learned tokens and notes of each row, the invariant checked."""
        if not written:
            return []
        prompts = self._prompt_tokens([w.texts[0] for w in written], [w.is_chat for w in written])
        behind = iter(self.border.tokens([text for w in written for text in w.texts[1:]], self._need_places))
        found = [[next(behind) for _ in w.texts[1:]] for w in written]
        heads = self.border.decode([ids for ids, _ in prompts])
        texts = self.border.decode(
            [ids + [t for c in parts if c for t in c.ids] for (ids, _), parts in zip(prompts, found, strict=True)]
        )
        rows: list[Tokens] = []
        for w, (ids, notes), parts, head, text in zip(written, prompts, found, heads, texts, strict=True):
            told = [*w.notes, *notes]
            whole = [part for part in parts if part is not None]
            if len(whole) < len(parts) or not self.border.says(text, head, "".join(w.texts[1:])):
                whole, holds = self._others(ids, w.texts[1:])
                told += [] if holds else [CHANGED]
            if "".join(w.texts[0].split()) not in "".join(head.split()):
                told.append(PROMPT_CHANGED)
            elif (
                not w.is_chat and w.texts[0].strip() not in head
            ):  # special tokens of a chat may be decoded with spaces
                told.append(PROMPT_SPACED)
            rows.append((ids, whole, told))
        return rows

    def _others(self, prompt: list[int], texts: Sequence[str]) -> tuple[list[Continuation], bool]:
        """The tokens of each text behind whichever anchor suits it, and whether all say what was written."""
        ids, parts, hold = list(prompt), [], True
        for k, text in enumerate(texts):
            found, holds = self._another(ids, self.border.decode([ids])[0], text, is_read=k % 2 == 1)
            parts, hold, ids = [*parts, found], hold and holds, ids + found.ids
        return parts, hold

    def _another(self, prompt: list[int], head: str, text: str, is_read: bool) -> tuple[Continuation, bool]:
        """The tokens behind the first anchor that suits, and whether they say what was written; else without any.
        Special tokens of what is only read may be decoded with spaces."""
        for anchor in self.border.anchors:
            (found,) = self.border.tokens([text], self._need_places, anchor)
            said = self.border.decode([prompt + found.ids])[0] if found else ""
            spaced = is_read and "".join(said.split()) == "".join((head + text).split())
            if found and (spaced or self.border.says(said, head, text)):
                return found, True
        (plain,) = self.border.tokens([text], self._need_places, "")
        assert plain is not None, "an empty anchor always holds"
        return plain, False

    @property
    def _need_places(self) -> bool:
        return self.use_spans or self.pays_steps

    def _prompt_tokens(self, texts: Sequence[str], chats: Sequence[bool]) -> list[tuple[list[int], list[str]]]:
        """Token ids of prompts and notes: with special tokens, except that a chat template writes its own."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token
        ids: dict[int, tuple[list[int], list[str]]] = {}
        for chat in set(chats):
            indices = [i for i, is_chat in enumerate(chats) if is_chat == chat]
            found = self.tokenizer([texts[i] for i in indices], add_special_tokens=not chat)["input_ids"]
            for i, tokens in zip(indices, found, strict=True):
                # some tokenizers put an EOS at the end of every text
                ended = not chat and eos and tokens[-1:] == [self.tokenizer.eos_token_id]
                tokens = tokens[:-1] if ended and not texts[i].rstrip().endswith(eos) else tokens
                begun_twice = bos is not None and tokens[:2] == [bos, bos]
                note = f"the prompt's text begins with {self.tokenizer.bos_token!r} already: it is read once"
                ids[i] = (tokens[1:], [note]) if begun_twice else (tokens, [])
        return [ids[i] for i in range(len(texts))]

    def _columns(
        self, row: Row, written: Written, prompt: list[int], parts: list[Continuation], notes: list[str]
    ) -> dict[str, Any]:
        if not prompt:
            raise DataError(_NO_PROMPT_TOKEN)
        learned = [part.ids for part in parts[::2]]
        if not any(learned):
            raise DataError("the completion has no token")
        if self._ends(row) and not written.ends_itself:
            learned[-1] = learned[-1] + [self.tokenizer.eos_token_id]
        said = {token for part in parts[::2] for token in part.ids}
        notes = notes + [
            f"{stop!r} stands in the middle of what is learned, as a special token"
            for token, stop in self._stops.items()
            if any(token in part.ids[:-1] for part in parts[::2])
        ]
        if self.tokenizer.bos_token_id in said - self._stops.keys():
            notes.append(f"{self.tokenizer.bos_token!r} stands in what is learned, as a special token")
        ids, labels = list(prompt), [IGNORED] * len(prompt)
        for k, part in enumerate(parts):
            tokens = part.ids if k % 2 else learned[k // 2]
            ids += tokens
            labels += [IGNORED] * len(tokens) if k % 2 else tokens
        n_learned = sum(map(len, learned))
        columns: dict[str, Any] = {
            "input_ids": ids,
            "labels": labels,
            "reward": row.get("reward", float(row.get("label", "nan"))),
            "prompt_id": prompt_id(written.asked, row.get("tools")),
            "notes": notes,
            "loss_weights": [f for f, tokens in zip(written.factors, learned, strict=True) for _ in tokens],
        }
        last = LastTurn(row, written, parts[::2][-1], n_learned, len(learned[-1]))
        if "token_error" in row:
            missing = n_learned - len(row["token_error"])
            if missing not in (0, last.n_end):
                raise self._wrong_length("token_error", row, n_learned)
            columns["token_error"] = row["token_error"] + [False] * missing
        else:
            columns["token_error"] = last.token_error() if self.use_spans else None
        if self.pays_steps:
            columns["rewards"], columns["steps"] = last.rewards(columns["reward"])
        if self.policy:
            columns["logprobs"] = numbers_of("logprobs", row.get("logprobs"))
            if (written_as := len(columns["logprobs"])) != n_learned:
                raise DataError(
                    f"`logprobs` are of {written_as} tokens and the completion has {n_learned} here: it was written by "
                    "another tokenizer, or reads back as other tokens (on_bad_row skip leaves such rows out, counted)"
                )
        for name in self.columns:
            if name not in row:
                raise DataError(f"no `{name}`, which other rows have: all rows or none must carry it")
            if len(row[name]) != n_learned:
                raise self._wrong_length(name, row, n_learned)
            columns[name] = row[name]
        return columns

    def _wrong_length(self, name: str, row: Row, n_learned: int) -> DataError:
        of_text = f" ({n_learned - 1} of the completion and EOS)"
        of_chat = f" (the assistant's turns with their ends, by turns: {self.turns}; give the `turns` of the scoring)"
        counted = (of_text if isinstance(row["prompt"], str) else of_chat) if self._ends(row) else ""
        return DataError(f"`{name}` has {len(row[name])} entries for {n_learned} labelled tokens{counted}")


def prompt_text(prompt: str | list[dict[str, Any]], tokenizer: Any, tools: Any = None) -> str:
    """The text of a prompt: itself, or messages through the chat template, the assistant's turn opened; or
    DataError."""
    return prompt if isinstance(prompt, str) else opened_chat(tokenizer, prompt, tools)


def prompt_id(prompt: str | list[dict[str, Any]], tools: Any = None) -> int:
    """A number in [0, 2**63) that depends on the prompt and its tools alone, without ids of messages and calls, which
    logs draw anew: the same in every file, on every machine.

    Examples:
        >>> prompt_id("7 +3 :") == prompt_id("7 +3 :"), prompt_id("7 +3 :") == prompt_id("7 +7 :")
        (True, False)
    """
    text = prompt if isinstance(prompt, str) else json.dumps([without_ids(m) for m in prompt], sort_keys=True)
    if tools:
        text += json.dumps(tools, sort_keys=True)
    return number_of(text, 8)
