"""Rows -> the data set that is trained on, and a report of what was cut, dropped or left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from datasets import Dataset, Features, List, Value, concatenate_datasets
from rich.progress import track

from weighted_mtp import IGNORED

from .encoding import RowEncoder, Turn
from .far_text import FarText
from .fields import factor_of, plain_content
from .forms import TURNS
from .schema import MADE_COLUMNS, TOKEN_COLUMNS, BadRows, DataError, OnBadRow, Row, is_right

_CHUNK = 2_000  # rows tokenized at a time: bounds the Python lists that wait to become Arrow
_PROGRESS_FROM = 20_000  # rows; fewer are done before a bar could be read


@dataclass
class TokenizeReport:
    """What became of the rows. Nothing is cut or dropped in silence."""

    rows: int
    """Rows that came in."""
    bad: BadRows
    """Rows left out because a per-token list did not fit its tokens, or there was no token."""
    max_length: int | None = None
    """The limit, in tokens, that `truncated` and `dropped` refer to."""
    kept: int = 0
    """Rows of the data set."""
    truncated: int = 0
    """Rows whose completion lost its end, and with it EOS."""
    dropped: int = 0
    """Rows too long to keep."""
    prompt_tokens: int = 0
    """Tokens that are only read."""
    labelled_tokens: int = 0
    """Tokens that are learned: completions and their EOS."""
    right: int = 0
    """Rows kept whose label is right."""
    prompts: int = 0
    """Different prompts among the rows kept."""
    spans_unused: int = 0
    """Wrong rows whose span gave no `token_error` because the tokenizer knows no offsets."""
    notes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """What else a user should know: for each reason how many rows, and the first of them."""

    @property
    def is_whole(self) -> bool:
        """Whether every row is as it came, and nothing is to be told of any."""
        return self.kept == self.rows and not self.truncated and not self.notes

    def note(self, row_id: int, reasons: Sequence[str]) -> None:
        """Counts what there is to tell of a row."""
        for reason in reasons:
            count, first = self.notes.get(reason, (0, row_id))
            self.notes[reason] = (count + 1, first)

    def summary(self) -> str:
        """One line, with a clause for each thing that was lost; below it what else is to be told, and the bad rows."""
        line = (
            f"{self.kept} of {self.rows} rows ({self.right} right, {self.kept - self.right} wrong) of "
            f"{self.prompts} prompts, {self.labelled_tokens} labelled tokens"
        )
        for count, what in (
            (self.truncated, f"completions cut at {self.max_length} tokens"),
            (self.dropped, f"rows dropped, longer than {self.max_length} tokens"),
            (self.spans_unused, "spans unused, since this tokenizer knows no offsets"),
        ):
            line += f"; {count} {what}" if count else ""
        return "\n".join(filter(None, [line, *self.told(), self.bad.summary()]))

    def told(self) -> list[str]:
        """A line for each thing that is to be told of some rows."""
        return [f"{count} rows, row {first} first: {reason}" for reason, (count, first) in self.notes.items()]


def tokenize_rows(
    rows: Sequence[Row],
    tokenizer: Any,
    *,
    max_length: int | None = None,
    append_eos: bool = True,
    on_long: Literal["truncate", "drop"] = "truncate",
    on_bad_row: OnBadRow = "error",
    turns: Turn = "all",
    policy: bool = False,
) -> tuple[Dataset, TokenizeReport]:
    """The data set that collators and samplers read, and a report.

    Prompt and completion are tokenized apart and joined, so no token spans the border: the prompt with the
    special tokens the tokenizer gives a text (BOS), or through its chat template with the assistant's turn
    opened; the completion as what it is behind the prompt (SentencePiece puts no space before it), then EOS, or of
    a chat what the template writes up to the end of the turn. Of several turns each is learned so, and what stands
    between them is read. Tokens that are read have the label -100.

    Prompt tokens and learned tokens decode to the text that prompt + completion, or the chat template, gives as a
    whole. This is checked on every row, and the report counts the rows where it fails.

    | column | holds |
    |---|---|
    | `input_ids`, `labels` | tokens; labels are those of each learned turn with its end, -100 elsewhere |
    | `reward` | the row's, else 1.0 right, 0.0 wrong |
    | `pass_rate` | the row's, else the mean reward of the rows kept of its prompt |
    | `prompt_id` | depends on what stands before the first learned turn: the same in every file, on every machine |
    | `row_id` | the row's index in `rows` |
    | `weights`, `values`, `td_errors`, `credit` | where rows have them: one entry for each labelled token |
    | `rewards`, `steps` | where a row has steps, likewise: what a token is paid, the reward of its own step |
    | `loss_weights` | where a message has another than 1, likewise: the factor of the message |
    | `logprobs` | of a `policy`, likewise |
    | `token_error` | where a row has it or a span: likewise; null where it is not known |

    Entry j of a per-token list belongs to the position that *predicts* labelled token j: `values[j]` is V of
    the prefix before it. `token_error` may leave out EOS, which then counts as no error. A `span` becomes
    `token_error` by the tokenizer's offsets: the tokens that overlap it when the row is wrong (an empty span
    marks the token at its start, EOS at the end), none when the row is right.

    A row longer than `max_length` loses the end of its completion, EOS included, and its per-token lists are
    cut alike; what its steps are paid later they are paid at the last token left. Its reward stays the outcome of
    the *whole* completion: right as the target of every prefix, but the TD error of its last token then also holds
    the credit of all that was cut; `on_long="drop"` avoids that. Where nothing that is learned fits the row is
    dropped: cut from the left, a prompt would lose BOS and perhaps the task.

    Args:
        rows: rows as `parse_row` gives them.
        tokenizer: a Hugging Face tokenizer; a fast one if spans are to be used, or rows have steps.
        max_length: tokens of prompt, completion and EOS together, at least 2; None keeps everything.
        append_eos: end each whole completion with EOS, and learn it; none that is `truncated`.
        on_long: "truncate" or "drop" what is longer than `max_length`.
        on_bad_row: "error" stops at a row whose lists do not fit its tokens; "skip" counts and lists it.
        turns: "all" or "last": which of the assistant's turns are learned.
        policy: read `logprobs`, each token's under the policy that wrote it; a row that reads back as another number of
            tokens is bad.

    Raises:
        DataError: a bad row; no row left; chats without a chat template.
        ValueError: the tokenizer has no EOS; a bad option.

    Examples:
        >>> from weighted_mtp.data import chain_tokenizer
        >>> rows = [{"prompt": "7 +3 *7 :", "completion": "0 0", "label": True, "weights": [1.0, 2.0, 0.5]}]
        >>> data, report = tokenize_rows(rows, chain_tokenizer())
        >>> data[0]["input_ids"], data[0]["labels"]
        ([7, 11, 20, 22, 0, 0, 23], [-100, -100, -100, -100, 0, 0, 23])
        >>> print(report.summary())
        1 of 1 rows (1 right, 0 wrong) of 1 prompts, 3 labelled tokens
    """
    if max_length is not None and max_length < 2:
        raise ValueError(f"max_length is {max_length}: at least 2 are needed, one to read, one to learn")
    if turns not in ("all", "last"):
        raise ValueError(f"turns is {turns!r}: 'all' or 'last' is needed")
    if on_long not in ("truncate", "drop"):
        raise ValueError(f"on_long is {on_long!r}: 'truncate' or 'drop' is needed")
    if append_eos and tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token: set tokenizer.eos_token, or append_eos=False")
    spans = any("span" in row for row in rows)
    columns = tuple(name for name in TOKEN_COLUMNS if any(name in row for row in rows))
    known_errors = spans or any("token_error" in row for row in rows)
    steps, is_fast = any("steps" in row for row in rows), getattr(tokenizer, "is_fast", False)
    if steps and not is_fast:
        raise DataError("rows have `steps`, and this tokenizer knows no offsets: give a fast one, or drop the steps")
    factors = any(factor_of(message) != 1 for row in rows for message in row.get(TURNS, ()))
    made = ["rewards", "steps"] * steps + ["loss_weights"] * factors + ["logprobs"] * policy
    made += ["token_error"] * known_errors
    features = _features((*columns, *made))
    far = FarText(tokenizer, max_length) if max_length else None
    encoder = RowEncoder(tokenizer, append_eos, columns, spans and is_fast, turns, steps, policy, far)
    report = TokenizeReport(len(rows), BadRows(on_bad_row), max_length)
    parts: list[Dataset] = []
    kept_rows: list[tuple[int, float, float | None]] = []
    starts = range(0, len(rows), _CHUNK)
    quiet = len(rows) < _PROGRESS_FROM
    for start in track(starts, description="Tokenizing", transient=True, disable=quiet):
        chunk = rows[start : start + _CHUNK]
        kept: list[dict[str, Any]] = []
        for row_id, (row, item) in enumerate(zip(chunk, encoder.encode(chunk), strict=True), start):
            if isinstance(item, DataError):
                report.bad.add(f"row {row_id} (prompt {_shown(row)})", str(item))
            elif (fitted := _fit(item, max_length, on_long, report)) is not None:
                report.note(row_id, item["notes"])
                report.spans_unused += "span" in row and not row["label"] and not encoder.use_spans
                kept_rows.append((fitted["prompt_id"], fitted["reward"], row.get("pass_rate")))
                kept.append({**fitted, "row_id": row_id})
        parts.append(Dataset.from_dict({name: [row[name] for row in kept] for name in features}, features))
    report.prompts = len({prompt for prompt, _, _ in kept_rows})
    if not report.kept:
        raise DataError(f"no row left to train on: {report.summary()}")
    rates: Any = _pass_rates(kept_rows)
    return concatenate_datasets(parts).add_column("pass_rate", rates, feature=Value("float32")), report


def _pass_rates(rows: Sequence[tuple[int, float, float | None]]) -> list[float]:
    """A row's own pass rate, else the mean reward of the rows of its prompt; rows are (prompt, reward, own)."""
    rewards: dict[int, list[float]] = {}
    for prompt, reward, _ in rows:
        rewards.setdefault(prompt, []).append(reward)
    means = {prompt: sum(some) / len(some) for prompt, some in rewards.items()}
    return [means[prompt] if own is None else own for prompt, _, own in rows]


def _fit(item: dict[str, Any], max_length: int | None, on_long: str, report: TokenizeReport) -> dict[str, Any] | None:
    """The row within the limit, or None when it is dropped; counted in the report."""
    labels, limit = item["labels"], max_length
    n_learned = sum(label != IGNORED for label in labels)
    n_kept = sum(label != IGNORED for label in labels[:limit])
    if n_kept < n_learned:
        if on_long == "drop" or not n_kept:
            report.dropped += 1
            return None
        report.truncated += 1
        names = (*TOKEN_COLUMNS, *MADE_COLUMNS, "token_error")
        behind = {name: item[name][:n_kept] for name in names if item.get(name) is not None}
        if "rewards" in behind:  # as of a row without steps, what is paid later is paid at the last token that is left
            behind["rewards"][-1] += sum(item["rewards"][n_kept:])
        item = item | behind
    item = item | {name: item[name][:limit] for name in ("input_ids", "labels")}
    report.kept += 1
    report.right += is_right(item["reward"])
    report.prompt_tokens += len(item["input_ids"]) - n_kept
    report.labelled_tokens += n_kept
    return item


def _features(optional: Sequence[str]) -> Features:
    tokens, numbers, flags = List(Value("int32")), List(Value("float32")), List(Value("bool"))
    numbered = {"reward": Value("float32"), "prompt_id": Value("int64"), "row_id": Value("int64")}
    per_token = {name: flags if name == "token_error" else numbers for name in optional}
    return Features({"input_ids": tokens, "labels": tokens, **numbered, **per_token})


def _shown(row: Row) -> str:
    text = row["prompt"] if isinstance(row["prompt"], str) else plain_content(row["prompt"][-1])
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
