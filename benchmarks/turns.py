"""Several trainings in one process that advance in turns, one optimizer step each, and what a step costs.

A turn holds everything between two ends of a step: the log entry that is due, the next batch, forward, backward,
the clipping of gradients and the optimizer. Each training runs in a thread of its own, and only one moves at a
time, so the CPU time of the process is that one's; on a GPU it is the wall time until the device is through.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback


class Turnstile(TrainerCallback):
    """Holds the training whose callback it is, at its beginning and after every step, until it is let through."""

    def __init__(self) -> None:
        self._go, self._waiting = threading.Semaphore(0), threading.Semaphore(0)
        self._stop = False
        self._error: BaseException | None = None

    def start(self, train: Callable[[], Any]) -> None:
        """Brings the training to its first step."""

        def run() -> None:
            try:
                train()
            except BaseException as error:
                self._error = error
            finally:
                self._waiting.release()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        self._wait()

    def step(self) -> float:
        """Lets one step through; the seconds that it took."""
        begin = now()
        self._go.release()
        self._wait()
        return now() - begin

    def stop(self) -> None:
        """Ends the training where it is held."""
        self._stop = True
        self._go.release()
        self._thread.join()
        self._wait()

    def _wait(self) -> None:
        self._waiting.acquire()
        if self._error is not None:
            raise self._error

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hold()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hold()
        control.should_training_stop = self._stop

    def _hold(self) -> None:
        self._waiting.release()
        self._go.acquire()


def now() -> float:
    """Seconds of the process's CPU time, or of the wall where a GPU, which is waited for, does the work."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def share_freed_memory() -> None:
    """One malloc arena for all threads: what a step of one training frees, the next one's takes."""
    if sys.platform == "linux":
        m_arena_max = -8
        ctypes.CDLL("libc.so.6").mallopt(m_arena_max, 1)


def seconds_per_step(
    trainers: dict[str, Any], turns: int, walls: dict[str, list[float]] | None = None
) -> dict[str, list[float]]:
    """Seconds (`now`) of `turns` steps of each trainer, taken in turns; a first step of each does not count.

    `walls` is filled with those of the wall clock.
    """
    share_freed_memory()
    turnstiles = {name: Turnstile() for name in trainers}
    for name, trainer in trainers.items():
        trainer.add_callback(turnstiles[name])
        turnstiles[name].start(trainer.train)
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in tqdm(range(turns + 1), desc="turns"):
        for name, turnstile in turnstiles.items():
            begin = time.perf_counter()
            spent = turnstile.step()
            if turn:
                seconds[name].append(spent)
                if walls is not None:
                    walls.setdefault(name, []).append(time.perf_counter() - begin)
    for turnstile in turnstiles.values():
        turnstile.stop()
    return seconds
