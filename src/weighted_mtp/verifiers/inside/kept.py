"""A process that is kept: it forks for each job, and nothing that a job leaves behind reaches the next.

It is the first process of its sandbox: nothing inside can kill or stop it, all processes that lose their parent become
its children, and one signal ends them all. It has read no job, since forks read theirs, and no fork may look into it.
Where something is not as it was before the job (a file, a limit, shared memory), it ends, and another is started.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from weighted_mtp.verifiers.inside.forks import end_forks, fork, lock_down, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DESCRIPTORS = 8
WARM = ("bisect", "copy", "datetime", "heapq", "itertools", "json", "random", "string", "unittest.mock")
"""What prompts and tests often import, beside what the program itself does."""


def serve(control: socket.socket, work: Callable[..., object]) -> None:
    """Forks for each message, whose descriptors `work` gets; the next message ends the fork, and is answered."""
    lock_down()
    before = state()
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, DESCRIPTORS)
        if not message:
            return
        fork(lambda given=descriptors: work(*given), {}, tuple(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(b"begun")
        asked = control.recv(1)
        end_forks()
        if not asked or state() != before:
            return
        control.send(b"ready")


def main() -> None:
    """The names of packages to have at hand, as `a,b`."""
    from weighted_mtp.verifiers.inside.python_tests import run_tests

    for name in (*WARM, *filter(None, sys.argv[1].split(","))):
        with contextlib.suppress(BaseException):
            __import__(name)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    serve(control, run_tests)


if __name__ == "__main__":
    main()
