"""Answers requests of a scorer's, in forks, which have nothing but a pipe back.

The scorer is the text of a program (its first argument) that defines `load`, `score`, and maybe `prepare` and `make`.
Reads a JSON request a line and writes a JSON reply a line. The first line says what there is, before any request.

A fork is taken to be hostile: it can start no process, write no file, open nothing of the worker's, and has `seconds`
for each answer. An answer that is evaluated (`alone`) has a fork to itself; others share one, and those after an
answer that brings it down get another.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import sys
import time

from weighted_mtp.verifiers.inside.forks import end_forks, fork, lock_down

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

LONGEST_RESULT = 4096
scorer: dict[str, Any] = {"__name__": "scorer", "prepare": lambda job: None}
"""What the scorer's program defines."""


def score_all(jobs: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """{"score": ...}, {"raised": its name} or {"timeout": true} for each job, `alone` or not."""
    results: list[dict[str, Any]] = []
    while len(results) < len(jobs):
        rest = jobs[len(results) :]
        together = itertools.takewhile(lambda job: not job["alone"], rest)
        results += score_apart(rest[:1] if rest[0]["alone"] else list(together), seconds)
    return results


def score_apart(jobs: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """The results of one fork: of all jobs, or of those up to the first one that it did not come back from."""
    for job in jobs:
        with contextlib.suppress(Exception):  # what cannot be loaded raises again in the fork
            scorer["prepare"](job)
    reading, writing = os.pipe()
    limits = {"CPU": int(seconds + 1) * len(jobs), "NPROC": 0, "FSIZE": 0}
    fork(lambda: [os.write(writing, json.dumps(_score(job)).encode() + b"\n") for job in jobs], limits, (writing,))
    os.close(writing)
    try:
        return _results(reading, len(jobs), seconds)
    finally:
        os.close(reading)
        end_forks()


def _score(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"score": float(scorer["score"](job))}
    except BaseException as error:
        return {"raised": type(error).__name__[:100]}


def _results(pipe: int, count: int, seconds: float) -> list[dict[str, Any]]:
    """One line a result, each within `seconds` of the one before; the first that is missing says why, the last."""
    results: list[dict[str, Any]] = []
    text, deadline = b"", time.monotonic() + seconds
    while len(results) < count:
        line, whole, rest = text.partition(b"\n")
        if whole:
            results.append(_parsed(line))
            text, deadline = rest, time.monotonic() + seconds
            continue
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return [*results, {"timeout": True}]
        part = os.read(pipe, LONGEST_RESULT)
        if not part or len(text) > LONGEST_RESULT:
            return [*results, {"raised": "no result"}]
        text += part
    return results


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        result = json.loads(line)
    except ValueError:
        result = None
    return result if isinstance(result, dict) else {"raised": "no result"}


def answer_requests(requests: TextIO, replies: TextIO) -> None:
    """One reply a request, until there are no more."""

    def reply(content: dict[str, Any]) -> None:
        replies.write(json.dumps(content, default=str) + "\n")  # a Fraction in the metadata becomes text
        replies.flush()

    try:
        reply(scorer["load"]())
    except Exception as error:
        return reply({"trouble": f"{type(error).__name__}: {error}"})
    lock_down()
    jobs: dict[str, Callable[..., dict[str, Any]]] = {
        "score": lambda **what: {"results": score_all(**what)},
        "make": lambda **what: {"items": scorer["make"](**what)},
    }
    for line in requests:
        request = json.loads(line)
        try:
            reply(jobs[request.pop("do")](**request))
        except Exception as error:
            reply({"trouble": f"{type(error).__name__}: {error}"[:500]})


def main() -> None:
    """Takes the standard streams for itself: the library prints while it makes items."""
    sys.path += sys.argv[2:]
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    exec(compile(sys.argv[1], "<scorer>", "exec", dont_inherit=True), scorer)
    answer_requests(requests, replies)


if __name__ == "__main__":
    main()
