"""A saved model that is whole or no model: written aside, committed by one rename, then moved into place.

A folder is taken for a model by its config.json: the old one goes first and the new one comes last. What a kill left is
cleared away before the commit, and carried to its end after it, by `finish_interrupted`.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .locks import own_file
from .whole import sync

SIGN = "config.json"
"""What makes a folder a model."""
UNFINISHED, COMMITTED = ".saving", ".saved"
_NAMES = ".names.json"
"""In a committed save, the names of all its files: some are moved already when it is gone on with after a kill."""
_WEIGHTS = re.compile(r"(model|pytorch_model)[-.](.*\.)?(safetensors|bin|index\.json)|weighted_mtp\..*|adapter")


@contextmanager
def staged_save(folder: str | Path) -> Iterator[Path]:
    """Gives an empty folder to write a model into; at the end its files take the places of those in `folder`.

    Weights of an earlier model that the new one has no file of the same name for are removed. After an exception
    `folder` stays as it was.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    finish_interrupted(folder)
    unfinished = folder / UNFINISHED
    unfinished.mkdir()
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    (unfinished / _NAMES).write_text(json.dumps([path.name for path in unfinished.iterdir()]))
    for path in (*unfinished.rglob("*"), unfinished):
        sync(path)
    os.rename(unfinished, folder / COMMITTED)
    sync(folder)
    finish_interrupted(folder)


def finish_interrupted(folder: str | Path) -> None:
    """Ends a save that was killed: what was not whole is removed, what was whole is moved into place."""
    folder = Path(folder)
    if (folder / UNFINISHED).is_dir():
        shutil.rmtree(folder / UNFINISHED)
    committed = folder / COMMITTED
    if (committed / SIGN).is_file():  # else all was moved already
        _move_in(committed, folder)
    if committed.is_dir():
        shutil.rmtree(committed)


def _move_in(committed: Path, folder: Path) -> None:
    (folder / SIGN).unlink(missing_ok=True)
    sync(folder)
    names: list[str] = json.loads((committed / _NAMES).read_text())
    for path in list(folder.iterdir()):
        if _WEIGHTS.fullmatch(path.name) and path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(committed.iterdir()):
        if path.name not in (SIGN, _NAMES):
            if (folder / path.name).is_dir():
                shutil.rmtree(folder / path.name)
            os.replace(path, folder / path.name)
    sync(folder)
    os.replace(committed / SIGN, folder / SIGN)
    sync(folder)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Gives a folder beside `out` to write into, which becomes `out` at the end; what a killed call left is removed.

    ValueError where something is at `out`, or it cannot be replaced.
    """
    given, out = out, out.resolve()  # a link to an empty folder is that folder
    unfinished = out.parent / f".{out.name}.unfinished"
    with own_file(out):
        if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
            raise ValueError(f"{given} is there and not empty: give a new folder")
        if out == Path.cwd() or out.is_mount():
            raise ValueError(f"{given} is the current folder or where a disk is mounted: give a new folder inside it")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            yield unfinished
            for path in unfinished.rglob("*"):
                sync(path)
            sync(unfinished)
            os.rename(unfinished, out)
            sync(out.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
