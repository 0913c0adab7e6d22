"""Verifiers: a program's verdict on a completion. What they find is test-verified, never proven."""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from traceback import walk_tb
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from weighted_mtp.verifiers.final_answer import THINKING, counted

Verdict = Literal["pass", "fail", "timeout", "error"]
"""`pass`: the check accepts the completion, the only verdict whose label is true. `fail`: it does not, or the
completion does not even run. `timeout`: it took too long. `error`: the check itself could not be made (a row without
a test, a test that does not compile), which says nothing about the completion."""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MOST_SECONDS = 86_400
RAISED = "its check raised "
"""Begins the reason of an error that is an exception of `check`."""
PROBE = "\n    return None\n"
"""A completion that is no answer to anything, and an end to a function."""
_Job = TypeVar("_Job")
_Found = TypeVar("_Found")


class VerifierError(ValueError):
    """A verifier that cannot work at all: something is not installed, or an option makes no sense."""


class Judgement(NamedTuple):
    """A verdict with what else a verifier found."""

    verdict: Verdict
    reward: float | None = None
    """The share of the tests that passed, in [0, 1], where there is more than one bit to tell."""
    reason: str | None = None
    """In a few words, without a value of the row (so that rows can be counted by it), why it is no `pass`."""


class Verifier(ABC):
    """Gives every row a verdict, in order.

    A row is a dict with `completion` and the columns in `requires`. A verdict depends on its row alone. Authors write
    `check`, which sees of a completion only what counts (`final_answer`); all others call `judge` and `judge_all`.
    """

    requires: ClassVar[tuple[str, ...]] = ("completion",)
    needs_end: ClassVar[bool] = False
    """Whether a completion that was cut off (`truncated`) fails unread: half a number is another number."""
    library: ClassVar[str | None] = None
    """The distribution that verdicts rest on, as reasoning-gym: its version is kept beside them."""

    @abstractmethod
    def check(self, row: Mapping[str, Any]) -> Verdict | Judgement:
        """The verdict on one row, whose `completion` is text; bad rows are an `error`, never an exception."""

    def judge(self, row: Mapping[str, Any]) -> Judgement:
        """What is found on a row as it came: text or messages, thinking included. VerifierError: `check` breaks."""
        given, name = self.answered(row), type(self).__name__
        try:
            found = given if isinstance(given, Judgement) else self.check(given)
        except VerifierError:
            raise
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            return Judgement("error", reason=RAISED + _told(error))
        except (Exception, SystemExit) as error:
            raise VerifierError(f"verifier {name} raised {_told(error)}; what was judged before is kept") from error
        judged = found if isinstance(found, Judgement) else Judgement(found)
        if judged.verdict not in VERDICTS or not (judged.reward is None or 0 <= judged.reward <= 1):
            raise VerifierError(
                f"verifier {name} returned {brief(repr(found))}: needed is one of {', '.join(VERDICTS)}, or a "
                "Judgement of one with a reward in [0, 1]"
            )
        return judged

    def answered(self, row: Mapping[str, Any]) -> dict[str, Any] | Judgement:
        """The row with what counts of its completion as text, or the judgement on one where nothing does."""
        if not isinstance(row.get("completion"), str | list):
            return Judgement("error", reason="there is no completion")
        if self.needs_end and row.get("truncated") is True:
            return Judgement("fail", reason="it was cut off before its end")
        text = counted(row)
        if text is None:
            return Judgement("fail", reason="the thinking does not end, or there is no final answer")
        return {**row, "completion": text}

    def judge_all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Judgement]:
        """Judgements in the order of the rows; lazy, and a verifier may work on several rows at once."""
        return map(self.judge, rows)

    def problem_errors(self, problems: Iterable[Mapping[str, Any]]) -> Iterator[str | None]:
        """For each problem, a row without a completion, why none of it could be checked; None: nothing is in the way.
        An `error` does not depend on the completion, so one that nobody would write finds it."""
        rows = [row | {"completion": _behind_thinking(row.get("prompt"), PROBE)} for row in map(dict, problems)]
        for row, (verdict, _, reason) in zip(rows, self.judge_all(rows), strict=True):
            if verdict != "error":
                yield None
            elif (missing := self.missing(row)) is not None:
                yield f"no `{missing}`"
            else:
                read = " or ".join(f"`{name}`" for name in self.requires if name not in ("prompt", "completion"))
                yield brief(reason or "") or f"its {read or 'row'} cannot be read"

    @classmethod
    def missing(cls, row: Mapping[str, Any]) -> str | None:
        """The first required column that a row lacks."""
        return next((name for name in cls.requires if row.get(name) is None), None)


def _told(error: BaseException) -> str:
    """What an exception of `check` is, where it was raised, within the verifier's own file, and its text, shortened."""
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    file, line = next(at for at in reversed(frames) if at[0] == frames[min(1, len(frames) - 1)][0])
    return f"{type(error).__name__} in {Path(file).name}, line {line}: {brief(error)}"


def brief(said: object) -> str:
    """One line of at most 200 characters."""
    line = " ".join(str(said)[:1000].split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def unless_all_raise(found: Iterable[_Found], reason_of: Callable[[_Found], str | None]) -> Iterator[_Found]:
    """What is found, as it comes; VerifierError behind the last where all of it is one exception of `check`."""
    places, reason, count = set[str | None](), "", 0
    for one in found:
        if len(places) < 2:
            reason = str(reason_of(one) or "")
            places.add(reason.partition(": ")[0] if reason.startswith(RAISED) else None)
        count += 1
        yield one
    if len(places) == 1 and None not in places:
        raise VerifierError(
            f"each of {count} rows that were judged is an error: {reason}; mend the verifier, or the columns that it "
            "reads, and judge into another output: rows that were written are kept"
        )


def _behind_thinking(prompt: Any, completion: str) -> str:
    """A completion that ends the thinking that a prompt begins."""
    asked = prompt.rstrip() if isinstance(prompt, str) else ""
    return "".join(end for begin, end in THINKING if asked.endswith(begin)) + completion


def check_timeout(timeout: float) -> float:
    """The timeout itself; a VerifierError unless it is a number of seconds above 0, at most a day."""
    if not 0 < timeout <= MOST_SECONDS:
        raise VerifierError(f"timeout is {timeout}: give a number of seconds above 0, at most {MOST_SECONDS} (a day)")
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
