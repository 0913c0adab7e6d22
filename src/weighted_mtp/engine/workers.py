"""Processes of this machine that do work when asked, each through a pipe of its own."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from weighted_mtp.engine.settings import EngineError

WORKER_KILLED = "a worker was killed, by a lack of memory perhaps: what is made is kept, and the same command goes on"
GRACE = 20.0
"""Seconds that workers have to end, before they are killed: a training saves what it has."""
UNHEARD = (signal.SIGINT, signal.SIGHUP)
Given = TypeVar("Given")
Result = TypeVar("Result")
Todo = SimpleQueue[tuple[Future[Any], Callable[[Any], Any], Any] | None]


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
        self._count, self._begin, self._unasked = count, (begin, args), unasked
        self._crew: list[_Worker] = []
        self._todo: Todo = SimpleQueue()
        self._asked: list[Future[Any]] = []
        with _blocked():  # begun with the first worker, it would let that hear Ctrl-C
            resource_tracker.ensure_running()
        # of a program that fails while it holds this, whose end would wait for them
        self._left = Finalize(self, _end, (self._crew, self._todo, True), exitpriority=0)

    def submit(self, work: Callable[[Given], Result], given: Given) -> Future[Result]:
        """Has a worker do it. The result raises what the work raised, or EngineError where the worker was killed."""
        self._asked = [future for future in self._asked if not future.done()]
        if len(self._asked) >= len(self._crew) < self._count:
            self._crew.append(_Worker(len(self._crew), *self._begin))
            self._crew[-1].attend(self._todo)
        future = Future[Result]()
        self._asked.append(future)
        self._todo.put((future, work, given))
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        killed = isinstance(error, EngineError) and str(error) == WORKER_KILLED
        try:
            _end(self._crew, self._todo, kind is not None and (killed or not issubclass(kind, self._unasked)))
        except KeyboardInterrupt:  # asked again
            for worker in self._crew:
                if worker.process.is_alive():  # or was never begun
                    worker.process.kill()
            raise
        finally:
            self._left.cancel()


class _Worker:
    """A process, and the thread that asks it: begun in that, no signal comes between."""

    def __init__(self, number: int, begin: Callable[..., None], args: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
        self.pipe, self.its_pipe = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.its_pipe, number, begin, args))
        self.beginning, self.unwanted = threading.Lock(), False

    def attend(self, todo: Todo) -> None:
        """Starts the thread, which does what there is to do until there is None."""
        with _blocked(signal.valid_signals()) as mask:
            self.thread = threading.Thread(target=self._attend, args=(todo, mask | set(UNHEARD)), daemon=True)
            self.thread.start()

    def _attend(self, todo: Todo, mask: set[int]) -> None:
        failed = None
        try:
            with self.beginning:
                if not self.unwanted:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                    self.process.start()
        except Exception as error:
            failed = error
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        self.its_pipe.close()  # so that what we read ends where the worker does
        while (asked := todo.get()) is not None:
            future, work, given = asked
            try:
                if failed is not None:
                    raise failed
                future.set_result(self._ask(work, given))
            except BaseException as error:
                future.set_exception(error)
            del asked, future, work, given
        self.pipe.close()

    def _ask(self, work: Callable[[Given], Result], given: Given) -> Result:
        asked = pickle.dumps((work, given))
        try:
            self.pipe.send_bytes(asked)
            while not self.pipe.poll(0.5):  # which what the worker started may hold open behind it
                if not self.process.is_alive() and not self.pipe.poll():
                    raise EOFError
            told = self.pipe.recv_bytes()
        except (EOFError, OSError):
            raise EngineError(WORKER_KILLED) from None
        made, error = pickle.loads(told)
        if error is not None:
            raise error
        return made

    def terminate(self) -> None:
        """Asks it to end, or not to begin."""
        with self.beginning:
            self.unwanted = True
            if self.process.ident is not None:
                self.process.terminate()

    def end(self, until: float) -> None:
        """Waits for its end, until then; it is killed if need be."""
        while self.process.is_alive():
            self.process.join(0.1)  # not longer: what the worker started may hold what this waits for
            if time.monotonic() > until:
                self.process.kill()


def _end(crew: list[_Worker], todo: Todo, at_once: bool) -> None:
    for _ in crew:
        todo.put(None)
    for worker in crew:
        if at_once:
            worker.terminate()
        else:
            worker.thread.join()
    until = time.monotonic() + GRACE
    for worker in crew:
        worker.end(until)


@contextmanager
def _blocked(signals: Collection[int] = UNHEARD) -> Iterator[set[int]]:
    """What starts inside hears no such signal; gives the mask from before.

    A process does not hear of Ctrl-C or a closed terminal while it begins, of which it would make thirty lines. A
    thread hears nothing at all, since a signal that comes to it does not wake the main one.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(end: Callable[[], None]) -> None:
    """Calls `end`, in a thread, when the parent of this worker is gone, or at once where it is."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "workers are started by a parent"

    def watch() -> None:
        parent.join()
        end()

    with _blocked(signal.valid_signals()):
        threading.Thread(target=watch, daemon=True).start()


def _serve(pipe: Connection, number: int, begin: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Does what it is asked until nobody is there to ask."""
    for unheard in UNHEARD:  # by this process: what it starts hears them as it does elsewhere
        signal.signal(unheard, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEARD)
    os.set_inheritable(pipe.fileno(), False)
    begin(number, *args)
    try:
        _answer(pipe)
    finally:  # what it held is cleared away, and a SIGTERM now would be told of in thirty lines
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _answer(pipe: Connection) -> None:
    with suppress(EOFError, OSError):
        while True:
            asked = pipe.recv_bytes()
            try:
                work, given = pickle.loads(asked)
                answer = pickle.dumps((work(given), None))
            except (KeyboardInterrupt, SystemExit):  # of a training, which saved at SIGTERM, say
                return
            except BaseException as error:
                answer = pickle.dumps((None, _sent(error)))
            pipe.send_bytes(answer)


def _sent(error: BaseException) -> Exception:
    """The error as it can be sent, with where it arose, of which a traceback in the parent would say nothing."""
    where = "".join(traceback.format_exception(error))
    try:
        sent = pickle.loads(pickle.dumps(error))
    except Exception:  # of a class that is not made of its arguments
        sent = None
    if not isinstance(sent, Exception) or isinstance(sent, StopIteration):  # which a generator cannot raise
        sent = RuntimeError(traceback.format_exception_only(error)[-1].strip())
    sent.add_note(where)
    return sent
