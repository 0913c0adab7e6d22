"""A stranger's program in this process, as chat templates are, within bounds of time and memory."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .fields import DataError

SECONDS = 5
"""Of processor time, for one rendering; templates take milliseconds."""
MORE_MEMORY = 2 * 2**30
"""Bytes of addresses beyond those that the process has."""


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Stops what runs inside after 5 s of processor time, and lets it take 2 GiB more memory.

    In the main thread of Linux, since a signal and the process's limit do it; elsewhere there are no bounds.

    Raises:
        DataError: the time is over.
        MemoryError: more memory was asked for.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        yield
        return
    import resource

    def stop(*_: Any) -> None:
        raise DataError(f"{what} takes more than {SECONDS} s of processor time")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    least = min(x for x in (taken + MORE_MEMORY, soft, hard) if x != resource.RLIM_INFINITY)
    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (least, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)
