"""The two sides of a check: the candidate's process runs the completion, the other one runs the tests.

Only plain builtin data cross, marshalled and checked again on arrival, so that no object of the candidate's can lie
about equality, no exit passes for success, and no frame leads from the candidate to the tests.
"""

from __future__ import annotations

import builtins
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # these, and os instead of posix, would take longer to import than all the rest
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NoReturn

PLAIN = (type(None), bool, int, float, complex, str, bytes)
GROUPS = (list, tuple, set, frozenset)
MOST_BYTES = 16 << 20


class CandidateFailed(BaseException):
    """The candidate broke the rules or is gone; no `except Exception` of a test takes this for an answer."""


class BrokenTest(BaseException):
    """The test asks for what cannot be asked for, so it says nothing about the candidate."""


def is_plain(value: Any) -> bool:
    """Nothing but builtin data, of exactly those types, all the way down."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in PLAIN:
            continue
        if kind is not dict and kind not in GROUPS:
            return False
        if id(item) in seen:
            continue
        seen.add(id(item))
        waiting += [*item.keys(), *item.values()] if kind is dict else item
    return True


def send(channel: int, value: Any) -> None:
    """One message: its length in eight bytes, then the marshalled value."""
    payload = marshal.dumps(value)
    message = memoryview(len(payload).to_bytes(8, "big") + payload)
    while message:
        message = message[posix.write(channel, message) :]


def receive(channel: int) -> Any:
    """The next message. EOFError: the other side is gone, or the message is too long or not readable."""
    length = int.from_bytes(_read(channel, 8), "big")
    if length > MOST_BYTES:
        raise EOFError
    try:
        return marshal.loads(_read(channel, length))
    except (ValueError, TypeError):
        raise EOFError from None


def _read(channel: int, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = posix.read(channel, min(length - len(parts), 1 << 16))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def new_module(name: str) -> dict[str, Any]:
    """The names of a module that can be looked up, as dataclasses do."""
    sys.modules[name] = type(sys)(name)
    return sys.modules[name].__dict__


def silence() -> None:
    """What the program prints goes nowhere, and what it reads is empty."""
    null = posix.open("/dev/null", posix.O_RDWR)
    for standard in (0, 1, 2):
        posix.dup2(null, standard)


def seed_random(*programs: str) -> None:
    """Seeds what a program draws, if it names `random`, which takes long to import."""
    if any("random" in program for program in programs):
        import random

        random.seed(int(sys.argv[4]))


# the candidate's process


def serve_candidate(requests: int, replies: int) -> NoReturn:
    """Defines the program, then answers calls of its entry point until there are no more."""
    source, entry_point = receive(requests)
    names = new_module("candidate")
    silence()
    seed_random(source)

    def load() -> None:
        exec(compile(source, "<candidate>", "exec", dont_inherit=True), names)
        if not callable(names.get(entry_point)):
            raise NameError(entry_point)

    def call() -> Any:
        arguments, named = request
        return names[entry_point](*arguments, **named)

    send(replies, _answer(load))
    while True:
        request = receive(requests)
        send(replies, _answer(call))


def _answer(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        value = call()
        return ("value", value) if is_plain(value) else ("opaque", None)
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
        return ("raised", names[0])
    except BaseException:
        return ("stopped", None)


# the tests' process


class Candidate:
    """Stands in for the entry point in the tests' process."""

    def __init__(self, requests: int, replies: int, source: str, entry_point: str) -> None:
        self._channels = requests, replies
        self.called, self.failed = False, False
        self.__name__ = entry_point
        self._ask((source, entry_point))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the candidate returns, or an exception of the builtin kind that it raises."""
        self.called = True
        if not is_plain((arguments, named)):
            raise BrokenTest
        return self._ask((arguments, named))

    def _ask(self, question: Any) -> Any:
        try:
            send(self._channels[0], question)
            kind, value = receive(self._channels[1])
        except (EOFError, OSError, ValueError, TypeError):
            kind, value = "gone", None
        if kind == "value" and is_plain(value):
            return value
        if kind == "raised" and type(value) is str:
            raise _named_error(value)
        self.failed = True
        raise CandidateFailed


def _named_error(name: str) -> Exception:
    """A builtin exception by its name, whatever its constructor asks for."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        return kind.__new__(kind)
    return RuntimeError(name)


def judge(job: dict[str, str], requests: int, replies: int) -> str:
    """The verdict on a completion: pass, fail or error."""
    names, helpers = new_module("tests"), _helpers(job["prompt"])
    try:
        tests = compile(job["test"], "<tests>", "exec", dont_inherit=True)
    except BaseException:
        return "error"
    try:
        candidate = Candidate(requests, replies, job["program"], job["entry_point"])
    except BaseException:
        return "fail" if _runs(helpers, names) else "error"
    if _may_need(tests, helpers, job["entry_point"]) and not _runs(helpers, names):
        return "error"
    names[job["entry_point"]] = candidate
    try:
        exec(tests, names)
        if "check" in names:
            names["check"](candidate)
        elif not candidate.called:
            return "error"
    except BrokenTest:
        return "error"
    except AssertionError:
        return "fail"
    except BaseException:
        return "fail" if candidate.called else "error"
    return "fail" if candidate.failed else "pass"


def _runs(code: CodeType, names: dict[str, Any]) -> bool:
    try:
        exec(code, names)
    except BaseException:
        return False
    return True


def _may_need(tests: CodeType, helpers: CodeType, entry_point: str) -> bool:
    """Whether the tests name anything of the prompt but the entry point: its imports can take longer than a check."""
    if ("*",) in helpers.co_consts:  # from ... import *
        return True
    offered = {*helpers.co_names, "eval", "exec", "globals"} - {entry_point}
    return not offered.isdisjoint(_names(tests))


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if type(constant) is type(code)]
    return set(code.co_names).union(*inner)


def _helpers(prompt: str) -> CodeType:
    """The most lines of the prompt that are a program: its imports and helpers, without the unfinished function."""
    lines = prompt.splitlines(keepends=True)
    for count in range(len(lines), 0, -1):
        try:
            return compile("".join(lines[:count]), "<prompt>", "exec", dont_inherit=True)
        except SyntaxError:
            continue
    return compile("", "<prompt>", "exec", dont_inherit=True)


def run_tests(requests: int, replies: int) -> None:
    """Reads a job from standard input and writes its verdict to standard output."""
    job = marshal.loads(sys.stdin.buffer.read())
    answer = posix.dup(1)
    silence()
    seed_random(job["prompt"], job["test"])
    posix.write(answer, judge(job, requests, replies).encode() + b"\n")


def main() -> None:
    """`candidate` or `tests`, descriptors to read requests from, or write them to, and of the replies, and the seed."""
    role, requests, replies = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if role == "candidate":
        serve_candidate(requests, replies)
    else:
        run_tests(requests, replies)
    posix._exit(0)


if __name__ == "__main__":
    main()
