"""Verifiers: a program's verdict on a completion. What they find is test-verified, never proven."""

import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any, ClassVar, Literal, TypeVar, get_args

Verdict = Literal["pass", "fail", "timeout", "error"]
"""`pass`: the check accepts the completion, the only verdict whose label is true. `fail`: it does not, or the
completion does not even run. `timeout`: it took too long. `error`: the check itself could not be made (a row without
a test, a test that does not compile), which says nothing about the completion."""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_Job = TypeVar("_Job")
_Found = TypeVar("_Found")


class VerifierError(ValueError):
    """A verifier that cannot work at all: something is not installed, or an option makes no sense."""


class Verifier(ABC):
    """Gives every row a verdict, in order.

    A row is a dict with `completion` and the columns in `requires`. A verdict depends on its row alone.
    """

    requires: ClassVar[tuple[str, ...]] = ("completion",)

    @abstractmethod
    def check(self, row: Mapping[str, Any]) -> Verdict:
        """The verdict on one row; bad rows are an `error`, never an exception."""

    def check_all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Verdict]:
        """Verdicts in the order of the rows; lazy, and a verifier may work on several rows at once."""
        return map(self.check, rows)

    def __str__(self) -> str:
        """What gives the verdicts, with the limit that they depend on."""
        timeout = getattr(self, "timeout", None)
        return type(self).__name__ if timeout is None else f"{type(self).__name__} ({timeout:g} s)"

    @classmethod
    def missing(cls, row: Mapping[str, Any]) -> str | None:
        """The first required column that a row lacks."""
        return next((name for name in cls.requires if row.get(name) is None), None)


def check_timeout(timeout: float) -> float:
    """The timeout itself; a VerifierError unless it is a finite number of seconds above 0."""
    if not 0 < timeout < math.inf:
        raise VerifierError(f"timeout is {timeout}: give a finite number of seconds above 0")
    return timeout


def available_cores() -> int:
    """Those that this process may use, where the system says; all of them elsewhere."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    pool: Executor, work: Callable[[_Job], _Found], jobs: Iterable[_Job], *, most_ahead: int
) -> Iterator[_Found]:
    """What comes of each job, made in the pool, a bounded number of jobs ahead of who reads."""
    waiting: deque[Future[_Found]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > most_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
