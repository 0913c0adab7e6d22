"""Processes of this machine that do work when asked, each through a pipe of its own."""

import multiprocessing
import pickle
import queue
import signal
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self, TypeVar

from weighted_mtp.engine.settings import EngineError

WORKER_KILLED = "a worker was killed, by a lack of memory perhaps: what is made is kept, and the same command goes on"
Given = TypeVar("Given")
Result = TypeVar("Result")


class Workers:
    """Up to so many processes, begun as they are needed, each of which does one thing at a time.

    They share no queue and no lock, as those of a ProcessPoolExecutor do, where who is ended with a lock in hand, or
    in the middle of a word, leaves the others and their parent waiting for ever. As a context it ends them: behind
    what is inside, or at once where that is stopped or fails, but after `unasked` errors they finish what they are at.

    Args:
        count: how many.
        begin: what each does first, with its number, from 0, and `args`.
        unasked: errors of what is inside that are no reason to stop a worker.
    """

    def __init__(self, count: int, begin: Callable[..., None], *args: Any, unasked: tuple[type[Exception], ...] = ()):
        self._context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
        self._count, self._begin, self._unasked = count, (begin, args), unasked
        self._processes: list[tuple[BaseProcess, Connection]] = []
        self._idle = queue.SimpleQueue[tuple[BaseProcess, Connection]]()
        self._askers = ThreadPoolExecutor(count)

    def submit(self, work: Callable[[Given], Result], given: Given) -> Future[Result]:
        """Has a worker do it. The result raises what the work raised, or EngineError where the worker was killed."""
        with _unheard():
            if self._idle.empty() and len(self._processes) < self._count:
                self._start()
            return self._askers.submit(self._ask, work, given)

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, len(self._processes), *self._begin))
        process.start()
        theirs.close()  # so that what we read ends where the worker does
        self._processes.append((process, ours))
        self._idle.put((process, ours))

    def _ask(self, work: Callable[[Given], Result], given: Given) -> Result:
        process, pipe = self._idle.get()
        try:
            pipe.send((work, given))
            if pipe not in wait([pipe, process.sentinel]):  # what it started may hold its end
                raise EOFError
            made, error = pipe.recv()
        except (EOFError, OSError):
            raise EngineError(WORKER_KILLED) from None
        finally:
            self._idle.put((process, pipe))
        if error is not None:
            raise error
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        killed = isinstance(error, EngineError) and str(error) == WORKER_KILLED
        try:
            if kind is not None and (killed or not issubclass(kind, self._unasked)):
                for process, _ in self._processes:
                    process.terminate()
            self._askers.shutdown()
            for _, pipe in self._processes:
                pipe.close()
            for process, _ in self._processes:
                process.join()
        except KeyboardInterrupt:  # asked again: with nobody to tell them, they would wait, and Python's end for them
            for process, _ in self._processes:
                process.kill()
            raise


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes that start inside never hear of Ctrl-C or a closed terminal: who begins would say so in thirty lines.

    The parent ends them; a signal that comes to it meanwhile is its at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, number: int, begin: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Does what it is asked until nobody is there to ask."""
    begin(number, *args)
    while True:
        try:
            asked = pipe.recv_bytes()
        except EOFError:
            return
        try:
            work, given = pickle.loads(asked)
            answer = pickle.dumps((work(given), None))
        except KeyboardInterrupt:  # of a training, which saved at the parent's SIGTERM
            return
        except Exception as error:
            answer = pickle.dumps((None, _sent(error)))
        pipe.send_bytes(answer)


def _sent(error: Exception) -> Exception:
    """The error as it can be sent, with where it arose, of which a traceback in the parent would say nothing."""
    where = "".join(traceback.format_exception(error))
    try:
        error = pickle.loads(pickle.dumps(error))
    except Exception:  # of a class that is not made of its arguments
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(where)
    return error
