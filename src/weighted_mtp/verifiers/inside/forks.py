"""Forks for code that is taken to be hostile, and what they must not leave to those after them."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NOT_DUMPABLE = (4, 0)
LAST_DESCRIPTOR = 64
SHARED_MEMORY = tuple(f"/proc/sysvipc/{kind}" for kind in ("shm", "sem", "msg"))
SOCKETS = ("/proc/net/sockstat", "/proc/net/sockstat6")


def lock_down() -> None:
    """No fork may read this process, and none may end it where it is the first of its sandbox: it takes no signal."""
    import ctypes  # which takes long, and is needed by none that only ends forks

    ctypes.CDLL(None).prctl(*NOT_DUMPABLE)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.utime("/tmp", (0, 0))
    gc.freeze()  # forks share what is there


def fork(work: Callable[[], object], limits: dict[str, int], keep: tuple[int, ...]) -> None:
    """Does `work` in a process of its own under further limits, with the standard descriptors and those in `keep`."""
    if os.fork():
        return
    try:
        for descriptor in {*range(3, LAST_DESCRIPTOR)} - {*keep}:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        os.setsid()
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
        work()
    finally:
        os._exit(0)


def end_forks() -> None:
    """Ends all other processes of the sandbox, daemons included, and waits until they are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    os.utime("/tmp", (0, 0))


def state() -> tuple[Any, ...]:
    """All that a fork could change for those after it."""
    folder = os.stat("/tmp")
    sockets = [line for path in SOCKETS for line in _lines(path)]
    keys = [line.split()[2:] for line in _lines("/proc/key-users")]
    return (
        *(sorted(os.listdir("/tmp")), os.listxattr("/tmp"), folder.st_mode, folder.st_mtime, keys),
        *(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0)),
        [resource.getrlimit(limit) for limit in range(16)],
        [_lines(path) for path in SHARED_MEMORY],
        [count for line in sockets for name, count in pairwise(line.split()) if name in ("inuse", "tw")],
    )


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []
