"""A long-lived process in the sandbox that has reasoning-gym loaded, and what is asked of it."""

import importlib.util
import json
import os
import select
import site
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.inside import source_of
from weighted_mtp.verifiers.sandbox import Limits, Sandbox, kill

_START_SECONDS = 120.0
_MAKE_SECONDS = 600.0
_LIMITS = Limits(memory=2 << 30, cpu_seconds=30 * 24 * 3600)  # of the process; it limits every answer by itself


class LibraryError(VerifierError):
    """The library could not do what was asked: an item it cannot read, or a process that ended twice."""


class Library:
    """The installed reasoning-gym, and a sandbox in which it can be read; a VerifierError without one of them."""

    def __init__(self) -> None:
        if importlib.util.find_spec("reasoning_gym") is None:
            raise VerifierError("reasoning-gym is not installed: pip install reasoning-gym")
        folders = [*site.getsitepackages(), site.getusersitepackages()]
        self.folders = [folder for folder in folders if folder in sys.path]
        self.sandbox = Sandbox(_LIMITS, tuple(Path(folder) for folder in self.folders))


class LibraryProcess:
    """One process at a time; where it has ended, the next question starts another."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""
        self._described: dict[str, Any] = {}

    def describe(self) -> tuple[str, tuple[str, ...]]:
        """Version and tasks of the library; a VerifierError where it cannot be loaded."""
        if self._process is None:
            self._start()
        return self._described["version"], tuple(self._described["tasks"])

    def ask(self, request: dict[str, Any], seconds: float = _MAKE_SECONDS) -> dict[str, Any]:
        """The reply to a request; a process that ends over it is started again, once. Then it is a LibraryError."""
        for _ in range(2):
            if self._process is None:
                self._start()
            reply = self._exchange(request, time.monotonic() + seconds)
            if reply is None:
                self.close()
            elif "trouble" in reply:
                raise LibraryError(f"reasoning-gym: {reply['trouble']}")
            else:
                return reply
        raise LibraryError(f"reasoning-gym: no reply to `{request['do']}` within {seconds:g} s")

    def close(self) -> None:
        """Ends the process and everything in its sandbox."""
        if self._process is not None:
            process, self._process = self._process, None
            kill(process)
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()

    def _start(self) -> None:
        self._process = self._library.sandbox.start(
            source_of("reasoning_gym_worker"),
            self._library.folders,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._read = b""
        described = self._reply(time.monotonic() + _START_SECONDS)
        if described is None or "trouble" in described:
            self.close()
            reason = described["trouble"] if described else f"it did not start within {_START_SECONDS:g} s"
            raise VerifierError(f"reasoning-gym cannot be loaded in the sandbox: {reason}")
        self._described = described

    def _exchange(self, request: dict[str, Any], deadline: float) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdin is not None
        content = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while content:
                content = content[self._process.stdin.write(content) :]
        except BrokenPipeError:
            return None
        return self._reply(deadline)

    def _reply(self, deadline: float) -> dict[str, Any] | None:
        """The next line; None: the process has ended, or the time is up."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe, waiting = self._process.stdout.fileno(), select.poll()
        waiting.register(pipe, select.POLLIN)
        parts = [self._read]
        while b"\n" not in parts[-1]:
            ready = waiting.poll(max(0.0, 1000 * (deadline - time.monotonic())))
            part = os.read(pipe, 1 << 20) if ready else b""
            if not part:
                return None
            parts.append(part)
        line, _, self._read = b"".join(parts).partition(b"\n")
        return json.loads(line)
