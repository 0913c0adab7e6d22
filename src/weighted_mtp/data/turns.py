"""Where in a rendered conversation the assistant's turns begin and end. A template may write a message differently by
what follows it: borders are then found from the message before, whose marks, and what is written behind the last of
them, are the same wherever it stands."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .chat_marks import END, MARK, Marks, Message
from .fields import DataError

_GENERATION, _ENDGENERATION = (
    re.compile(rf"\{{%([-+]?)\s*{name}\s*([-+]?)%\}}") for name in ("generation", "endgeneration")
)
BEGIN, STOP = "\ue002", "\ue003"  # as MARK


@dataclass(frozen=True)
class Turns:
    """The assistant's turns in the text of a whole conversation."""

    render: Callable[[Sequence[Message], bool], str]
    """The chat template with its tools: messages, and whether the assistant's turn is opened behind them."""
    messages: Sequence[Message]
    whole: str
    """`render(messages, False)`."""
    end: str
    """What the template writes behind the last answer."""
    specials: tuple[str, ...] = ()
    """Special tokens, of which any may end a turn."""
    marked: Sequence[tuple[int, int]] = ()
    """What the template itself marks as generated."""

    def stretch(self, i: int, start: int | None = None) -> tuple[int, int]:
        """[start, end) of what the assistant writes in message i, its end of turn included."""
        answers = [k for k, message in enumerate(self.messages) if message["role"] == "assistant"]
        if len(self.marked) == len(answers):
            first, end = self.marked[answers.index(i)]
            behind = self.whole[end:].lstrip()
            end = len(self.whole) - len(behind) + len(self.end) if behind.startswith(self.end) else end
        else:
            first = self._start(i) if start is None else start
            end = len(self.whole) if i == len(self.messages) - 1 else self._end(i)
        start = max(first, start or 0)
        kept = self.whole[start:end].rstrip()
        return start, start + len(kept) if self.is_ended(kept) else end  # white space behind an end is the template's

    def is_ended(self, text: str) -> bool:
        """Whether a text ends as a turn does."""
        return text.endswith(tuple(filter(None, (self.end, *self.specials))))

    def _start(self, i: int) -> int:
        opened = self.render(self.messages[:i], True)
        return len(opened) if self.whole.startswith(opened) else self._behind(i - 1, opens=True)

    def _end(self, i: int) -> int:
        closed = self.render(self.messages[: i + 1], False)
        return len(closed) if self.whole.startswith(closed) else self._behind(i, opens=False)

    def _behind(self, i: int, opens: bool) -> int:
        """The place where message i ends, or where the turn behind it begins."""
        marked = [*self.messages[:i], Marks(names=False).message(self.messages[i], "."), *self.messages[i + 1 :]]
        alone = self.render(marked[: i + 1], False)
        mark = alone[alone.rfind(MARK) : alone.rfind(END) + 1]
        n = alone.count(mark) if mark else 0  # later messages may show it again

        def tail(text: str) -> str:
            return text.split(mark, n)[-1] if n and text.count(mark) >= n else "\0"

        rest, closed = tail(self.render(marked, False)), tail(alone)
        for behind in self._openings(marked, i, closed, rest, tail) if opens else self._closings(closed, rest):
            if rest.startswith(behind) and self.whole.endswith(rest[len(behind) :]):
                return len(self.whole) - len(rest) + len(behind)
        raise DataError(
            f"the chat template writes this conversation so that where its message {i + 1 + opens} "
            f"{'begins' if opens else 'ends'} cannot be told: set turns: last, or write the row as prompt and "
            "completion"
        )

    def _openings(
        self, marked: Sequence[Message], i: int, closed: str, rest: str, tail: Callable[[str], str]
    ) -> Iterator[str]:
        """What opens the turn behind message i: all that one is asked with, or what one that is over has of it."""
        before, content = marked[: i + 1], self.messages[i + 1].get("content")
        yield (opened := tail(self.render(before, True)))
        bare = {"role": "assistant", "content": [{"type": "text", "text": MARK}] if isinstance(content, list) else MARK}
        question = [message for message in self.messages if message["role"] == "user"][:1]
        for behind in ([], question):
            shared = _shared(opened, tail(self.render([*before, bare, *behind], False)))
            if shared.startswith(closed):
                yield shared
        yield closed
        shared = _shared(closed, rest)  # what closes a list of results may not be written where more follows
        if tags := shared[: shared.rfind(">") + 1]:
            yield tags

    def _closings(self, closed: str, rest: str) -> Iterator[str]:
        """What ends message i: as it ends a conversation, or with the first special token."""
        yield from (closed, closed.rstrip())
        found = [rest.index(token) + len(token) for token in self.specials if token in rest]
        yield from ([rest[: min(found)]] if found else [])


def _shared(a: str, b: str) -> str:
    """What two texts begin with."""
    return a[: next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))]


def with_generation_shown(template: str) -> str | None:
    """The template with marks where its `{% generation %}` blocks begin and end; None where it has none.

    White space is trimmed as around the blocks that they replace.
    """
    shown, n = _GENERATION.subn(rf'{{%\1 if true %}}{{{{ "{BEGIN}" }}}}{{% if true \2%}}', template)
    return _ENDGENERATION.sub(rf'{{%\1 endif %}}{{{{ "{STOP}" }}}}{{% endif \2%}}', shown) if n else None


def generated(shown: str, whole: str) -> list[tuple[int, int]]:
    """The stretches between those marks, in the text without them; none where that is not the whole text.

    Examples:
        >>> generated(f"<user>hi<model>{BEGIN}yo{STOP}<user>", "<user>hi<model>yo<user>")
        [(15, 17)]
    """
    parts = re.split(f"[{BEGIN}{STOP}]", shown)
    ends = list(accumulate(map(len, parts)))
    return list(zip(ends[:-1:2], ends[1::2], strict=False)) if "".join(parts) == whole else []
