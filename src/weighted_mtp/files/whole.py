"""A file that is whole or not there, and what tells files and texts apart by their content."""

import errno
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""Of an OSError: no space left, or none of the user's share."""


@contextmanager
def told_when_full(folder: str | Path) -> Iterator[None]:
    """Has a full disk be an OSError that says where, whoever writes: safetensors and torch raise errors of their own.

    That of torch (`unexpected pos`) does not say why it could not write, so that a file of 1 MiB is tried.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
    except Exception as error:
        if "No space left" not in str(error) and not (isinstance(error, RuntimeError) and _is_full(folder)):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _is_full(folder: str | Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in FULL_DISK
    return False


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives the name to write under; at the end the file takes the place of `path`, and at no moment is it half there.

    Missing folders are made. After an exception the old file stays as it was. Two writers never meet: each has a name
    of its own, which ends as that of `path` does. What a killed writer left is the next one's.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _own_name(path) as temporary:
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        except OSError as error:
            error.filename = error.filename or str(path)  # a full disk does not say whose
            raise
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _own_name(path: Path) -> Iterator[Path]:
    """The one name to write a file under, locked until the end; another while another writer has it.

    The kernel gives up the lock of a process that was killed.
    """
    name = path.parent / f".new.{path.name}"
    descriptor, mine = os.open(name, os.O_RDWR | os.O_CREAT, 0o666), True
    try:
        with suppress(OSError):  # this file system has no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = os.path.samestat(os.fstat(descriptor), name.stat())
            except (BlockingIOError, FileNotFoundError):  # its writer is at work; it has just put it into place
                mine = False
        yield name if mine else name.with_name(f".{secrets.token_hex(4)}.{path.name}")
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on disk: a rename may otherwise get there first."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_of(content: bytes) -> str:
    """A number of 128 bits, in hexadecimal, that depends on the content alone."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_of_files(paths: Iterable[Path]) -> str:
    """A digest that depends on the files' content and order."""
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def number_of(text: str, n_bytes: int) -> int:
    """A number in [0, 2**(8 * n_bytes - 1)) that depends on the text alone: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=n_bytes).digest(), "big") >> 1
