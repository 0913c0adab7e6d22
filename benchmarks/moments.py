"""The moment at which a process is killed: after some seconds, or at one of its file operations."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLS_OF_A_RUN = 4
"""At most, before it is left to end."""
FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
At = tuple[bool, float]
"""Whether it is in seconds, and how many of them, or the number of a file operation."""


@dataclass
class Outcome:
    """Of one arm on so many processes."""

    kills: int = 0
    in_saves: int = 0
    """Kills that left something half written, or half removed."""
    runs: int = 0
    equal: int = 0
    """Runs whose final weights, or files, are bitwise those of the uninterrupted one."""
    logged_once: int | None = None
    """Of trainings: those whose store has the uninterrupted one's metrics, each once per step, in one run, FINISHED."""


class Moment:
    """Counts seconds and file operations from `begin` on, and kills when its moment has come."""

    def __init__(self, at: At | None, kill: Callable[[], None]) -> None:
        self._at, self._kill, self._operations, self._began = at, kill, 0, time.perf_counter()

    def begin(self) -> None:
        self._began = time.perf_counter()
        sys.addaudithook(self._count)
        if self._at is not None and self._at[0]:
            timer = threading.Timer(self._at[1], self._kill)
            timer.daemon = True
            timer.start()

    def spent(self) -> tuple[float, int]:
        """Seconds, and file operations."""
        return time.perf_counter() - self._began, self._operations

    def _count(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_OPERATIONS:
            self._operations += 1
            if self._at == (False, self._operations):
                self._kill()


def die() -> None:
    """Kills this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that a process has begun and that are there."""
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]


def below(pid: int) -> list[int]:
    """Those, and the ones that they have begun."""
    return [one for child in children(pid) for one in (child, *below(child))]
