"""Parts made on this machine: by this process, or by several that each hold the model."""

import ctypes
import functools
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from weighted_mtp.engine.parts import Made, Make, Part, Row, Work, as_made
from weighted_mtp.engine.settings import EngineError, EngineSettings

WORKER_KILLED = "a worker was killed, by a lack of memory perhaps: what is made is kept, and the same command goes on"
Given = TypeVar("Given")
Result = TypeVar("Result")
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def local(settings: EngineSettings, work: Work, parts: Iterable[Part]) -> Made:
    """In this process, lazily; with more workers in as many others, of which the i-th takes the i-th accelerator."""
    if settings.alone:
        make = work.open(None)
        for part in parts:
            yield part, make(part.given)
        return
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise EngineError(f"workers are sent what can be pickled, and {error}: leave workers out") from None
    os.environ.setdefault("TQDM_DISABLE", "1")  # workers' own bars, of loading a model
    count = settings.workers
    context = multiprocessing.get_context("spawn")
    with unheard():  # what cleans up behind the pool starts here
        numbers = context.SimpleQueue()
    for number in range(count):
        numbers.put(number)
    cores = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    pool = ProcessPoolExecutor(count, context, _begin, (work, cores, threads(), numbers))
    with ending(pool):
        there = [Future[Any]() for _ in range(count)]
        for future in there:
            future.set_result(None)
        yield from as_made(lambda number, part: submit(pool, _make, part.given), there, parts)


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that start inside never hear of Ctrl-C or a closed terminal: who begins would say so in thirty lines.

    The parent ends them; a signal that comes to it meanwhile is its at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def submit(pool: ProcessPoolExecutor, work: Callable[[Given], Result], given: Given) -> Future[Result]:
    """Hands work to a pool, one of whose workers may start here."""
    with unheard():
        return pool.submit(work, given)


@contextmanager
def ending(pool: ProcessPoolExecutor, *unasked: type[BaseException]) -> Iterator[None]:
    """Ends a pool behind what is inside, at once where that is stopped or fails; but after these exceptions its workers
    finish what they are at."""
    try:
        yield
    except BrokenProcessPool:  # the pool has ended the others
        raise EngineError(WORKER_KILLED) from None
    except unasked:
        raise
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:  # asked again: with nobody to tell them, they would wait, and Python's end for them
            for child in multiprocessing.active_children():
                child.kill()
            raise


def threads() -> int | None:
    """How many threads torch takes here, if it is here: with as many elsewhere, sums round alike."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def set_threads(count: int | None) -> None:
    """Makes torch take so many."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def end_with_parent() -> None:
    """Makes the kernel end this process when its parent ends, by SIGKILL too."""
    if _libc is not None:
        _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


_opening: list[tuple[Work, int]] = []
"""Of a worker: what it is to open, with how many cores."""


@functools.cache
def _opened() -> Make:
    work, cores = _opening[0]
    return work.open(cores)


def _begin(work: Work, cores: int, count: int | None, numbers: Any) -> None:
    end_with_parent()
    set_threads(count)
    if (torch := sys.modules.get("torch")) and torch.accelerator.is_available():
        torch.accelerator.set_device_index(numbers.get() % torch.accelerator.device_count())
    _opening.append((work, cores))
    # What they hold is cleared away. Not before: whoever is ended while it begins would say so in thirty lines.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _make(given: Any) -> list[Row]:
    return list(_opened()(given))
