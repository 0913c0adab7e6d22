"""Chat messages as they come in a row: checked, and the last one told apart as the completion."""

import json
from collections.abc import Mapping
from typing import Any

from .fields import DataError, plain_value, short, text_of

MESSAGE = "completion_message"
"""Column of a parsed row: the assistant's message, where it holds more than text."""


def messages_of(name: str, messages: Any) -> list[dict[str, Any]]:
    """The messages of a column; fields that are null count as absent, `content` apart.

    A message has a role and content: text, or a list of text parts. Content may be null beside `tool_calls` or
    `reasoning_content`.

    Raises:
        DataError: what is wrong with the first message that cannot be used.
    """
    messages = plain_value(messages)
    if not isinstance(messages, list) or not messages:
        raise DataError(f"`{name}` is {short(messages)}: a list of messages with role and content is needed")
    return [_message(name, message) for message in messages]


def _message(name: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise DataError(f"`{name}` holds {short(message)}: a message has role and content")
    if "role" not in message and "from" in message:
        raise DataError(
            f"`{name}` holds ShareGPT's `from` and `value`: name them `role` (user, assistant) and `content`"
        )
    if not text_of(message, "role"):
        raise DataError("`role` is empty")
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    content = plain_value(kept.get("content"))
    if isinstance(content, list):
        kept["content"] = [_part(part) for part in content]
    elif content is not None or not (kept.get("tool_calls") or kept.get("reasoning_content")):
        text_of(message, "content")
    for key in kept.keys() - {"role", "content"}:
        _require_characters(key, kept[key])
    return kept


def _part(part: Any) -> dict[str, Any]:
    """A content part, which is text: a model of text can read nothing else."""
    if not isinstance(part, Mapping) or part.get("type", "text") != "text":
        kind = part.get("type") if isinstance(part, Mapping) else short(part)
        raise DataError(
            f"`content` holds a part of type {kind}: only parts of type text, with their `text`, can be read"
        )
    text_of(part, "text")
    return {key: value for key, value in part.items() if value is not None}


def _require_characters(name: str, value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except (UnicodeEncodeError, ValueError, RecursionError):
        raise DataError(f"`{name}` of a message cannot be written as text: {short(value)}") from None


def answer_columns(name: str, message: dict[str, Any]) -> dict[str, Any]:
    """The completion of a parsed row from the assistant's message; the message too, where it is more than text.

    Raises:
        DataError: another role, or nothing to learn.
    """
    if message["role"] != "assistant":
        raise DataError(f"`{name}` ends with a message of role {short(message['role'])}: the assistant's is learned")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    if not content and not message.get("tool_calls") and not message.get("reasoning_content"):
        raise DataError("`content` is empty")
    columns: dict[str, Any] = {"completion": content or ""}
    if message.keys() == {"role", "content"} and isinstance(message["content"], str):
        return columns
    return columns | {MESSAGE: message}
