"""A chat as the tokenizer's template writes it: what is read, learned and left out, and what ends a turn."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from .bounded import bounded
from .chat_marks import MARK, OWN_CONTENT, Message, check_roles_shown, left_out
from .fields import WEIGHTS, DataError, factor_of, plain_content, text_of, with_arguments_parsed
from .forms import TURNS
from .schema import Row
from .turns import Turns, generated, with_generation_shown


class Written(NamedTuple):
    """One row's text in parts, which together are what the template gives for the whole conversation."""

    texts: tuple[str, ...]
    """Read and learned in turn: the prompt with what opens the assistant's turn, its turn up to and with the template's
    end-of-turn text, what stands before its next turn, ..."""
    asked: Any
    """What the first learned turn answers: a text, or messages."""
    factors: tuple[float, ...] = (1.0,)
    """On the tokens of each learned part."""
    is_chat: bool = False
    """Whether a template wrote it, special tokens among it."""
    ends_itself: bool = False
    """Whether an end-of-turn text ends the last learned part; else EOS has to follow."""
    notes: tuple[str, ...] = ()
    """What the user should know: parts that the template leaves out, ends that were there already."""
    says_completion: bool = True
    """Whether the last learned part is the row's `completion`."""


def opened_chat(tokenizer: Any, messages: Sequence[Message], tools: Any = None) -> str:
    """Messages through the chat template, with the assistant's turn opened: what a model is asked with. An assistant's
    message at the end begins it. DataError: no chat template, or it refuses the messages."""
    before, begun = _begun(messages)
    if begun:
        return _header(tokenizer, _readable(tokenizer, before, tools), tools, begun)
    return _render(tokenizer, _readable(tokenizer, messages, tools), tools, opened=True)


def not_shown(tokenizer: Any, messages: Sequence[Message], tools: Any = None) -> list[str]:
    """Names of the parts of a chat that the template leaves out, each once; none where it cannot be asked. DataError:
    the content of an unusual role, which is another's name then."""
    try:
        gone = left_out(partial(_render, tokenizer, opened=False), _readable(tokenizer, messages, tools), tools)[1]
    except DataError:
        return []
    check_roles_shown(messages, gone)
    return gone


def turn_end(tokenizer: Any) -> str:
    """The text that the chat template writes behind an assistant's content, stripped; empty where that is not known."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}]
    return _around_mark(tokenizer, _forms(chat), None)[1].strip()


def end_tokens(tokenizer: Any, named: int | Sequence[int] | None = None) -> list[int]:
    """Token ids behind which nothing is generated, each once, EOS first; where the tokenizer knows none, those `named`.

    The token with which its chat template ends a turn is one (Gemma's `<end_of_turn>`), and of those that a model's
    generation_config.json names the ones that are no text here: another vocabulary's end may be a word.
    """
    several = [named] if isinstance(named, int) else list(named or [])
    known = known_tokens(tokenizer)
    ends = [tokenizer.eos_token_id, _turn_end_token(tokenizer), *(n for n in several if n in known)]
    return list(dict.fromkeys(token for token in ends if token is not None)) or several


def known_tokens(tokenizer: Any) -> set[int]:
    """Ids that were added to the vocabulary as wholes, special tokens among them: none of them is a piece of text."""
    return {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", ())}


def padding_token(tokenizer: Any) -> int | None:
    """The tokenizer's own, else its end token, which attention masks hide."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def _turn_end_token(tokenizer: Any) -> int | None:
    """The longest added token that the text of the template's end of turn begins with."""
    end = turn_end(tokenizer)
    added = {number: str(token) for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
    found = [number for number, token in added.items() if token and end.startswith(token)]
    return max(found, key=lambda number: len(added[number]), default=None)


def written_chat(tokenizer: Any, row: Row, end: str, turns: str) -> Written:
    """The parts of a row whose prompt is messages; `end` is `turn_end(tokenizer)`, `turns` "all" or "last".

    The whole conversation is rendered once, and cut where each learned turn begins and ends (see `Turns`). DataError:
    no template, or one that refuses the messages, or shows nothing of the assistant's turns."""
    tools = row.get("tools")
    given: list[Message] = list(row.get(TURNS) or [{"role": "assistant", "content": row["completion"]}])
    ended_twice = False
    for i, message in enumerate(given):
        if message["role"] == "assistant" and isinstance(message.get("content"), str) and not message.get("tool_calls"):
            content, ended = without_end(message["content"], end)
            given[i], ended_twice = message | {"content": content}, ended_twice or ended
    prompt, begun = _begun(row["prompt"]) if given[0]["role"] == "assistant" else (row["prompt"], None)
    n = len(prompt)
    if begun:
        given[0] = given[0] | {"content": begun["content"] + plain_content(given[0])}
    messages = _readable(tokenizer, [*prompt, *given], tools)
    answers = [i for i in range(n, len(messages)) if messages[i]["role"] == "assistant"]
    learned = [i for i in (answers if turns == "all" else answers[-1:]) if factor_of(messages[i]) > 0]
    if not learned:
        raise DataError("none of its turns is learned, by their weight or train: leave the row out")
    whole = _render(tokenizer, messages, tools, opened=False)
    ends = tuple(str(t) for t in {*tokenizer.all_special_tokens, *_special_tokens(tokenizer)})
    found = Turns(
        lambda some, opened: _render(tokenizer, some, tools, opened), messages, whole, end, ends,
        _marked_as_generated(tokenizer, messages, tools, whole),
    )  # fmt: skip
    places = {
        i: found.stretch(i, _begun_at(tokenizer, prompt, tools, whole, begun) if i == n else None) for i in learned
    }
    shown = [i for i, (start, stop) in places.items() if whole[start:stop].strip() not in ("", end)]
    if not shown:
        message = messages[learned[-1]]
        parts = ", ".join(name for name in message if name not in ("role", *WEIGHTS) and message[name])
        raise DataError(f"the chat template shows nothing of the assistant's turn ({parts})")
    texts, at = [], 0
    for start, stop in (places[i] for i in shown):
        texts += [whole[at:start], whole[start:stop]]
        at = stop
    gone = not_shown(tokenizer, messages, tools)
    if OWN_CONTENT not in gone and not all(
        _is_shown(plain_content(messages[i]), whole[: places[i][0]], whole[slice(*places[i])]) for i in learned
    ):
        gone = [*gone, OWN_CONTENT]  # it depends on what the content says
    notes = [f"the chat template leaves out {part}" for part in gone]
    if "strftime_now" in str(tokenizer.chat_template):
        notes.append("the chat template writes today's date, so that the same rows read otherwise tomorrow")
    notes += [
        f"`{name}` of a message that is not the assistant's to learn is not read"
        for name in WEIGHTS
        if any(message.get(name) for i, message in enumerate(messages) if i not in answers)
    ]
    if ended_twice:
        notes.append(f"the completion's text ends with {end!r} already, which the template writes: it is learned once")
    return Written(
        (*texts, *([whole[at:]] if whole[at:].strip() else [])),
        [*prompt, *given][: shown[0]] if shown[0] > n else row["prompt"],
        tuple(factor_of(messages[i]) for i in shown),
        is_chat=True,
        ends_itself=found.is_ended(texts[-1]) or bool(whole[at:].strip()),
        notes=tuple(notes),
        says_completion=shown[-1] == answers[-1],
    )


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


def _render(tokenizer: Any, messages: Sequence[Message], tools: Any, opened: bool, **options: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "rows with messages need a tokenizer with a chat template, and this one has none: set "
            "tokenizer.chat_template, or write the rows as prompt and completion"
        )
    try:
        with bounded(str(options.get("chat_template") or tokenizer.chat_template)):
            text = tokenizer.apply_chat_template(
                list(messages), tools=tools or None, tokenize=False, add_generation_prompt=opened, **options
            )
        return text_of({"the chat template's text": text}, "the chat template's text")
    except DataError:
        raise
    except Exception as error:  # a template is a stranger's program, and raises whatever Python raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        roles = ", ".join(str(message["role"]) for message in messages)
        raise DataError(f"the chat template refuses these messages (roles {roles}): {reason[0]}") from None


def _readable(tokenizer: Any, messages: Sequence[Message], tools: Any) -> list[Message]:
    """The messages with arguments of calls as objects, or in another form where the template shows more of that: one
    that does not take content of a kind, or arguments as objects, raises, shows nothing, or prints as Python does."""
    parsed = with_arguments_parsed(messages)
    found: dict[int, list[Message]] = {}
    for form in chain(_forms(parsed), _forms(messages) if parsed != messages else ()):
        try:
            text, gone = left_out(partial(_render, tokenizer, opened=False), form, tools)
        except DataError:
            continue
        faults = sum(what == OWN_CONTENT or what.startswith(("the content", "the arguments")) for what in gone)
        faults += text.count("{'")  # all that is the user's is marked, so that Python's form of an object is left
        if any(message.get("content") is None for message in messages):
            faults += text.count("None")
        if faults == 0:
            return form
        found.setdefault(faults, form)
    return found[min(found)] if found else list(messages)


def _forms(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they are, with content as text, and with content as a list of parts."""
    yield list(messages)
    plain = [message | {"content": plain_content(message)} for message in messages]
    if any(old.get("content") != new["content"] for old, new in zip(messages, plain, strict=True)):
        yield plain
    yield [
        message | {"content": [{"type": "text", "text": message["content"]}]} if message["content"] else message
        for message in plain
    ]


def _around_mark(tokenizer: Any, chats: Iterable[Sequence[Message]], tools: Any) -> tuple[str, str]:
    """What the template writes before and behind the mark, in the first of these chats whose mark it shows."""
    for chat in chats:
        try:
            head, mark, end = _render(tokenizer, chat, tools, opened=False).rpartition(MARK)
        except DataError:
            continue
        if mark:
            return head, end
    return "", ""


def _begun(prompt: Sequence[Message]) -> tuple[Sequence[Message], Message | None]:
    """The prompt without the turn that its last message begins, and that message; None where that begins none."""
    last = prompt[-1] if prompt else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        return prompt, None
    return prompt[:-1], last | {"content": plain_content(last)}


def _header(tokenizer: Any, prompt: Sequence[Message], tools: Any, begun: Message) -> str:
    """What stands before what follows on the beginning of a turn; empty if not known."""
    forms = _forms([begun | {"content": begun["content"] + MARK}])
    return _around_mark(tokenizer, ([*prompt, *form] for form in forms), tools)[0]


def _begun_at(tokenizer: Any, prompt: Sequence[Message], tools: Any, whole: str, begun: Message | None) -> int | None:
    """Where what goes on from the beginning of a turn is learned from; None where no turn was begun."""
    if not begun:
        return None
    header = _header(tokenizer, prompt, tools, begun)
    if header and whole.startswith(header):
        return len(header)
    raise DataError(
        "the chat template writes the prompt differently when the assistant's turn follows it, so where that turn "
        "begins cannot be told: write the row as prompt and completion"
    )


def _marked_as_generated(tokenizer: Any, messages: Sequence[Message], tools: Any, whole: str) -> list[tuple[int, int]]:
    """What the template itself marks as the assistant's (`{% generation %}`), if it does."""
    shown = with_generation_shown(tokenizer.get_chat_template(tools=tools or None))
    return generated(_render(tokenizer, messages, tools, False, chat_template=shown), whole) if shown else []


def _special_tokens(tokenizer: Any) -> list[Any]:
    return [token for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special]


def _is_shown(content: str, before: str, learned: str) -> bool:
    """Whether the answer's content is learned, white space apart, or begins in what opens its turn (`<think>`)."""
    content, before, learned = ("".join(text.split()) for text in (content, before, learned))
    return content in before[max(0, len(before) - len(content)) :] + learned
