"""A stranger's program in this process, as chat templates are, within bounds of time and memory."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from .fields import DataError

SECONDS = 5
"""Of processor time, for one rendering; templates take milliseconds."""
MORE_MEMORY = 2 * 2**30
"""Bytes of addresses beyond those that the process has."""


_over: dict[str, str] = {}
"""Templates that were stopped, and why: they are not tried again."""


class _Over(Exception):
    """The time is over."""


@contextmanager
def bounded(template: str) -> Iterator[None]:
    """Stops a template that renders for more than 5 s of processor time or takes more than 2 GiB, then and ever after,
    by DataError: in the main thread of Linux, since a signal and the process's limit do it. Powers, which no signal
    interrupts and no chat needs, are refused everywhere."""
    if template not in _over and _raises_to_powers(template):
        _over[template] = "raises to powers, which is not bounded: leave `**` out of it"
    if template in _over:
        raise DataError(f"the chat template {_over[template]}")
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        yield
        return
    import resource

    def stop(*_: Any) -> None:
        raise _Over

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    least = min(x for x in (taken + MORE_MEMORY, soft, hard) if x != resource.RLIM_INFINITY)
    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (least, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    except _Over:
        _over[template] = f"takes more than {SECONDS} s of processor time"
    except MemoryError:
        _over[template] = f"takes more than {MORE_MEMORY / 2**30:g} GiB of memory"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)
    if template in _over:
        raise DataError(f"the chat template {_over[template]}")


@lru_cache(maxsize=8)
def _raises_to_powers(template: str) -> bool:
    """Whether `**` stands between two operands; behind a bracket or comma it hands named arguments on."""
    from jinja2 import Environment, TemplateSyntaxError

    try:
        lexed = [text for _, kind, text in Environment(autoescape=False).lex(template) if kind != "whitespace"]
    except TemplateSyntaxError:  # which whoever renders it will be told
        return False
    return any(text == "**" and before not in ("(", ",") for before, text in pairwise(lexed))
