"""Makes items of reasoning-gym and scores answers in forks, which have nothing but a pipe back.

Reads a JSON request a line and writes a JSON reply a line. The first line says what there is, before any request.

A fork is taken to be hostile: it can start no process, write no file, open nothing of the worker's, and has `seconds`
for each answer. An answer that its scorer evaluates has a fork to itself; others share one, and those after an answer
that brings it down get another.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.metadata
import itertools
import json
import os
import random
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TextIO

LONGEST_RESULT = 4096
LAST_DESCRIPTOR = 64
NOT_DUMPABLE = (4, 0)
BOARD_TASKS = ("arc_agi", "rearc")


def library() -> dict[str, Any]:
    """Version and tasks of the installed reasoning-gym; imports it, with all that its scorers need."""
    from reasoning_gym.factory import DATASETS

    tasks = sorted(name for name in DATASETS if name != "composite")  # that one has no items of its own
    return {"version": importlib.metadata.version("reasoning-gym"), "tasks": tasks}


@functools.cache
def scorer(task: str) -> Callable[[str, dict[str, Any]], float]:
    """The task's `score_answer`, with its default configuration."""
    from reasoning_gym.factory import get_score_answer_fn

    return get_score_answer_fn(task)  # type: ignore[return-value]


@functools.lru_cache(maxsize=1)
def dataset(task: str, seed: int, size: int) -> Any:
    """The items of a task, with its default configuration."""
    from reasoning_gym.factory import create_dataset

    return create_dataset(task, seed=seed, size=size)


def make(task: str, seed: int, size: int, first: int, count: int) -> list[dict[str, Any]]:
    """Items `first` to `first + count`; those beyond `size` do not exist."""
    made = []
    for index in range(first, min(first + count, size)):
        random.seed(seed + index)  # some tasks draw from the global generator
        made.append(dataset(task, seed, size)[index])
    return made


def as_made(entry: dict[str, Any]) -> dict[str, Any]:
    """An item that came through JSON, in the form that its scorer compares with: boards are tuples of tuples."""
    metadata = entry["metadata"]
    if metadata["source_dataset"] not in BOARD_TASKS:
        return entry
    return entry | {"metadata": metadata | {"output": tuple(map(tuple, metadata["output"]))}}


def score_all(jobs: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """{"score": ...}, {"raised": its name} or {"timeout": true} for each `answer` to an `entry`, `alone` or not."""
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
            scorer(job["entry"]["metadata"]["source_dataset"])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _score_and_leave(jobs, writing, seconds)
    os.close(writing)
    try:
        return _results(reading, len(jobs), seconds)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _score_and_leave(jobs: list[dict[str, Any]], pipe: int, seconds: float) -> NoReturn:
    try:
        os.closerange(3, pipe)
        os.closerange(pipe + 1, LAST_DESCRIPTOR)
        for limit, most in (("CPU", int(seconds + 1) * len(jobs)), ("NPROC", 0), ("FSIZE", 0)):
            resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (most, most))
        for job in jobs:
            os.write(pipe, json.dumps(_score(**job)).encode() + b"\n")
    finally:
        os._exit(0)


def _score(answer: str, entry: dict[str, Any], alone: bool) -> dict[str, Any]:
    try:
        return {"score": float(scorer(entry["metadata"]["source_dataset"])(answer, as_made(entry)))}
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
        reply(library())
    except Exception as error:
        return reply({"trouble": f"{type(error).__name__}: {error}"})
    gc.freeze()  # forks share what is there
    jobs: dict[str, Callable[..., dict[str, Any]]] = {
        "score": lambda **what: {"results": score_all(**what)},
        "make": lambda **what: {"items": make(**what)},
    }
    for line in requests:
        request = json.loads(line)
        try:
            reply(jobs[request.pop("do")](**request))
        except Exception as error:
            reply({"trouble": f"{type(error).__name__}: {error}"[:500]})


def main() -> None:
    """Takes the standard streams for itself: the library prints while it makes items."""
    sys.path += sys.argv[1:]
    ctypes.CDLL(None).prctl(*NOT_DUMPABLE)  # no fork may look into this process or its descriptors
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    answer_requests(requests, replies)


if __name__ == "__main__":
    main()
