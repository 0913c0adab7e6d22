"""A chat as the tokenizer's template writes it: what is read, what is learned, and what the template leaves out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .schema import DataError, Row

Message = dict[str, Any]

_WEIGHTS = ("weight", "loss_weight", "train")
_MARK = "\ue000"  # a character of the private use area, which no template knows


class Written(NamedTuple):
    """One row's text in two parts, which together are what the template gives for the whole conversation."""

    prompt: str
    """Read: all messages but the last, and what opens the assistant's turn."""
    learned: str
    """What the model has to write: its turn, up to and with the template's end-of-turn text."""
    ends_itself: bool
    """Whether an end-of-turn text is part of `learned`; else EOS has to follow."""
    notes: tuple[str, ...] = ()
    """What the user should know: parts that the template leaves out, ends that were there already."""


def opened_chat(tokenizer: Any, messages: Sequence[Message], tools: Any = None) -> str:
    """Messages through the chat template, with the assistant's turn opened: what a model is asked with.

    Raises:
        DataError: the tokenizer has no chat template, or the template refuses the messages.
    """
    return _render(tokenizer, _readable(tokenizer, messages, tools), tools, opened=True)


def turn_end(tokenizer: Any) -> str:
    """The text that the chat template writes behind an assistant's content, without white space around it.

    Empty where the template writes none, or cannot be asked.
    """
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
    try:
        return _render(tokenizer, chat, None, opened=False).rpartition(_MARK)[2].strip()
    except DataError:
        return ""


def written_chat(tokenizer: Any, row: Row, end: str) -> Written:
    """Prompt and learned text of a row whose prompt is messages.

    The whole conversation is rendered once, and cut where the rendered prompt with an opened turn ends. A template
    that opens the turn with more than it writes in a whole conversation (`<think>`) is cut where it writes the
    content of an assistant.

    Args:
        tokenizer: with a chat template.
        row: as `parse_row` gives it.
        end: `turn_end(tokenizer)`.

    Raises:
        DataError: no template; a template that refuses the messages, or shows nothing of the assistant's turn.
    """
    tools = row.get("tools")
    answer, ended_twice = _without_end(answer_of(row), end)
    messages = _readable(tokenizer, [*row["prompt"], answer], tools)
    whole = _render(tokenizer, messages, tools, opened=False)
    start = _start(tokenizer, messages[:-1], tools, whole)
    learned = whole[start:]
    ends_itself = bool(end) and learned.rstrip().endswith(end)
    if ends_itself:
        learned = learned.rstrip()  # white space behind the end of a turn is the template's, not the model's
    if learned.strip() in ("", end):
        raise DataError(f"the chat template shows nothing of the assistant's turn ({_parts(answer)})")
    notes = [f"the chat template leaves out {part}" for part in _left_out(answer, tools, whole, learned)]
    notes += [
        f"`{name}` of a message is not read: all of the turn is learned alike"
        for name in _WEIGHTS
        if name in answer
    ]
    if ended_twice:
        notes.append(
            f"the completion's text ends with {end!r} already, which the template writes: it is learned once"
        )
    return Written(whole[:start], learned, ends_itself, tuple(notes))


def answer_of(row: Row) -> Message:
    """The assistant's message of a row whose prompt is messages."""
    return row.get("completion_message") or {"role": "assistant", "content": row["completion"]}


def without_end(text: str, end: str) -> tuple[str, bool]:
    """A text without an end that it already has, and whether it had one.

    Examples:
        >>> without_end("It is 3.</s>", "</s>"), without_end("It is 3.", "</s>")
        (('It is 3.', True), ('It is 3.', False))
    """
    if not end or not text.rstrip().endswith(end):
        return text, False
    return text.rstrip().removesuffix(end), True


def _without_end(message: Message, end: str) -> tuple[Message, bool]:
    if not isinstance(message.get("content"), str):
        return message, False
    content, had = without_end(message["content"], end)
    return message | {"content": content}, had


def _render(tokenizer: Any, messages: Sequence[Message], tools: Any, opened: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "rows with messages need a tokenizer with a chat template, and this one has none: set "
            "tokenizer.chat_template, or write the rows as prompt and completion"
        )
    try:
        return tokenizer.apply_chat_template(
            list(messages), tools=tools or None, tokenize=False, add_generation_prompt=opened
        )
    except Exception as error:  # a template is a stranger's program, and raises whatever Python raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        roles = ", ".join(str(message["role"]) for message in messages)
        raise DataError(f"the chat template refuses these messages (roles {roles}): {reason[0]}") from None


def _readable(tokenizer: Any, messages: Sequence[Message], tools: Any) -> list[Message]:
    """The messages as they are, or with plain text as content where the template can read nothing else.

    Templates differ in whether they take content that is null or a list of parts; one that does not raises, or
    prints it as Python does.
    """
    plain = [message | {"content": plain_content(message)} for message in messages]
    if all(old.get("content") == new["content"] for old, new in zip(messages, plain, strict=True)):
        return list(messages)
    try:
        text = _render(tokenizer, messages, tools, opened=False)
    except DataError:
        return plain
    printed = [repr(message["content"]) for message in messages if isinstance(message.get("content"), list)]
    if any(shown in text for shown in printed):
        return plain
    if text.count("None") > _render(tokenizer, plain, tools, opened=False).count("None"):
        return plain
    return list(messages)


def plain_content(message: Mapping[str, Any]) -> str:
    """A message's content as text: its parts joined, nothing where it is null.

    Examples:
        >>> plain_content({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
        'ab'
    """
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""


def _start(tokenizer: Any, prompt: Sequence[Message], tools: Any, whole: str) -> int:
    """Where the assistant's turn begins in the whole conversation."""
    opened = _render(tokenizer, prompt, tools, opened=True)
    if whole.startswith(opened):
        return len(opened)
    marked = _render(tokenizer, [*prompt, {"role": "assistant", "content": _MARK}], tools, opened=False)
    header = marked.rpartition(_MARK)[0]
    if header and whole.startswith(header):
        return len(header)
    raise DataError(
        "the chat template writes the prompt differently when the assistant's turn follows it, so where that turn "
        "begins cannot be told: write the row as prompt and completion"
    )


def _left_out(answer: Message, tools: Any, whole: str, learned: str) -> list[str]:
    """Names of what the template does not show; white space apart."""
    seen, text = _squeezed(learned), _squeezed(whole)
    gone = []
    if _squeezed(plain_content(answer)) not in seen:
        gone.append("a part of the assistant's content")
    if _squeezed(str(answer.get("reasoning_content") or "")) not in seen:
        gone.append("reasoning_content")
    if any(name not in seen for name in _function_names(answer.get("tool_calls"))):
        gone.append("tool_calls")
    if any(name not in text for name in _function_names(tools)):
        gone.append("tools")
    return gone


def _function_names(calls: Any) -> list[str]:
    functions = [call.get("function", call) for call in calls or () if isinstance(call, Mapping)]
    return [_squeezed(str(f.get("name", ""))) for f in functions if isinstance(f, Mapping)]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _parts(message: Message) -> str:
    return ", ".join(name for name in message if name != "role" and message[name])
