"""One row: a prompt, a completion and whether a program found it right; and the shapes it may come in."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from .fields import DataError, bool_of, bools_of, number_of, numbers_of, plain_value, short, span_of, steps_of
from .forms import TURNS, texts_of, without

Row = dict[str, Any]
"""After `parse_row`: `prompt` (text or chat messages), `completion`, `label`, optional columns, extras."""

TOKEN_COLUMNS = ("weights", "values", "td_errors", "credit")
"""Pre-scored columns: one number for each labelled token (the completion's tokens, then EOS)."""
MADE_COLUMNS = ("rewards", "steps", "loss_weights", "logprobs")
"""Columns of the same kind that tokenization makes: what each token is paid, the reward of the step that it belongs to,
the factor of the message that it is in, its log-probability under the policy that wrote it."""

OnBadRow = Literal["error", "skip"]


def is_right(reward: Any) -> Any:
    """Whether a reward, or each one of an array or a tensor, counts as right where only right and wrong are told apart.

    Examples:
        >>> is_right(1.0), is_right(0.5)
        (True, False)
    """
    return reward > 0.5


@dataclass
class BadRows:
    """The rows that cannot be used: the first one is an error, or all are counted and the first are listed.

    Examples:
        >>> bad = BadRows("skip")
        >>> bad.add("your.jsonl:3", "no `completion`")
        >>> bad.count, bad.listed
        (1, ['your.jsonl:3: no `completion`'])
    """

    policy: OnBadRow = "error"
    """"error" raises at the first bad row; "skip" goes on without it."""
    shown: int = 20
    """How many are listed with their reason; the others are only counted."""
    count: int = 0
    listed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.policy not in ("error", "skip"):
            raise ValueError(f"on_bad_row is {self.policy!r}: 'error' or 'skip' is needed")

    def add(self, where: str, reason: str) -> None:
        """Takes one in, or raises `DataError` (`where: reason`)."""
        if self.policy == "error":
            raise DataError(f"{where}: {reason}") from None  # where this is called, the reason was raised
        self.count += 1
        if len(self.listed) < self.shown:
            self.listed.append(f"{where}: {reason}")

    def summary(self) -> str:
        """The count, then one line for each row that is listed; empty when there is none."""
        if not self.count:
            return ""
        more = [f"  and {self.count - len(self.listed)} more"] if self.count > len(self.listed) else []
        return "\n".join([f"{self.count} bad rows skipped:", *(f"  {line}" for line in self.listed), *more])


def is_unjudged(raw: Any) -> bool:
    """Whether nothing is known of a row, so that it is neither right nor wrong: it says `verdict: "error"`, or `label:
    null` (or `reward: null`) and has no `steps`. One that has no `label` at all is malformed instead.
    """
    if not isinstance(raw, Mapping):
        return False
    if _verdict(raw) == "error":
        return True
    named = [name for name in (*_LABELS, "reward") if name in raw]
    return bool(named) and all(raw.get(name) is None for name in (*named, "steps", "labels"))


_LABELS = ("label", "is_correct")
_WRONG = ("fail", "timeout")


def _verdict(raw: Mapping[str, Any]) -> str:
    return str(raw.get("verdict")).strip().lower()


def sets_aside(raw: Any) -> bool:
    """Whether a row's `reward` says something else than its `label`, and a `verdict` that the label decides.

    Examples:
        >>> sets_aside({"label": False, "verdict": "fail", "reward": 0.8})
        True
    """
    label = next((raw[name] for name in _LABELS if raw.get(name) is not None), None)
    return _label_decides(raw) and bool_of("label", label) != number_of("reward", raw["reward"])


def _label_decides(raw: Mapping[str, Any]) -> bool:
    judged = _verdict(raw) in ("pass", *_WRONG) and raw.get("reward") is not None
    return judged and any(raw.get(name) is not None for name in _LABELS)


def parse_row(raw: Any, *, labelled: bool = True) -> Row:
    """The row in the one schema, from any of the shapes it may come in; a null field counts as absent.

    | comes as | prompt | completion |
    |---|---|---|
    | `prompt, completion` | the text, or a list of chat messages | the text, or a list of messages, the assistant's |
    | `messages`, `conversations` (ShareGPT) | messages before the first answer | the assistant's turns from there on |
    | `instruction, input, output` | the Alpaca prompt | `output` |
    | `prompt, completions, labels` (TRL's stepwise) | the text | the steps, joined |

    `completion` is the text of the assistant's last turn. Where there is more (several turns, `tool_calls`,
    `reasoning_content`, content parts, a weight), all messages from the first turn that may be learned on are kept in
    `completion_messages`; `tools` are the functions that the chat template tells of.

    `label`, or its alias `is_correct`, is a bool, 0 or 1, 0.0 or 1.0, or "true" or "false"; `reward` is any finite
    number, right above 0.5. Several of them may stand there if they agree; beside a `verdict` and a label the reward is
    the share of tests that passed, and is left out. `steps` are {"end", "reward" or "label"}, each end in characters of
    the completion; alone they give the outcome, the least of them. Optional are `weights`, `values`, `td_errors`,
    `credit` and `pass_rate` (finite), `token_error` (bools) and `span` ([start, end] in characters of the completion).
    Values of numpy and Arrow are taken as Python's. Every other column passes untouched. Parsing a parsed row gives the
    same row. A row that is to be judged by a critic alone is not `labelled`: it has neither a label nor a reward.

    Raises:
        DataError: the reason, without a place.

    Examples:
        >>> parse_row({"prompt": "1 + 1 =", "completion": " 2", "is_correct": "true"})
        {'prompt': '1 + 1 =', 'completion': ' 2', 'label': True}
        >>> parse_row({"prompt": "1 + 1 =", "completion": " 3", "label": "no"})
        Traceback (most recent call last):
        ...
        weighted_mtp.data.fields.DataError: `label` is 'no': true, false, 0 or 1 is needed
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"a row must be an object with named fields, not {short(raw)}")
    used, row = texts_of(raw)
    if (steps := row.get("steps", raw.get("steps"))) is not None:
        row["steps"] = steps_of(steps, row["completion"])
    if labelled:
        row |= _outcome(raw, row.get("steps", ()))
    elif has_outcome(raw):
        raise DataError("it says what a program found, and the first row does not: give all rows a label, or none")
    for name in TOKEN_COLUMNS:
        if raw.get(name) is not None:
            row[name] = numbers_of(name, raw[name])
    if raw.get("pass_rate") is not None:
        row["pass_rate"] = number_of("pass_rate", raw["pass_rate"])
        if not 0 <= row["pass_rate"] <= 1:
            raise DataError(f"`pass_rate` is {row['pass_rate']}: a share between 0 and 1 is needed")
    if raw.get("truncated") is not None:
        row["truncated"] = bool_of("truncated", raw["truncated"])
    if raw.get("token_error") is not None:
        row["token_error"] = bools_of("token_error", raw["token_error"])
    if raw.get("span") is not None:
        row["span"] = span_of(raw["span"], row["completion"])
    if isinstance(row["prompt"], list) and raw.get("tools") is not None:
        row["tools"] = _tools(raw["tools"])
    ours = {*_LABELS, "reward", "pass_rate", "steps", "token_error", "span", TURNS, *TOKEN_COLUMNS, *used, *row}
    return row | {name: value for name, value in raw.items() if name not in ours}


def has_outcome(raw: Any) -> bool:
    """Whether a row says, in whatever form, what a program found."""
    names = (*_LABELS, "reward", "steps", "labels", "verdict")
    return isinstance(raw, Mapping) and any(name in raw for name in names)


def _tools(value: Any) -> list[Any]:
    tools = plain_value(value)
    if isinstance(tools, str):  # as some data sets of conversations have it
        with suppress(ValueError, RecursionError):
            tools = json.loads(tools)
    if not isinstance(tools, list):
        raise DataError(f"`tools` is {short(tools)}: a list of function descriptions is needed")
    return tools


def _outcome(raw: Mapping[str, Any], steps: Sequence[dict[str, Any]]) -> Row:
    """`label`, and `reward` where more is known."""
    found = {name: bool_of(name, raw[name]) for name in _LABELS if raw.get(name) is not None}
    row: Row = {}
    if raw.get("reward") is not None:
        row["reward"] = number_of("reward", raw["reward"])
        if _label_decides(raw):
            row = {}
    elif steps and not found:
        row["reward"] = min(step["reward"] for step in steps)
    if "reward" in row:
        found["reward"] = is_right(row["reward"])
    if not found:
        raise DataError(without("label", raw))
    (name, label), *others = found.items()
    for other, also in others:
        if also != label:
            right = ", and a reward above 0.5 is right: drop one of them" if other == "reward" else ""
            raise DataError(f"`{name}` is {raw[name]!r} but `{other}` is {raw[other]!r}{right}")
    verdict = _verdict(raw)
    share = name == "reward" and row["reward"] < 1  # of the tests, of which a completion that fails may pass most
    if (verdict == "pass" and not label) or (verdict in _WRONG and label and not share):
        raise DataError(f"`{name}` is {raw.get(name)!r} but `verdict` is {raw['verdict']!r}: drop one of them")
    return {"label": label, **row}
