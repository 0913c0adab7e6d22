"""Fields of a row, chat messages among them: of what type they must be, and what is said where they are of another."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

WEIGHTS = ("weight", "loss_weight", "train")
"""Fields of a message that say how much its tokens count."""
_FLOAT32_MAX = 3.4028234663852886e38


class DataError(ValueError):
    """What is wrong with the data, and where: the user's to mend, so no traceback is needed."""


def short(value: Any) -> str:
    """A value for a message, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain_value(value: Any) -> Any:
    """A Python value for one of numpy, Arrow or torch; arrays become lists, others stay.

    Examples:
        >>> import numpy
        >>> plain_value(numpy.float32(1)), plain_value(numpy.array([1, 2]))
        (1.0, [1, 2])
    """
    for method in ("as_py", "tolist"):  # of Arrow's scalars; of numpy's scalars and arrays, and of tensors
        if hasattr(value, method):
            return getattr(value, method)()
    return list(value) if isinstance(value, tuple) else value


def text_of(raw: Mapping[str, Any], name: str, absent: str = "") -> str:
    """A field that must be text, with characters that have UTF-8; `absent` is said where it is not there."""
    text = plain_value(raw.get(name))
    if text is None:
        raise DataError(absent or f"no `{name}`")
    if not isinstance(text, str):
        raise DataError(f"`{name}` is {short(text)}: text is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"`{name}` holds half a surrogate pair, which is no character") from None
    return text


def bool_of(name: str, value: Any) -> bool:
    """A field that must be true or false, or a number or word for it."""
    value = plain_value(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    hint = ""
    if isinstance(value, float) and 0 < value < 1:
        hint = "; a score is named `reward`"
    raise DataError(f"`{name}` is {short(value)}: true, false, 0 or 1 is needed{hint}")


def _list_of(name: str, value: Any) -> list[Any]:
    value = plain_value(value)
    if not isinstance(value, list):
        raise DataError(f"`{name}` is {short(value)}: a list with one entry for each token is needed")
    return value


def bools_of(name: str, value: Any) -> list[bool]:
    """A list of bools."""
    return [bool_of(name, entry) for entry in _list_of(name, value)]


def number_of(name: str, value: Any) -> float:
    """A number that is finite in float32, which training reads it in."""
    value = plain_value(value)
    # a JSON integer may be too large for a float, and then isfinite raises
    if not (isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64)) or not (
        abs(value) <= _FLOAT32_MAX
    ):
        raise DataError(f"`{name}` is {short(value)}: a finite number is needed (in float32)")
    return float(value)


def numbers_of(name: str, value: Any) -> list[float]:
    """A list of such numbers, none of them a bool."""
    entries = [plain_value(entry) for entry in _list_of(name, value)]
    for entry in entries:
        try:
            number_of(name, None if isinstance(entry, bool) else entry)
        except DataError:
            raise DataError(f"`{name}` holds {short(entry)}: finite numbers are needed (in float32)") from None
    return [float(entry) for entry in entries]


def steps_of(value: Any, completion: str) -> list[dict[str, Any]]:
    """Steps of a completion, each {"end": where it ends, in characters, "reward": a number}; a label counts 0 or 1."""
    steps: Any = plain_value(value)
    last = 0
    found: list[dict[str, Any]] = []
    listed: list[Any] = steps if isinstance(steps, list) and steps else [steps]
    for step in listed:
        names = {name for name, entry in step.items() if entry is not None} if isinstance(step, Mapping) else set()
        if names not in ({"end", "reward"}, {"end", "label"}):
            raise DataError(f'`steps` holds {short(step)}: a list of {{"end", "reward" or "label"}} is needed')
        end = plain_value(step["end"])
        if type(end) is not int or not last < end <= len(completion):
            raise DataError(
                f"a step ends at {short(end)}: ends must rise, from above 0 to the completion's {len(completion)} "
                "characters"
            )
        label = step.get("label")
        found.append(
            {"end": end, "reward": number_of("reward", step["reward"] if label is None else bool_of("label", label))}
        )
        last = end
    return found


def span_of(value: Any, completion: str) -> list[int]:
    """[start, end] in characters of the completion."""
    value = plain_value(value)
    if not isinstance(value, list) or [type(end) for end in value] != [int, int]:
        raise DataError(f"`span` is {short(value)}: [start, end] in characters is needed")
    if not 0 <= value[0] <= value[1] <= len(completion):
        raise DataError(f"`span` is {value}: outside the completion's {len(completion)} characters")
    return value


def messages_of(name: str, messages: Any) -> list[dict[str, Any]]:
    """The messages of a column; fields that are null count as absent, `content` apart, which is text, or a list of text
    parts, or null beside `tool_calls` or `reasoning_content`."""
    messages = plain_value(messages)
    if not isinstance(messages, list) or not messages:
        raise DataError(f"`{name}` is {short(messages)}: a list of messages with role and content is needed")
    found = list[dict[str, Any]]()
    for number, message in enumerate(messages, start=1):
        try:
            found.append(_message(name, message))
        except DataError as error:
            raise DataError(f"{error} (message {number} of `{name}`)") from None
    return found


def _message(name: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise DataError(f"`{name}` holds {short(message)}: a message has role and content")
    if "role" not in message and "from" in message:
        raise DataError(f"`{name}` holds ShareGPT's `from` and `value`: they are read in a column `conversations`")
    if not text_of(message, "role"):
        raise DataError("`role` is empty")
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    content = plain_value(kept.get("content"))
    if isinstance(content, list):
        kept["content"] = [_part(part) for part in content]
    elif content is not None or not (kept.get("tool_calls") or kept.get("reasoning_content")):
        text_of(message, "content")
    factor_of(kept)
    if kept.get("tool_calls"):
        kept["tool_calls"] = calls = plain_value(kept["tool_calls"])
        if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
            raise DataError(f"`tool_calls` is {short(calls)}: a list of objects with name and arguments is needed")
    for key in kept.keys() - {"role", "content"}:
        try:
            json.dumps(kept[key], ensure_ascii=False, default=str).encode()
        except (UnicodeEncodeError, ValueError, RecursionError):
            raise DataError(f"`{key}` of a message cannot be written as text: {short(kept[key])}") from None
    return kept


def with_arguments_parsed(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages, the arguments of a call that are the JSON text of an object as that object.

    Examples:
        >>> with_arguments_parsed([{"tool_calls": [{"function": {"name": "add", "arguments": '{"a": 1}'}}]}])
        [{'tool_calls': [{'function': {'name': 'add', 'arguments': {'a': 1}}}]}]
    """
    return [
        {**message, "tool_calls": [_parsed_call(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else dict(message)
        for message in messages
    ]


def _parsed_call(call: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _parsed_call(call["function"])}
    with suppress(ValueError, TypeError, RecursionError):
        if isinstance(found := json.loads(call["arguments"]) if "arguments" in call else None, dict):
            json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair, escaped in the text
            return {**call, "arguments": found}
    return dict(call)


def factor_of(message: Mapping[str, Any]) -> float:
    """The factor on a message's tokens, by its `weight`, `loss_weight` and `train`; 0: it is not learned.

    Examples:
        >>> factor_of({"role": "assistant", "content": "a", "weight": 0.5}), factor_of({"train": False}), factor_of({})
        (0.5, 0.0, 1.0)
    """
    factor = 1.0
    for name in WEIGHTS:
        if message.get(name) is not None:
            factor *= bool_of(name, message[name]) if name == "train" else number_of(name, message[name])
    if factor < 0:
        raise DataError(f"the weight of a message is {factor:g}: 0 or more is needed (`weights` may be negative)")
    return factor


def _part(part: Any) -> dict[str, Any]:
    """A content part, which is text: a model of text can read nothing else."""
    if not isinstance(part, Mapping) or part.get("type", "text") != "text":
        kind = part.get("type") if isinstance(part, Mapping) else short(part)
        raise DataError(
            f"`content` holds a part of type {kind}: only parts of type text, with their `text`, can be read"
        )
    text_of(part, "text")
    return {key: value for key, value in part.items() if value is not None}


def plain_content(message: Mapping[str, Any]) -> str:
    """A message's content as text: its parts joined, nothing where it is null.

    Examples:
        >>> plain_content({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
        'ab'
    """
    content = message.get("content")
    return "".join(part["text"] for part in content) if isinstance(content, list) else content or ""


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """A message without its id and those of its calls of tools."""
    kept = {name: value for name, value in message.items() if name not in ("id", "tool_call_id")}
    if kept.get("tool_calls"):
        kept["tool_calls"] = [{k: v for k, v in call.items() if k != "id"} for call in kept["tool_calls"]]
    return kept
