"""Many short trainings on several cores: each a job in a worker process, after the jobs that it needs."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from weighted_mtp.engine.workers import Workers, end_with_parent
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.verifiers.base import available_cores

MOST_WORKERS = 8
"""A worker takes up to some gigabytes, and a machine may have more cores than memory for them."""


def workers(asked: int | None) -> int:
    """How many processes work at a time: as many as were asked for, else one a core, at most `MOST_WORKERS`."""
    return asked or min(available_cores(), MOST_WORKERS)


class PoolJob(Protocol):
    """What a worker is handed."""

    def needs(self, other: Self) -> bool:
        """Whether the other job must be finished first."""
        ...


J = TypeVar("J", bound=PoolJob)
R = TypeVar("R")


def run_jobs(
    jobs: Sequence[J], workers: int, work: Callable[[J], R], prepare: Callable[[J], None] | None = None
) -> Iterator[tuple[J, R]]:
    """Runs the jobs, and gives each with its result when it is there.

    When one fails or all are stopped, none begins any more.

    Args:
        jobs: in the order in which they should begin; a job waits for those it needs.
        workers: processes; each computes on one thread.
        work: what a worker does with a job; a function of a module.
        prepare: called here before a job is handed out.

    Raises:
        Exception: what a job raised; those that others are at work on are finished first.
        EngineError: a worker was killed.
        KeyboardInterrupt: what stops this process, which stops the workers; a training saves where it is.
    """
    waiting, running = list(jobs), dict[Future[R], J]()
    with _without_bars(), Workers(workers, _start_worker, unasked=(Exception,)) as pool:
        while waiting or running:
            for job in _ready(waiting, list(running.values()))[: workers - len(running)]:
                if prepare is not None:
                    prepare(job)
                waiting.remove(job)
                running[pool.submit(work, job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def job_progress(console: Console) -> Progress:
    """The one bar of all jobs: what finished last, how many, for how long."""
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _ready(waiting: Sequence[J], running: Sequence[J]) -> list[J]:
    unfinished = [*waiting, *running]
    return [job for job in waiting if not any(job.needs(other) for other in unfinished)]


def _start_worker(_: int) -> None:
    """Begins a worker process: one thread, no chatter of libraries, and no life after its parent."""
    import torch  # a command is parsed without it

    torch.set_num_threads(1)
    quiet_libraries()
    end_with_parent(lambda: os._exit(1))  # as a kill would: at a SIGTERM a training would save


@contextmanager
def _without_bars() -> Iterator[None]:
    """While inside, workers that start draw no bars, which would write over each other."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("TQDM_DISABLE", None)  # which another call may have put back
        if before is not None:
            os.environ["TQDM_DISABLE"] = before
