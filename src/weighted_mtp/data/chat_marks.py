"""What of a chat a template shows, found out by asking it: every part is replaced by a mark, and marks are looked for,
since a `d` would be found in `<|end|>`."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weighted_mtp.choices import nearest

from .fields import DataError
from .forms import SHAREGPT_ROLES

Message = dict[str, Any]
OWN_CONTENT = "a part of the assistant's content"
Render = Callable[[Sequence[Message], Any], str]
"""A chat template: messages and tools to text."""

_ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
_USUAL = "user, assistant, system or tool"

MARK, END = "\ue000", "\ue001"  # characters of the private use area, which no template knows


class Marks:
    """Marks, and what each stands for; names of called functions, which a later result may repeat, are optional."""

    def __init__(self, names: bool = True) -> None:
        self.names = names
        self.texts: dict[str, str] = {}
        """Of what is shown as it stands."""
        self.data: dict[str, str] = {}
        """Of what may be shown as JSON."""

    def _new(self, what: str, kind: dict[str, str]) -> str:
        mark = f"{MARK}{len(self.texts) + len(self.data)}{END}"
        kind[mark] = what
        return mark

    def message(self, message: Message, whose: str) -> Message:
        """The message with a mark for each part of its text; what holds no text stays."""
        marked = dict(message)
        content = message.get("content")
        what = f"the content{whose}" if whose else OWN_CONTENT
        if isinstance(content, list):
            marked["content"] = [
                part | {"text": self._new(what, self.texts)} if part["text"] else part for part in content
            ]
        elif content:
            marked["content"] = self._new(what, self.texts)
        if message.get("reasoning_content"):
            marked["reasoning_content"] = self._new(f"reasoning_content{whose}", self.texts)
        if message.get("tool_calls"):
            marked["tool_calls"] = [self.function(call, f"tool_calls{whose}") for call in message["tool_calls"]]
        return marked

    def function(self, call: Any, what: str) -> Any:
        """A tool, or a call of one, with a mark for its name and for each value of its arguments."""
        if not isinstance(call, Mapping):
            return call
        if isinstance(call.get("function"), Mapping):
            return {**call, "function": self.function(call["function"], what)}
        marked = dict(call)
        if call.get("name") and self.names:
            marked["name"] = self._new(what, self.data)
        if call.get("arguments"):
            marked["arguments"] = self._value(call["arguments"], f"the arguments of {what}")
        return marked

    def _value(self, value: Any, what: str) -> Any:
        if isinstance(value, Mapping):
            return {name: self._value(entry, what) for name, entry in value.items()}
        if isinstance(value, list):
            return [self._value(entry, what) for entry in value]
        return value if value in ("", None) else self._new(what, self.data)

    def missing(self, text: str) -> list[str]:
        """What a text does not show, each once. A list that Python prints shows its marks as escapes, so not at all."""
        from_json = text.replace(json.dumps(MARK)[1:-1], MARK).replace(json.dumps(END)[1:-1], END)
        gone = [what for mark, what in self.texts.items() if mark not in text]
        gone += [what for mark, what in self.data.items() if mark not in from_json]
        known = {f"the arguments of {what}" for what in gone}  # a call that is not shown has none either
        return [what for what in dict.fromkeys(gone) if what not in known]


def left_out(render: Render, messages: Sequence[Message], tools: Any) -> tuple[str, list[str]]:
    """The text of marked messages, and names of the parts that it does not show, each once; those of a last message of
    the assistant's are bare."""
    marks = Marks()
    marked = [marks.message(message, _whose(messages, i)) for i, message in enumerate(messages)]
    text = render(marked, tools and [marks.function(tool, "tools") for tool in tools])
    return text, marks.missing(text)


def _whose(messages: Sequence[Message], i: int) -> str:
    role = messages[i]["role"]
    if role != "assistant":
        return f" of a {role} message"
    return "" if i == len(messages) - 1 else " of an earlier assistant message"


def check_roles(messages: Sequence[Message], template: Any) -> None:
    """Raises DataError for a role that is none of the usual ones and that the template does not name."""
    for message in messages:
        role = message["role"]
        if role not in _ROLES and role not in str(template):
            raise DataError(f"`role` is {role!r}, which the chat template does not know: {_USUAL} are usual")


def check_roles_shown(messages: Sequence[Message], gone: Sequence[str]) -> None:
    """Raises DataError for an unusual role whose content is among what a template leaves out."""
    for i, role in enumerate(message["role"] for message in messages):
        if role not in _ROLES and f"the content{_whose(messages, i)}" in gone:
            near = [SHAREGPT_ROLES.get(role.lower()), *nearest(role.lower(), _ROLES), _USUAL]
            raise DataError(
                f"the chat template shows nothing of `role` {role!r}: did you mean {next(filter(None, near))}?"
            )
