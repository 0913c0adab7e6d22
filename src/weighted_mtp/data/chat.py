"""A chat as the tokenizer's template writes it: what is read, what is learned, and what the template leaves out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .chat_marks import MARK, OWN_CONTENT, Message, left_out
from .schema import DataError, Row

_WEIGHTS = ("weight", "loss_weight", "train")


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

    An assistant's message at the end is the beginning of the turn that is asked for.

    Raises:
        DataError: the tokenizer has no chat template, or the template refuses the messages.
    """
    before, begun = _begun(messages)
    if begun:
        return _header(tokenizer, _readable(tokenizer, before, tools), tools, begun)
    return _render(tokenizer, _readable(tokenizer, messages, tools), tools, opened=True)


def not_shown(tokenizer: Any, messages: Sequence[Message], tools: Any = None) -> list[str]:
    """Names of the parts of a chat that the template leaves out, each once; none where it cannot be asked."""
    try:
        return left_out(partial(_render, tokenizer, opened=False), _readable(tokenizer, messages, tools), tools)
    except DataError:
        return []


def turn_end(tokenizer: Any) -> str:
    """The text that the chat template writes behind an assistant's content, without white space around it.

    Empty where the template writes none, or cannot be asked.
    """
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}]
    for form in _forms(chat):
        try:
            _, mark, end = _render(tokenizer, form, None, opened=False).rpartition(MARK)
        except DataError:
            continue
        if mark:
            return end.strip()
    return ""


def written_chat(tokenizer: Any, row: Row, end: str) -> Written:
    """Prompt and learned text of a row whose prompt is messages.

    The whole conversation is rendered once, and cut where the rendered prompt with an opened turn ends. A template
    that opens the turn with more than it writes in a whole conversation (`<think>`) is cut where it writes the
    content of an assistant. A prompt that ends with an assistant's message begins the turn that is learned from there.

    Args:
        tokenizer: with a chat template.
        row: as `parse_row` gives it.
        end: `turn_end(tokenizer)`.

    Raises:
        DataError: no template; a template that refuses the messages, or shows nothing of the assistant's turn.
    """
    tools = row.get("tools")
    answer, ended_twice = _without_end(answer_of(row), end)
    prompt, begun = _begun(row["prompt"])
    turn = answer | {"content": begun["content"] + plain_content(answer)} if begun else answer
    messages = _readable(tokenizer, [*prompt, turn], tools)
    whole = _render(tokenizer, messages, tools, opened=False)
    start = _start(tokenizer, messages[:-1], tools, whole, begun)
    learned = whole[start:]
    ends_itself = bool(end) and learned.rstrip().endswith(end)
    if ends_itself:
        learned = learned.rstrip()  # white space behind the end of a turn is the template's, not the model's
    if learned.strip() in ("", end):
        raise DataError(f"the chat template shows nothing of the assistant's turn ({_parts(answer)})")
    gone = not_shown(tokenizer, messages, tools)
    if not _is_shown(plain_content(answer), whole[:start], learned) and OWN_CONTENT not in gone:
        gone = [*gone, OWN_CONTENT]  # it depends on what the content says
    notes = [f"the chat template leaves out {part}" for part in gone]
    if "strftime_now" in str(tokenizer.chat_template):
        notes.append("the chat template writes today's date, so that the same rows read otherwise tomorrow")
    notes += [
        f"`{name}` of a message is not read: all of the turn is learned alike" for name in _WEIGHTS if name in answer
    ]
    if ended_twice:
        notes.append(f"the completion's text ends with {end!r} already, which the template writes: it is learned once")
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
    ended = False
    while end and text.rstrip().endswith(end):
        text, ended = text.rstrip().removesuffix(end), True
    return text, ended


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
    """The messages as they are, or with another form of content where the template shows more of that.

    Templates differ in whether they take content that is text, null or a list of parts; one that does not raises,
    shows nothing, or prints it as Python does.
    """
    found: dict[int, list[Message]] = {}
    for form in _forms(messages):
        try:
            text, gone = _looked_at(tokenizer, form, tools)
        except DataError:
            continue
        faults = sum(what == OWN_CONTENT or what.startswith("the content") for what in gone)
        if any(message.get("content") is None for message in messages):
            faults += text.count("None")
        if faults == 0:
            return form
        found.setdefault(faults, form)
    return found[min(found)] if found else list(messages)


def _looked_at(tokenizer: Any, messages: Sequence[Message], tools: Any) -> tuple[str, list[str]]:
    """The text of marked messages, and what it does not show."""
    texts: list[str] = []

    def render(marked: Sequence[Message], described: Any) -> str:
        texts.append(_render(tokenizer, marked, described, opened=False))
        return texts[-1]

    gone = left_out(render, messages, tools)
    return texts[-1], gone


def _forms(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they are, with content as text, and with content as a list of parts."""
    yield list(messages)
    plain = [message | {"content": plain_content(message)} for message in messages]
    if any(old.get("content") != new["content"] for old, new in zip(messages, plain, strict=True)):
        yield plain
    parts = [
        message | {"content": [{"type": "text", "text": message["content"]}]} if message["content"] else message
        for message in plain
    ]
    yield parts


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


def _begun(prompt: Sequence[Message]) -> tuple[Sequence[Message], Message | None]:
    """The prompt without the turn that its last message begins, and that message; None where that begins none."""
    last = prompt[-1] if prompt else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        return prompt, None
    return prompt[:-1], last | {"content": plain_content(last)}


def _header(tokenizer: Any, prompt: Sequence[Message], tools: Any, begun: Message | None) -> str:
    """What stands before the assistant's content, or before what follows on the beginning of it; empty if not known."""
    begun = begun or {"role": "assistant", "content": ""}
    for form in _forms([begun | {"content": begun["content"] + MARK}]):
        try:
            head, mark, _ = _render(tokenizer, [*prompt, *form], tools, opened=False).rpartition(MARK)
        except DataError:
            continue
        if mark:
            return head
    return ""


def _start(tokenizer: Any, prompt: Sequence[Message], tools: Any, whole: str, begun: Message | None) -> int:
    """Where what is learned begins in the whole conversation."""
    opened = "" if begun else _render(tokenizer, prompt, tools, opened=True)
    if opened and whole.startswith(opened):
        return len(opened)
    header = _header(tokenizer, prompt, tools, begun)
    if header and whole.startswith(header):
        return len(header)
    raise DataError(
        "the chat template writes the prompt differently when the assistant's turn follows it, so where that turn "
        "begins cannot be told: write the row as prompt and completion"
    )


def _is_shown(content: str, before: str, learned: str) -> bool:
    """Whether the answer's content is learned, white space apart, or begins in what opens its turn (`<think>`)."""
    content, before = _squeezed(content), _squeezed(before)
    return content in before[max(0, len(before) - len(content)) :] + _squeezed(learned)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _parts(message: Message) -> str:
    return ", ".join(name for name in message if name != "role" and message[name])
