"""Checkpoints that are whole or not used. A kill during `transformers.Trainer`'s save leaves a directory that it would
resume from and die on, and a missing optimizer file it ignores: so a marker with every file's size and digest, renamed
into place when all are on disk, is the only proof of completeness."""

import json
import re
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from weighted_mtp.files import digest_of_files, sync, write_text

MARKER = "complete.json"
MADE_WITH_FILE = "made_with.json"
"""Of a checkpoint or a finished run: its settings and digests of its rows and models (`made_with.MadeWith`)."""
OPTIMIZER_FILES = ("optimizer", "global_step")
"""How the names of an optimizer's files begin, those of FSDP and of DeepSpeed included."""
STATE_FILES = ("scheduler.pt", "trainer_state.json", "rng_state", "weighting.pt")
"""Without which transformers, or we, would begin anew without a word."""


class CheckpointError(ValueError):
    """No checkpoint can be resumed from; the message says why and what to do."""


def mark_complete(checkpoint: str | Path) -> None:
    """Writes the marker: name to bytes and digest of every file, atomically, when all of them are on disk."""
    folder = Path(checkpoint)
    paths = [path for path in sorted(folder.rglob("*")) if path.name != MARKER]
    for path in (*paths, folder, folder.parent):
        sync(path)
    files = [path for path in paths if path.is_file()]
    listed = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "blake2b": digest}
        for path, digest in zip(files, digests_of(files), strict=True)
    }
    write_text(folder / MARKER, json.dumps(listed, indent=1))
    sync(folder)


def digests_of(files: Collection[Path]) -> list[str]:
    """Several files at a time, since hashing lets other threads run."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path: digest_of_files([path]), files))


def why_incomplete(checkpoint: str | Path, *, by_content: bool = True) -> str | None:
    """None for a complete checkpoint, else the first thing that is wrong with it; by the files' sizes, and content."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "it is not a directory"
    if not (folder / MARKER).is_file():
        return f"{MARKER} is missing, so its save was interrupted"
    try:
        marker = json.loads((folder / MARKER).read_bytes())
        sizes = {name: kept["bytes"] for name, kept in marker.items()}
        digests = [kept["blake2b"] for kept in marker.values()]
    except (ValueError, AttributeError, RecursionError):
        return f"{MARKER} is not readable"
    except (TypeError, KeyError):
        return f"{MARKER} lists sizes without digests, as earlier versions did, by which damage does not show"
    if not sizes:
        return f"{MARKER} lists no file"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, {size} were written"
    found = digests_of([folder / name for name in sizes]) if by_content else digests
    changed = [name for name, now, then in zip(sizes, found, digests, strict=True) if now != then]
    return f"{changed[0]} has other content than was written" if changed else None


def why_not_resumable(checkpoint: str | Path, *, by_content: bool = True) -> str | None:
    """None for a checkpoint that training can go on from, else the first thing that is in the way."""
    if reason := why_incomplete(checkpoint, by_content=by_content):
        return reason
    names = [path.name for path in Path(checkpoint).iterdir()]
    if not any(name.startswith(OPTIMIZER_FILES) for name in names):
        return "it holds the model without its optimizer (trainer_args save_only_model), from which nothing resumes"
    sharded = any(name.startswith(OPTIMIZER_FILES[1]) for name in names)  # DeepSpeed's engine may hold the schedule
    lacks = [file for file in STATE_FILES[sharded:] if not any(name.startswith(file) for name in names)]
    return f"{lacks[0]} is missing, in its marker too" if lacks else None


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """checkpoint-N directories, newest step first, complete or not."""
    named = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in named if path.is_dir()), key=lambda path: -int(path.name.partition("-")[2]))


def rotate(newest: Path, limit: int, best: str | None, damaged: Collection[Path]) -> None:
    """Removes interrupted saves beside a complete checkpoint, and of the complete ones all but `limit`: it, the best
    and the last before. What is known to be damaged is not counted, and left."""
    first = {newest.name, Path(best or newest).name}
    complete: list[Path] = []
    for checkpoint in list_checkpoints(newest.parent):
        if not (checkpoint / MARKER).is_file():
            shutil.rmtree(checkpoint, ignore_errors=True)
        elif checkpoint not in damaged and why_incomplete(checkpoint, by_content=False) is None:
            complete.append(checkpoint)
    for checkpoint in sorted(complete, key=lambda one: one.name not in first)[limit:]:
        (checkpoint / MARKER).unlink()  # first: half removed, it would be taken for damaged
        shutil.rmtree(checkpoint, ignore_errors=True)


def find_resumable(output_dir: str | Path, *, by_content: bool = True) -> tuple[Path | None, dict[Path, str]]:
    """The newest complete checkpoint, and each newer one that was passed over, with what is wrong with it."""
    passed_over: dict[Path, str] = {}
    for checkpoint in list_checkpoints(output_dir):
        reason = why_not_resumable(checkpoint, by_content=by_content)
        if reason is None:
            return checkpoint, passed_over
        passed_over[checkpoint] = reason
    return None, passed_over


def resolve_resume(
    resume: str | None, output_dir: str | Path, *, by_content: bool = True
) -> tuple[Path | None, dict[Path, str]]:
    """What `--resume` means: none, `auto` (newest complete checkpoint, or a fresh start), or a path."""
    if resume == "":
        raise CheckpointError("resume is empty: give auto, or the path of a checkpoint")
    if resume == "auto":
        return find_resumable(output_dir, by_content=by_content)
    if resume is not None:
        reason = why_not_resumable(resume, by_content=by_content)
        if reason is not None:
            raise CheckpointError(
                f"cannot resume from {resume}: {reason}. Give a complete checkpoint, or --resume auto "
                "for the newest one"
            )
        return Path(resume), {}
    if list_checkpoints(output_dir) or (Path(output_dir) / "config.json").exists():
        raise CheckpointError(
            f"{output_dir} already holds a run: continue it with --resume auto, or give another --output_dir"
        )
    return None, {}
