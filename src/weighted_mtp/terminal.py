"""Between a command and the terminal: signals that stop it, and lines without what would steer the terminal."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Stopped(KeyboardInterrupt):
    """A signal, `number`, stopped a command."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


def status_of(stop: KeyboardInterrupt) -> int:
    """The exit status as shells have it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + getattr(stop, "number", signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[None]:
    """While inside, SIGTERM and SIGHUP raise `Stopped`, so that there is a last line; one that is ignored stays so."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked child ends as it would without us
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGHUP:
            leave_closed_terminal()
        raise Stopped(number)

    taken: list[int] = []
    if threading.current_thread() is threading.main_thread():
        taken += [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def leave_closed_terminal() -> None:
    """Has nowhere take what a terminal that is gone would refuse: the first line would end the run, unsaved."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def printable(text: str) -> str:
    r"""Text with control characters but tabs and line ends, changes of direction and lone surrogates written out.

    >>> print(printable("a\x1b[31mb\nc"))
    a\x1b[31mb
    c
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(*lines: str, error: bool = False) -> None:
    """Prints lines that may hold what others wrote."""
    for line in lines:
        print(printable(line), file=sys.stderr if error else sys.stdout, flush=True)
