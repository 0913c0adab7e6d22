"""Parts made on this machine: by this process, or by several that each hold the model."""

import functools
import os
import pickle
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from weighted_mtp.engine.parts import Made, Make, Part, Row, Work, as_made
from weighted_mtp.engine.settings import EngineError, EngineSettings
from weighted_mtp.engine.workers import Workers, end_with_parent


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
    cores = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    with Workers(count, _begin, work, cores, threads()) as workers:
        there = [Future[Any]() for _ in range(count)]
        for future in there:
            future.set_result(None)
        yield from as_made(lambda number, part: workers.submit(_make, part.given), there, parts)


def threads() -> int | None:
    """How many threads torch takes here, if it is here: with as many elsewhere, sums round alike."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def set_threads(count: int | None) -> None:
    """Makes torch take so many."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


_opening: list[tuple[Work, int]] = []
"""Of a worker: what it is to open, with how many cores."""


@functools.cache
def _opened() -> Make:
    work, cores = _opening[0]
    return work.open(cores)


def _begin(number: int, work: Work, cores: int, count: int | None) -> None:
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    set_threads(count)
    if (torch := sys.modules.get("torch")) and torch.accelerator.is_available():
        torch.accelerator.set_device_index(number % torch.accelerator.device_count())
    _opening.append((work, cores))
    # What they hold is cleared away. Not before: whoever is ended while it begins would say so in thirty lines.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _make(given: Any) -> list[Row]:
    return list(_opened()(given))
