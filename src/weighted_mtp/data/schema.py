"""One row: a prompt, a completion and whether a program found it right; and the shapes it may come in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .fields import (
    DataError,
    bool_of,
    bools_of,
    messages_of,
    numbers_of,
    plain_content,
    plain_value,
    short,
    span_of,
    text_of,
)

Row = dict[str, Any]
"""After `parse_row`: `prompt` (text or chat messages), `completion`, `label`, optional columns, extras."""

TOKEN_COLUMNS = ("weights", "values", "td_errors", "credit")
"""Pre-scored columns: one number for each labelled token (the completion's tokens, then EOS)."""
MADE_COLUMNS = ("steps",)
"""Columns of the same kind that tokenization makes."""

MESSAGE = "completion_message"
"""Column of a parsed row: the assistant's message, where it holds more than text."""

OnBadRow = Literal["error", "skip"]


def is_right(reward: Any) -> Any:
    """Whether a reward, or each one of an array or a tensor, counts as right where only right and wrong are told apart.

    Examples:
        >>> is_right(1.0), is_right(0.5)
        (True, False)
    """
    return reward > 0.5


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
    if _verdict(raw) == "error":
        return True
    named = [name for name in _LABELS if name in raw]
    return bool(named) and all(raw[name] is None for name in named)


_LABELS = ("label", "is_correct")
_WRONG = ("fail", "timeout")


def _verdict(raw: Mapping[str, Any]) -> str:
    return str(raw.get("verdict")).strip().lower()


def parse_row(raw: Any) -> Row:
    """The row in the one schema, from any of the shapes it may come in; a null field counts as absent.

    | comes as | prompt | completion |
    |---|---|---|
    | `prompt, completion` | the text, or a list of chat messages | the text, or a list of the assistant's message |
    | `messages` | all messages but the last, for the chat template | the last one, the assistant's |
    | `instruction, input, output` | the Alpaca prompt | `output` |

    An assistant's message that holds more than text (`tool_calls`, `reasoning_content`, content parts) is kept whole in
    `completion_message`; `tools` are the functions that the chat template tells of.

    `label`, or its alias `is_correct`, is a bool, 0 or 1, 0.0 or 1.0, or "true" or "false"; both may stand there if
    they agree. Optional are `weights` (finite, not negative), `values` and `td_errors` (finite), `token_error`
    (bools) and `span` ([start, end] in characters of the completion). Values of numpy and Arrow are taken as Python's.
    Every other column passes untouched. Parsing a parsed row gives the same row.

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
    used, row = _texts(raw)
    row["label"] = _label(raw)
    for name in TOKEN_COLUMNS:
        if raw.get(name) is not None:
            row[name] = numbers_of(name, raw[name])
    if raw.get("token_error") is not None:
        row["token_error"] = bools_of("token_error", raw["token_error"])
    if raw.get("span") is not None:
        row["span"] = span_of(raw["span"], row["completion"])
    if isinstance(row["prompt"], list) and raw.get("tools") is not None:
        row["tools"] = _tools(raw["tools"])
    ours = {*_LABELS, "token_error", "span", MESSAGE, *TOKEN_COLUMNS, *used, *row}
    return row | {name: value for name, value in raw.items() if name not in ours}


def _texts(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], Row]:
    """The columns the texts come from; the prompt and the completion."""
    has = {name for name, value in raw.items() if value is not None}
    if has & {"prompt", "completion"} or not has & {"messages", "instruction", "output"}:
        return ("prompt", "completion"), _prompt_and_completion(raw)
    if "messages" in has:
        *prompt, last = messages_of("messages", raw["messages"])
        if not prompt or last["role"] != "assistant":
            raise DataError("`messages` must hold a prompt and end with the assistant's message, the completion")
        return ("messages", "prompt", "completion"), {"prompt": prompt, **_answer("messages", last)}
    given = text_of(raw, "input") if "input" in has else ""
    template = ALPACA_PROMPT_WITH_INPUT if given else ALPACA_PROMPT
    prompt = template.format(instruction=_filled(raw, "instruction", "prompt"), input=given)
    row = {"prompt": prompt, "completion": _filled(raw, "output", "completion")}
    return ("instruction", "input", "output", "prompt", "completion"), row


def _prompt_and_completion(raw: Mapping[str, Any]) -> Row:
    prompt, completion = plain_value(raw.get("prompt")), plain_value(raw.get("completion"))
    if not isinstance(prompt, list):
        text = text_of(raw, "prompt", without("prompt", raw))
        return {"prompt": text, "completion": _filled(raw, "completion", "completion")}
    messages = messages_of("prompt", prompt)
    if raw.get(MESSAGE) is not None:  # a row that was parsed before
        (message,) = messages_of(MESSAGE, [raw[MESSAGE]])
        return {"prompt": messages, **_answer(MESSAGE, message)}
    if not isinstance(completion, list):
        return {"prompt": messages, "completion": _filled(raw, "completion", "completion")}
    *before, last = messages_of("completion", completion)
    if before:
        raise DataError(
            f"`completion` holds {len(completion)} messages, and one is learned, the assistant's last: move the "
            "others to the end of `prompt`"
        )
    return {"prompt": messages, **_answer("completion", last)}


def _answer(name: str, message: dict[str, Any]) -> Row:
    """The completion's columns from the assistant's message: its text, and itself where it is more than text."""
    if message["role"] != "assistant":
        raise DataError(f"`{name}` ends with a message of role {short(message['role'])}: the assistant's is learned")
    text = plain_content(message)
    if not text and not message.get("tool_calls") and not message.get("reasoning_content"):
        raise DataError("`content` is empty")
    is_text = message.keys() == {"role", "content"} and isinstance(message["content"], str)
    return {"completion": text} if is_text else {"completion": text, MESSAGE: message}


def _filled(raw: Mapping[str, Any], name: str, role: str) -> str:
    text = text_of(raw, name, without(role, raw))
    if not text:
        raise DataError(f"`{name}` is empty")
    return text


def _tools(value: Any) -> list[Any]:
    tools = plain_value(value)
    if not isinstance(tools, list):
        raise DataError(f"`tools` is {short(tools)}: a list of function descriptions is needed")
    return tools


def _label(raw: Mapping[str, Any]) -> bool:
    labels = {name: bool_of(name, raw[name]) for name in _LABELS if raw.get(name) is not None}
    if not labels:
        raise DataError(without("label", raw))
    if len(set(labels.values())) == 2:
        raise DataError(f"`label` is {raw['label']!r} but `is_correct` is {raw['is_correct']!r}")
    (name, label), *_ = labels.items()
    verdict = _verdict(raw)
    if (verdict == "pass" and not label) or (verdict in _WRONG and label):
        raise DataError(f"`{name}` is {raw[name]!r} but `verdict` is {raw['verdict']!r}: drop one of them")
    return label


_NEEDED = "a row needs prompt, completion and label (or instruction, output and is_correct; or messages and label)"
# Columns of the forms that other tools read, and how they become ours.
_OTHER_FORMS = {
    "conversations": "ShareGPT's `conversations` become `messages`, with role (user, assistant) and content",
    "conversation": "`conversation` is named `messages`, with role and content",
    "dialogue": "`dialogue` is named `messages`, with role and content",
    "chosen": "chosen and rejected become two rows, completion = chosen with label true, rejected with false",
    "completions": "`completions` with `labels` (steps) become one `completion`, joined, with one `label` of the whole",
    "text": "`text` is split into `prompt` and `completion`, since only the latter is learned",
}
_OTHER_NAMES = {
    "prompt": ("question", "query", "problem", "input", "instruction", "task", "context"),
    "completion": ("response", "output", "generation", "answer", "solution", "target", "text"),
    "label": ("reward", "score", "correct", "passed", "is_right", "success", "labels", "acc"),
}


def without(name: str, raw: Mapping[str, Any]) -> str:
    """The reason for a row without one of prompt, completion and label: the columns it has, and the nearest form.

    Examples:
        >>> print(without("completion", {"prompt": "p", "response": "r", "label": 1}))
        no `completion` among prompt, response, label: rename `response` to `completion`
        >>> print(without("prompt", {"Prompt": "p", "completion": "c"}))
        no `prompt` among Prompt, completion: rename `Prompt` to `prompt`
    """
    there = [str(column) for column in raw if raw[column] is not None]
    among = f" among {', '.join(there[:12])}{', ...' * (len(there) > 12)}" if there else ""
    return f"no `{name}`{among}: {_remedy(name, there)}"


def _remedy(name: str, there: list[str]) -> str:
    spelled = next((other for other in there if other.strip().lower() == name), None)
    if spelled is not None:
        return f"rename `{spelled}` to `{name}`"
    if name == "label" and "verdict" in there:
        return "`wmtp data verify` writes it beside `verdict`: true for pass, null for error, else false"
    form = next((form for form in _OTHER_FORMS if form in there), None)
    if name != "label" and form is not None:
        return _OTHER_FORMS[form]
    near = next((other for other in _OTHER_NAMES[name] if other in there), None)
    if near in ("reward", "score", "acc"):
        return f"write `label`: true where `{near}` is at least what you call right, false below"
    return _NEEDED if near is None else f"rename `{near}` to `{name}`"
