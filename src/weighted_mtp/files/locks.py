"""One writer at a time: a lock beside what is written, that names its owner and ends with it.

A POSIX record lock, which the kernel gives up when its owner dies; unlike `flock` it is not handed down to forked
children, and network file systems know it. Not all do: a file that names an owner on another machine is refused.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_BUSY = (errno.EACCES, errno.EAGAIN)
_held: set[Path] = set()
"""Locks of this process: a command may hand its folder on to another, inside of it."""


class Occupied(ValueError):
    """Another process writes there; the message names it."""


@contextmanager
def own_folder(folder: str | Path) -> Iterator[None]:
    """Keeps other writers out of a folder while inside; a folder that was made for it and stays empty is removed."""
    folder = Path(folder)
    with _made(folder), _owned(folder / ".lock", folder):
        yield


@contextmanager
def own_file(path: str | Path) -> Iterator[None]:
    """Keeps other writers from a file while inside."""
    target = Path(path).resolve()
    with _made(target.parent), _owned(target.parent / f".{target.name}.lock", target):
        yield


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Makes a folder, and removes what was made where nothing came of it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


@contextmanager
def _owned(lock: Path, what: Path) -> Iterator[None]:
    lock = lock.resolve()
    if lock in _held:
        yield
        return
    descriptor = _acquire(lock, what)
    _held.add(lock)
    try:
        yield
    finally:
        _held.remove(lock)
        # Removed while it is held: whoever waits for this file sees that its name is gone, and opens another.
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(lock: Path, what: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(descriptor):
                raise Occupied(_refusal(what, lock, _read_owner(descriptor)))
            if _is_the_same(descriptor, lock):
                owner = _read_owner(descriptor)
                if owner.get("host", platform.node()) != platform.node():
                    raise Occupied(_refusal(what, lock, owner))
                _write_owner(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        logger.warning("this file system has no locks (%s): a second writer would not be noticed", error)
    return True


def _is_the_same(descriptor: int, lock: Path) -> bool:
    """Whether the open file still bears the name: its last owner may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    owner = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "pid": os.getpid(),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    os.fsync(descriptor)


def _read_owner(descriptor: int) -> dict[str, Any]:
    """What stands in the file; nothing where its owner has not yet written, or was killed while it did."""
    with suppress(ValueError, TypeError):
        return dict(json.loads(os.pread(descriptor, 1 << 20, 0)))
    return {}


def _refusal(what: Path, lock: Path, owner: dict[str, Any]) -> str:
    command, pid, host, since = (owner.get(name, "?") for name in ("command", "pid", "host", "since"))
    message = (
        f"{what} is being written by `{command}` (pid {pid} on {host}, since {since}): wait for its end or stop it, "
        "or give another output"
    )
    here = platform.node()
    if host in ("?", here):
        return message
    return f"{message}; whether it still runs cannot be seen from here ({here}): if it does not, remove {lock}"
