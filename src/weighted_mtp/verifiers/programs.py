"""What verifiers of programs share: the candidate in a fresh sandbox, the tests in a fork of a kept process."""

import hashlib
import marshal
import os
import re
import select
import subprocess
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, ClassVar, cast

from weighted_mtp.verifiers.base import (
    VERDICTS,
    Judgement,
    Verdict,
    Verifier,
    VerifierError,
    available_cores,
    check_timeout,
    in_order,
)
from weighted_mtp.verifiers.inside import source_of
from weighted_mtp.verifiers.kept_process import KeptProcess
from weighted_mtp.verifiers.packages import installed
from weighted_mtp.verifiers.sandbox import Limits, Sandbox, kill

_EVER = 30 * 24 * 3600
_MOST_ANSWER = 1 << 12
_TOLD = re.compile(rf"({'|'.join(VERDICTS)}),(|0\.[0-9]+|1\.0|[0-9.]+e-[0-9]+),([ -~]*)\n".encode())
_GRACE_SECONDS = 0.25  # in which the tests' process tells what it has counted


class Programs(Verifier):
    """Rows at a time in threads, each with a kept process of its own for the tests; `check` is left to write.

    `timeout` is in seconds by the wall clock, starting included; `workers` rows at a time, None: one a core; `seed` of
    what programs draw with `random`, and of the order of their sets of texts; `allow`: distributions that can be
    imported, with what they need, of `environment` (a folder; None: this Python's own). VerifierError: a timeout that
    is not positive, a distribution that is not installed, or no sandbox to be had."""

    tests: ClassVar[tuple[str, ...]]
    """The columns that decide, with the completion."""
    candidate: ClassVar[tuple[str, tuple[str, ...]]]
    """The program of `inside` that runs the completion, and the modules that it imports."""

    def __init__(
        self,
        timeout: float = 5.0,
        workers: int | None = None,
        seed: int = 0,
        allow: str | None = None,
        environment: str | None = None,
    ) -> None:
        if environment is not None and allow is None:
            raise VerifierError(f"environment is {environment}, and nothing of it is allowed: name it with allow")
        self.timeout, self.allow, self.environment, self.seed = check_timeout(timeout), allow, environment, seed
        self.workers = workers or available_cores()
        shown = () if allow is None else installed(allow.split(","), environment)
        self._sandbox = Sandbox(Limits(cpu_seconds=int(timeout) + 1), packages=shown, hash_seed=seed)
        self._kept_sandbox = Sandbox(Limits(memory=1 << 30, cpu_seconds=_EVER), packages=shown, hash_seed=seed)
        modules = [path.stem for path in shown if not path.name.endswith((".libs", "-info"))]
        self._kept_arguments = [",".join(modules)]
        self._thread, self._lock = threading.local(), threading.Lock()
        self._references: dict[bytes, Future[Judgement]] = {}

    def answered(self, row: Mapping[str, Any]) -> dict[str, Any] | Judgement:
        """A completion without an answer passes no test."""
        found = super().answered(row)
        return found._replace(reward=0.0) if isinstance(found, Judgement) and found.verdict == "fail" else found

    def check(self, row: Mapping[str, Any]) -> Judgement:
        """The verdict on one row; an `error` where the row has a reference, and that does not pass."""
        if not isinstance(row.get("canonical_solution"), str | None):
            return Judgement("error", reason="canonical_solution is no text")
        found = [self._reference(one) for one in self._with_reference(row)]
        verdicts = {one.verdict for one in found}
        if not found or "pass" in verdicts:
            return self._check(row)
        return (
            found[0] if verdicts == {"error"} else Judgement("error", reason="the reference does not pass its own test")
        )

    @abstractmethod
    def _check(self, row: Mapping[str, Any]) -> Judgement: ...

    def _with_reference(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The row with its reference as the completion, in each way that this can be read."""
        if isinstance(reference := row.get("canonical_solution"), str):
            yield {**row, "completion": reference}

    def _reference(self, row: Mapping[str, Any]) -> Judgement:
        """What is found on a row's reference, found once for all rows that have the same test."""
        given = repr([row.get(name) for name in ("canonical_solution", *self.tests)])
        key = hashlib.sha256(given.encode(errors="surrogatepass")).digest()
        with self._lock:
            is_new = key not in self._references
            found = self._references.setdefault(key, Future())
        if is_new:
            try:
                found.set_result(self._check(row))
            except BaseException as error:
                found.set_exception(error)
        return found.result()

    def judge_all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Judgement]:
        """Judgements in order, `workers` rows at a time, a few rows ahead of who reads them."""

        def judge(row: Mapping[str, Any]) -> Judgement:
            self._thread.starts_ahead = True
            return self.judge(row)

        with ThreadPoolExecutor(self.workers) as pool:
            yield from in_order(pool, judge, rows, most_ahead=4 * self.workers)

    def _run(self, job: dict[str, Any], seconds: float) -> Judgement:
        """Runs the job's tests against a fresh candidate; where more rows follow, the next one starts meanwhile."""
        own = self._thread.__dict__
        kept = own.setdefault("kept", KeptProcess(self._kept_sandbox, self._kept_arguments))
        candidate = own.pop("ahead", None) or _Candidate(self._sandbox, *self.candidate, self.seed)
        deadline = time.monotonic() + seconds + _GRACE_SECONDS
        with ExitStack() as cleanup:
            cleanup.callback(candidate.end)
            reading, writing = os.pipe()
            cleanup.callback(os.close, reading)
            with os.fdopen(writing, "wb"), os.fdopen(os.memfd_create("job"), "w+b") as given:
                marshal.dump(job | {"seconds": seconds, "seed": self.seed}, given)
                given.seek(0)
                kept.begin(*candidate.channels, given.fileno(), writing)
            cleanup.callback(kept.end)
            if "starts_ahead" in own:
                own["ahead"] = _Candidate(self._sandbox, *self.candidate, self.seed)
            return _read_answer(reading, deadline)


class _Candidate:
    """A sandbox that runs a program of `inside`, once: its end ends it, and what asks it has these two channels."""

    def __init__(self, sandbox: Sandbox, program: str, modules: tuple[str, ...], seed: int) -> None:
        requests, replies = os.pipe(), os.pipe()
        self.channels = requests[1], replies[0]
        process = sandbox.start(
            source_of(program),
            [program, str(requests[0]), str(replies[1]), str(seed)],
            modules=modules,
            first="forks" in modules,
            pass_fds=(requests[0], replies[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(requests[0])
        os.close(replies[1])
        self.end = weakref.finalize(self, _end, process, self.channels)


def _end(process: subprocess.Popen[bytes], channels: tuple[int, ...]) -> None:
    kill(process)
    for channel in channels:
        os.close(channel)


def _read_answer(pipe: int, deadline: float) -> Judgement:
    """What the tests' process writes when it is through; where it ends or hangs, what it has said before."""
    text, waiting = b"", select.poll()
    waiting.register(pipe, select.POLLIN)
    while not (last := text.rpartition(b"=")[2]).endswith(b"\n") or b"=" not in text:
        ready = waiting.poll(max(0.0, min(1e9, 1000 * (deadline - time.monotonic()))))
        part = os.read(pipe, _MOST_ANSWER) if ready else b""
        if not part:
            early = text.startswith(b"~fail")
            reason = None if early or not ready else "the test ends its process, or takes too much of the machine"
            return Judgement("fail" if early or ready else "timeout", reason=reason)
        text += part
    told = _TOLD.fullmatch(last)
    if told is None:  # what a test itself wrote to the descriptor
        return Judgement("fail", reason="the test writes where its verdict is told")
    verdict, share, reason = (part.decode() for part in told.groups())
    return Judgement(cast(Verdict, verdict), float(share) if share else None, reason or None)
