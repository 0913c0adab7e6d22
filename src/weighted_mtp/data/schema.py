"""One row: a prompt, a completion and whether a program found it right; and the shapes it may come in."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]
"""After `parse_row`: `prompt` (text or chat messages), `completion`, `label`, optional columns, extras."""

TOKEN_COLUMNS = ("weights", "values", "td_errors", "credit")
"""Pre-scored columns: one number for each labelled token (the completion's tokens, then EOS)."""

OnBadRow = Literal["error", "skip"]

ALPACA_PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_PROMPT_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
"""Source: Taori et al. 2023, Stanford Alpaca, the prompts of its README."""

_NEEDED = (
    "a row needs prompt, completion and label (or instruction, output and is_correct; or messages and label)"
)


class DataError(ValueError):
    """What is wrong with the data, and where: the user's to mend, so no traceback is needed."""


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
        """Take one in. Raises `DataError` (`where: reason`) when the policy is "error"."""
        if self.policy == "error":
            raise DataError(f"{where}: {reason}")
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
    """Whether nothing is known of a row: its check could not be made, so that it is neither right nor wrong.

    Such a row says `verdict: "error"`, whatever its label, or `label: null`. One that has no `label` at all is not
    unjudged but malformed.

    Examples:
        >>> is_unjudged({"prompt": "p", "completion": "c", "label": False, "verdict": "error"})
        True
        >>> is_unjudged({"prompt": "p", "completion": "c", "label": None})
        True
        >>> is_unjudged({"prompt": "p", "completion": "c"})
        False
    """
    if not isinstance(raw, Mapping):
        return False
    if raw.get("verdict") == "error":
        return True
    named = [name for name in _LABELS if name in raw]
    return bool(named) and all(raw[name] is None for name in named)


_LABELS = ("label", "is_correct")


def parse_row(raw: Any) -> Row:
    """The row in the one schema, from any of the shapes it may come in; a null field counts as absent.

    | comes as | prompt | completion |
    |---|---|---|
    | `prompt, completion` | the text, or a list of chat messages | the text |
    | `messages` | all messages but the last, for the chat template | the last one, the assistant's |
    | `instruction, input, output` | the Alpaca prompt | `output` |

    `label`, or its alias `is_correct`, is a bool, 0 or 1, or "true" or "false"; both may stand there if they
    agree. Optional are `weights` (finite, not negative), `values` and `td_errors` (finite), `token_error`
    (bools) and `span` ([start, end] in characters of the completion). Every other column passes untouched.
    Parsing a parsed row gives the same row.

    Raises:
        DataError: the reason, without a place.

    Examples:
        >>> parse_row({"prompt": "1 + 1 =", "completion": " 2", "is_correct": "true"})
        {'prompt': '1 + 1 =', 'completion': ' 2', 'label': True}
        >>> parse_row({"prompt": "1 + 1 =", "completion": " 3", "label": "no"})
        Traceback (most recent call last):
        ...
        weighted_mtp.data.schema.DataError: `label` is 'no': true, false, 0 or 1 is needed
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"a row must be an object with named fields, not {_short(raw)}")
    used, prompt, completion = _texts(raw)
    row: Row = {"prompt": prompt, "completion": completion, "label": _label(raw)}
    for name in TOKEN_COLUMNS:
        if raw.get(name) is not None:
            row[name] = _numbers(name, raw[name])
    if raw.get("token_error") is not None:
        row["token_error"] = _bools("token_error", raw["token_error"])
    if raw.get("span") is not None:
        row["span"] = _span(raw["span"], completion)
    ours = {"label", "is_correct", "token_error", "span", *TOKEN_COLUMNS, *used}
    return row | {name: value for name, value in raw.items() if name not in ours}


def _texts(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], str | list[dict[str, Any]], str]:
    """The columns the texts come from, the prompt and the completion."""
    has = {name for name, value in raw.items() if value is not None}
    if has & {"prompt", "completion"} or not has & {"messages", "instruction", "output"}:
        prompt = raw.get("prompt")
        prompt = _messages("prompt", prompt) if isinstance(prompt, list) else _text(raw, "prompt")
        return ("prompt", "completion"), prompt, _filled(raw, "completion")
    if "messages" in has:
        messages = _messages("messages", raw["messages"])
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise DataError(
                "`messages` must hold a prompt and end with the assistant's message, the completion"
            )
        return ("messages", "prompt", "completion"), messages[:-1], _filled(messages[-1], "content")
    given = _text(raw, "input") if "input" in has else ""
    template = ALPACA_PROMPT_WITH_INPUT if given else ALPACA_PROMPT
    prompt = template.format(instruction=_filled(raw, "instruction"), input=given)
    return ("instruction", "input", "output", "prompt", "completion"), prompt, _filled(raw, "output")


def _text(raw: Mapping[str, Any], name: str) -> str:
    text = raw.get(name)
    if text is None:
        raise DataError(f"no `{name}`: {_NEEDED}")
    if not isinstance(text, str):
        raise DataError(f"`{name}` is {_short(text)}: text is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"`{name}` holds half a surrogate pair, which is no character") from None
    return text


def _filled(raw: Mapping[str, Any], name: str) -> str:
    text = _text(raw, name)
    if not text:
        raise DataError(f"`{name}` is empty")
    return text


def _messages(name: str, messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise DataError(f"`{name}` is {_short(messages)}: a list of messages with role and content is needed")
    for message in messages:
        if not isinstance(message, Mapping):
            raise DataError(f"`{name}` holds {_short(message)}: a message has role and content")
        _filled(message, "role")
        _text(message, "content")
    return [dict(message) for message in messages]


def _label(raw: Mapping[str, Any]) -> bool:
    labels = {name: _bool(name, raw[name]) for name in _LABELS if raw.get(name) is not None}
    if not labels:
        raise DataError(f"no `label`: {_NEEDED}")
    if len(set(labels.values())) == 2:
        raise DataError(f"`label` is {raw['label']!r} but `is_correct` is {raw['is_correct']!r}")
    return next(iter(labels.values()))


def _bool(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, int) and value in (0, 1):  # bool is an int; 1.0 is neither
        return bool(value)
    raise DataError(f"`{name}` is {_short(value)}: true, false, 0 or 1 is needed")


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"`{name}` is {_short(value)}: a list with one entry for each token is needed")
    return value


def _bools(name: str, value: Any) -> list[bool]:
    return [_bool(name, entry) for entry in _list(name, value)]


def _numbers(name: str, value: Any) -> list[float]:
    for entry in _list(name, value):
        # a JSON integer may be too large for a float, and then isfinite raises
        number = isinstance(entry, float) or (type(entry) is int and abs(entry) < 2**64)
        if not number or not math.isfinite(entry):
            raise DataError(f"`{name}` holds {_short(entry)}: finite numbers are needed")
        if name == "weights" and entry < 0:
            raise DataError(f"`weights` holds {entry}: a weight must not be negative")
    return [float(entry) for entry in value]


def _span(value: Any, completion: str) -> list[int]:
    whole = isinstance(value, list | tuple) and len(value) == 2
    if not whole or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        raise DataError(f"`span` is {_short(value)}: [start, end] in characters is needed")
    if not 0 <= value[0] <= value[1] <= len(completion):
        raise DataError(f"`span` is {list(value)}: outside the completion's {len(completion)} characters")
    return list(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
