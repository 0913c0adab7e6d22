"""Scored rows in the files that other trainers read: tokens, Tinker's data, and weighted messages.

| format | a row holds | resolution |
|---|---|---|
| `tokens` | `input_ids`, `labels`, `weights` of full length: for `TokenWeights` | every token |
| `tinker` | a Datum: `model_input`, and `loss_fn_inputs` whose position i predicts token i + 1 | every token |
| `llamafactory` | `messages`, each with a float `loss_weight` | turns: there every message is a turn of its own |
| `ms-swift` | `messages`, an answer in consecutive pieces with a float `loss_scale` | runs of text |
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from datasets import Dataset

from weighted_mtp.data import IGNORED, Row, load_rows, tokenize_rows
from weighted_mtp.data.borders import Detokenizer
from weighted_mtp.data.encoding import Turn
from weighted_mtp.data.fields import WEIGHTS, plain_content, with_arguments_parsed
from weighted_mtp.files import replacing
from weighted_mtp.models import load_tokenizer

Encoded = Iterable[Mapping[str, Any]]
"""Rows of `tokenize_rows`."""
DIGITS = 2
"""To which the weights of messages are rounded: what rounds alike is one piece."""


@dataclass
class Lost:
    """What a format of messages cannot say."""

    pieces: int = 0
    unsplit: int = 0
    texts: int = 0
    whole: bool = False

    def told(self, tokens: int) -> list[str]:
        """A sentence for each, of so many learned tokens."""
        what = "mean weights, one a turn, since each message is a turn there" if self.whole else "pieces, weights"
        lines = [f"{tokens} learned tokens became {self.pieces} {what} rounded to {DIGITS} digits"]
        if self.unsplit and not self.whole:
            lines.append(
                f"{self.unsplit} turns that are more than their text (calls of tools, say) have their mean weight"
            )
        if self.texts:
            lines.append(
                f"{self.texts} rows of plain text are a user's and an assistant's message, for a chat template"
            )
        return [*lines, "ends of turns, and what a template writes around the content, have the weight of its choice"]


def write_format(
    name: str, folder: str | Path, tokenizer: Any, max_length: int | None = None, turns: Turn = "all"
) -> str:
    """Writes rows that `wmtp score` left in a folder in another format, into `folder/<format>/`; says what it did.

    All shards are finished; `loss_weights` of messages are in the weights that are written; `tokenizer` is the
    critic's, or where it is. Returns a line on each thing that a reader of the file should know.
    """
    rows, _ = load_rows(folder, labelled=None)
    tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
    encoded, _ = tokenize_rows(rows, tokenizer, max_length=max_length, turns=turns)
    out = Path(folder) / name
    out.mkdir(exist_ok=True)
    lost, each = Lost(), cast(Any, encoded)
    made = FORMATS[name](rows, each, Detokenizer(tokenizer), lost)
    file = out / ("train.parquet" if name == "tokens" else "train.jsonl")
    with replacing(file) as temporary:
        if name == "tokens":
            Dataset.from_list(list(made)).to_parquet(temporary)
        else:
            temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    tokens = sum(map(len, encoded["weights"]))
    return "\n".join([f"{file}: {len(encoded)} rows", *(lost.told(tokens) if lost.pieces else [])])


def full_weights(row: Mapping[str, Any]) -> list[float]:
    """The weight of every token of an encoded row, 0 where nothing is learned.

    Examples:
        >>> full_weights({"labels": [-100, 7, -100, 8], "weights": [0.5, 2.0], "loss_weights": [1.0, 3.0]})
        [0.0, 0.5, 0.0, 6.0]
    """
    factors = row.get("loss_weights") or [1.0] * len(row["weights"])
    learned = iter([weight * factor for weight, factor in zip(row["weights"], factors, strict=True)])
    return [0.0 if label == IGNORED else next(learned) for label in row["labels"]]


def _tokens(rows: Sequence[Row], encoded: Encoded, detokenizer: Detokenizer, lost: Lost) -> Iterator[dict[str, Any]]:
    for row in encoded:
        yield {"input_ids": row["input_ids"], "labels": row["labels"], "weights": full_weights(row)}


def _tinker(rows: Sequence[Row], encoded: Encoded, detokenizer: Detokenizer, lost: Lost) -> Iterator[dict[str, Any]]:
    for row in encoded:
        ids, weights = row["input_ids"], full_weights(row)
        inputs = {"target_tokens": (ids[1:], "int64"), "weights": (weights[1:], "float32")}
        yield {
            "model_input": {"chunks": [{"type": "encoded_text", "tokens": ids[:-1]}]},
            "loss_fn_inputs": {
                name: {"data": data, "dtype": dtype, "shape": [len(data)]} for name, (data, dtype) in inputs.items()
            },
        }


def _llamafactory(
    rows: Sequence[Row], encoded: Encoded, detokenizer: Detokenizer, lost: Lost
) -> Iterator[dict[str, Any]]:
    lost.whole = True
    for messages, extra in _in_pieces("loss_weight", rows, encoded, detokenizer, lost):
        yield {"messages": list(map(_in_parts, messages))} | {name: json.dumps(x) for name, x in extra.items()}


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message with content, thinking and calls of tools as parts of its content."""
    kept = {name: value for name, value in message.items() if name not in ("reasoning_content", "tool_calls")}
    (parsed,) = with_arguments_parsed([message])
    calls = [call.get("function", call) for call in parsed.get("tool_calls") or ()]
    values = [
        ("reasoning", message.get("reasoning_content")),
        ("text", plain_content(message)),
        *(("tool_call", json.dumps({name: call.get(name) for name in ("name", "arguments")})) for call in calls),
    ]
    parts = [{"type": kind, "value": value} for kind, value in values if value]
    return kept | {"content": parts or [{"type": "text", "value": ""}]}


def _ms_swift(rows: Sequence[Row], encoded: Encoded, detokenizer: Detokenizer, lost: Lost) -> Iterator[dict[str, Any]]:
    for messages, extra in _in_pieces("loss_scale", rows, encoded, detokenizer, lost):
        yield {"messages": messages, **extra}


FORMATS: dict[str, Callable[[Sequence[Row], Encoded, Detokenizer, Lost], Iterator[dict[str, Any]]]] = {
    "tokens": _tokens,
    "tinker": _tinker,
    "llamafactory": _llamafactory,
    "ms-swift": _ms_swift,
}


def _in_pieces(
    field: str, rows: Sequence[Row], encoded: Encoded, detokenizer: Detokenizer, lost: Lost
) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Messages of each row, those that are learned in pieces of one weight, and the tools that it tells of."""
    for row in encoded:
        raw = rows[row["row_id"]]
        prompt, answers = raw["prompt"], raw.get("completion_messages")
        if isinstance(prompt, str):
            lost.texts += 1
            prompt = [{"role": "user", "content": prompt}]
        messages: list[dict[str, Any]] = [_bare(message) | {field: 0.0} for message in prompt]
        runs = deque(_runs(row, detokenizer))
        for message in answers or [{"role": "assistant", "content": raw["completion"]}]:
            content = plain_content(message).strip()
            learned = message["role"] == "assistant" and runs and content in runs[0][0]
            message = _bare(message)
            messages += _pieces(field, message, content, *runs.popleft(), lost) if learned else [message | {field: 0.0}]
        yield messages, {"tools": raw["tools"]} if raw.get("tools") else {}


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what says its weight."""
    return {name: value for name, value in message.items() if name not in (*WEIGHTS, "loss_scale")}


def _runs(row: Mapping[str, Any], detokenizer: Detokenizer) -> Iterator[tuple[str, list[float], float]]:
    """Each stretch of learned tokens: its text, the weight of every character, and the mean of its tokens."""
    ids, weights, start = row["input_ids"], full_weights(row), 0
    for learned, labels in groupby(row["labels"], lambda label: label != IGNORED):
        end = start + len(list(labels))
        if learned:
            pieces = detokenizer.pieces(ids[:start], ids[start:end])
            spread = [w for piece, w in zip(pieces, weights[start:end], strict=True) for _ in piece]
            yield "".join(pieces), spread, sum(weights[start:end]) / (end - start)
        start = end


def _pieces(
    field: str, message: dict[str, Any], content: str, text: str, weights: list[float], mean: float, lost: Lost
) -> list[dict[str, Any]]:
    """A message as several of its role, one for each run of characters whose weights round alike."""
    start = text.find(content)
    own = [round(weight, DIGITS) for weight in weights[start : start + len(content)]]
    if lost.whole or not content or message.keys() - {"role", "content"}:
        lost.unsplit, lost.pieces = lost.unsplit + 1, lost.pieces + 1
        return [message | {field: round(mean, DIGITS)}]
    found, at = [], 0
    for weight, run in groupby(own):
        end = at + len(list(run))
        found.append({"role": "assistant", "content": content[at:end], field: weight})
        at = end
    lost.pieces += len(found)
    return found
