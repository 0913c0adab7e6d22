"""A chat in a file of its own: what a model is asked with, outside of any row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .chat import Message
from .fields import DataError, short
from .json_lines import parse_json
from .messages import messages_of
from .schema import parse_row

_NEEDED = "a JSON list of messages is needed, or an object with `messages` and, if there are, `tools`"
_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")


def read_chat(path: str | Path) -> tuple[list[Message], Any]:
    """Messages that an assistant answers, and the tools that it is told of (None: none).

    Args:
        path: JSON: a list of messages, or an object with `messages` (or `prompt`) and `tools`.

    Raises:
        DataError: no such file, no JSON, no messages, or a chat that the assistant ended already.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{path}: no such file; {_NEEDED}")
    try:
        return _chat_of(parse_json(file.read_bytes()))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _chat_of(content: Any) -> tuple[list[Message], Any]:
    given = {"messages": content} if isinstance(content, list) else content
    if not isinstance(given, dict) or sum(name in given for name in ("messages", "prompt")) != 1:
        raise DataError(f"holds {short(content)}; {_NEEDED}")
    name = "prompt" if "prompt" in given else "messages"
    if others := sorted(given.keys() - {name, "tools"}):
        raise DataError(f"has the key {others[0]!r}, which nothing reads; {_NEEDED}")
    messages = messages_of(name, given[name])
    if messages[-1]["role"] == "assistant":
        raise DataError("the last message is the assistant's: end with the one that it is to answer")
    row = {"prompt": messages, "completion": "-", "label": False, "tools": given.get("tools")}
    return messages, parse_row(row).get("tools")


def check_roles(messages: Sequence[Message], template: Any) -> None:
    """Raises DataError for a role that is none of the usual ones and that the template does not name."""
    for message in messages:
        role = message["role"]
        if role not in _ROLES and role not in str(template):
            raise DataError(
                f"`role` is {role!r}, which the chat template does not know: user, assistant, system and tool are usual"
            )
