"""Runs the jobs of `wmtp real-code` that are not finished, each in a worker process on one core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from weighted_mtp.experiments.cells import start_worker
from weighted_mtp.experiments.real_code_jobs import Job, run_job


def run_all(jobs: Sequence[Job], workers: int, console: Console) -> None:
    """Runs the jobs that are not finished, each in a worker on one core, under a progress bar."""
    waiting = [job for job in jobs if job.finished() is None]
    if not waiting:
        return
    MlflowClient(waiting[0].store).search_experiments()  # two workers that make its tables at once fail
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(jobs), completed=len(jobs) - len(waiting))
        for job in _finishing(waiting, workers):
            progress.update(task, advance=1, description=f"{job.name}, fold {job.fold}")


def _finishing(jobs: Sequence[Job], workers: int) -> Iterator[Job]:
    """Runs the jobs and gives each when it is finished. When one fails or all are stopped, none begins any more.

    No more are handed out than are at work: what a pool has queued for its workers cannot be called back.
    """
    waiting, running = list(jobs), dict[Future[None], Job]()
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool,
        _without_bars(),
        _stopping_workers(),
    ):
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                running[pool.submit(run_job, job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                yield running.pop(future)


@contextmanager
def _without_bars() -> Iterator[None]:
    """While inside, workers that start draw no bars, which would write over each other."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        del os.environ["TQDM_DISABLE"]
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


@contextmanager
def _stopping_workers() -> Iterator[None]:
    """While inside, SIGTERM is passed on to the workers, which save where they are; Ctrl-C reaches them by itself."""

    def stop(number: int, frame: Any) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's alone
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
