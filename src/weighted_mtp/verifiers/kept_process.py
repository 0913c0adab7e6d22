"""The host's end of `inside/kept.py`: a process in a sandbox that forks for each job."""

import select
import socket
import subprocess
import weakref
from collections.abc import Sequence

from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.inside import source_of
from weighted_mtp.verifiers.sandbox import Sandbox, kill

_START_SECONDS = 60.0
_END_SECONDS = 10.0
MODULES = ("crossing", "forks", "units", "inputs", "python_tests")


class KeptProcess:
    """One at a time, for one thread: a sandbox ends with the thread that started it."""

    def __init__(self, sandbox: Sandbox, arguments: Sequence[str]) -> None:
        self._sandbox, self._arguments = sandbox, arguments
        self._control: socket.socket | None = None

    def begin(self, *descriptors: int) -> None:
        """Forks for a job, which gets these; what was left of the one before is gone."""
        for _ in range(2):
            try:
                socket.send_fds(self._ready(), [b"j"], descriptors)
                self._expect(b"begun", _END_SECONDS)
            except OSError:
                self.close()
            else:
                return
        raise VerifierError("the process that runs tests cannot be started again: is there memory left?")

    def end(self) -> None:
        """Ends the job with all that it started."""
        try:
            assert self._control is not None
            self._control.send(b"e")
        except OSError:
            self.close()

    def close(self) -> None:
        """Ends the process and everything in its sandbox."""
        if self._control is not None:
            self._closing()
            self._control = None

    def _ready(self) -> socket.socket:
        """The process, started where it is not, once it can take a job; an OSError where it cannot."""
        seconds = _END_SECONDS
        if self._control is None:
            seconds = _START_SECONDS
            self._control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with inner:
                self.process = self._sandbox.start(
                    source_of("kept"),
                    self._arguments,
                    modules=MODULES,
                    first=True,
                    stdin=inner,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            self._closing = weakref.finalize(self, _close, self.process, self._control)
        self._expect(b"ready", seconds)
        return self._control

    def _expect(self, word: bytes, seconds: float) -> None:
        assert self._control is not None
        if not select.select([self._control], [], [], seconds)[0] or self._control.recv(8) != word:
            raise OSError


def _close(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    kill(process)
    control.close()
