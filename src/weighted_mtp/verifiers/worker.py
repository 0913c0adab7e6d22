"""Long-lived processes in the sandbox that have a library loaded, and verifiers that ask them in batches."""

import importlib.util
import itertools
import json
import os
import select
import site
import subprocess
import sys
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from weighted_mtp.verifiers.base import (
    Judgement,
    Verdict,
    Verifier,
    VerifierError,
    available_cores,
    check_timeout,
    in_order,
)
from weighted_mtp.verifiers.inside import source_of
from weighted_mtp.verifiers.sandbox import Limits, Sandbox, kill

_START_SECONDS = 120.0
_MAKE_SECONDS = 600.0
_LOADING_SECONDS = 60.0  # for a scorer that loads its data; the process itself keeps the time of every answer
_TOGETHER = 16  # rows that one request holds
_LIMITS = Limits(memory=2 << 30, cpu_seconds=30 * 24 * 3600)  # of the process; it limits every answer by itself
_Job = TypeVar("_Job")
_Found = TypeVar("_Found")


class LibraryError(VerifierError):
    """The library could not do what was asked: an item it cannot read, or a process that ended twice."""


class Library:
    """An installed library, and a sandbox in which it can be read; a VerifierError without one of them."""

    def __init__(self, package: str, install: str) -> None:
        self.name, module = package, package.replace("-", "_")
        if importlib.util.find_spec(module) is None:
            raise VerifierError(f"{package} is not installed: pip install {install}")
        folders = [*site.getsitepackages(), site.getusersitepackages()]
        there = [os.path.realpath(folder) for folder in folders if folder in sys.path]  # as they are seen inside
        self.arguments = [source_of(f"{module}_scorer"), *there]
        self.sandbox = Sandbox(_LIMITS, tuple(Path(folder) for folder in self.arguments[1:]))


class LibraryProcess:
    """One process at a time; where it has ended, the next question starts another."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""
        self._described: dict[str, Any] = {}

    def describe(self) -> dict[str, Any]:
        """What the library says of itself; a VerifierError where it cannot be loaded."""
        if self._process is None:
            self._start()
        return self._described

    def ask(self, request: dict[str, Any], seconds: float = _MAKE_SECONDS) -> dict[str, Any]:
        """The reply to a request; a process that ends over it is started again, once. Then it is a LibraryError."""
        for _ in range(2):
            if self._process is None:
                self._start()
            reply = self._exchange(request, time.monotonic() + seconds)
            if reply is None:
                self.close()
            elif "trouble" in reply:
                raise LibraryError(f"{self._library.name}: {reply['trouble']}")
            else:
                return reply
        raise LibraryError(f"{self._library.name}: no reply to `{request['do']}` within {seconds:g} s")

    def close(self) -> None:
        """Ends the process and everything in its sandbox."""
        if self._process is not None:
            process, self._process = self._process, None
            kill(process)
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()

    def _start(self) -> None:
        self._process = self._library.sandbox.start(
            source_of("worker"),
            self._library.arguments,
            modules=("forks",),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._read = b""
        described = self._reply(time.monotonic() + _START_SECONDS)
        if described is None or "trouble" in described:
            self.close()
            reason = described["trouble"] if described else f"it did not start within {_START_SECONDS:g} s"
            raise VerifierError(f"{self._library.name} cannot be loaded in the sandbox: {reason}")
        self._described = described

    def _exchange(self, request: dict[str, Any], deadline: float) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdin is not None
        content = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while content:
                content = content[self._process.stdin.write(content) :]
        except BrokenPipeError:
            return None
        return self._reply(deadline)

    def _reply(self, deadline: float) -> dict[str, Any] | None:
        """The next line; None: the process has ended, or the time is up."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe, waiting = self._process.stdout.fileno(), select.poll()
        waiting.register(pipe, select.POLLIN)
        parts = [self._read]
        while b"\n" not in parts[-1]:
            ready = waiting.poll(max(0.0, 1000 * (deadline - time.monotonic())))
            part = os.read(pipe, 1 << 20) if ready else b""
            if not part:
                return None
            parts.append(part)
        line, _, self._read = b"".join(parts).partition(b"\n")
        return json.loads(line)


class LibraryVerifier(Verifier):
    """Asks a library in the sandbox (its name, and how it is installed), several rows at once, in `workers` processes
    at a time; None: one a core. VerifierError: a timeout that is not positive, or a library that cannot be loaded."""

    def __init__(self, library: tuple[str, str], timeout: float, workers: int | None) -> None:
        self.timeout = check_timeout(timeout)
        self.workers = workers or available_cores()
        self._library = Library(*library)
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(self.workers)  # kept: a sandbox ends with the thread that starts it
        self._processes: list[LibraryProcess] = []
        weakref.finalize(self, _close, self._pool, self._processes)
        self._described = self._pool.submit(lambda: self._process().describe()).result()

    def check(self, row: Mapping[str, Any]) -> Verdict:
        """The verdict on one row."""
        return self.judge(row).verdict

    def judge(self, row: Mapping[str, Any]) -> Judgement:
        """What is found on one row as it came."""
        return next(self.judge_all([row]))

    def judge_all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Judgement]:
        """Judgements in order, made in several processes at a time, some rows ahead of who reads them."""
        return self._in_order(self._judge_some, rows)

    @abstractmethod
    def _judge(self, rows: list[Mapping[str, Any]]) -> list[Judgement]:
        """Judgements on rows whose `completion` is the text that counts; a LibraryError where one spoils the others."""

    def _judge_some(self, rows: list[Mapping[str, Any]]) -> list[Judgement]:
        given = [self.answered(row) for row in rows]
        found = iter(self._judge_apart([row for row in given if not isinstance(row, Judgement)]))
        return [row if isinstance(row, Judgement) else next(found) for row in given]

    def _judge_apart(self, rows: list[Mapping[str, Any]]) -> list[Judgement]:
        """Judgements on some rows at once; where that fails, on each by itself."""
        try:
            return self._judge(rows)
        except LibraryError:
            return (
                [Judgement("error", reason=f"{self._library.name} cannot read it")]
                if len(rows) == 1
                else [self._judge_apart([row])[0] for row in rows]
            )

    def _in_order(self, judge: Callable[[list[_Job]], list[_Found]], jobs: Iterable[_Job]) -> Iterator[_Found]:
        remaining = iter(jobs)
        some = iter(lambda: list(itertools.islice(remaining, _TOGETHER)), [])
        for found in in_order(self._pool, judge, some, most_ahead=2 * self.workers):
            yield from found

    def _process(self) -> LibraryProcess:
        if not hasattr(self._own, "process"):
            self._own.process = LibraryProcess(self._library)
            self._processes.append(self._own.process)
        return self._own.process

    def _score(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """{"score": ...}, {"raised": name of the exception} or {"timeout": true} for each job, in order."""
        if not jobs:
            return []
        waited = self.timeout * len(jobs) + _LOADING_SECONDS
        return self._process().ask({"do": "score", "jobs": jobs, "seconds": self.timeout}, waited)["results"]


def _close(pool: ThreadPoolExecutor, processes: list[LibraryProcess]) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.close()
