"""Checkpoints that are whole or not used: a completion marker written last, and a resume that trusts only it.

`transformers.Trainer` writes a checkpoint file by file; a kill in between leaves a directory that it would pick for
resuming and then die on, and a missing optimizer or scheduler file it ignores silently. The marker lists every file
with its size, is renamed into place after everything else, and is the only proof of completeness.
"""

import json
import re
from pathlib import Path

from weighted_mtp.files import write_text

MARKER = "complete.json"
MADE_WITH_FILE = "made_with.json"
"""Of a checkpoint or a finished run: its settings and digests of its rows and models (`made_with.MadeWith`)."""
OPTIMIZER_FILES = ("optimizer", "global_step")
"""How the names of an optimizer's files begin, those of FSDP and of DeepSpeed included."""


class CheckpointError(ValueError):
    """No checkpoint can be resumed from; the message says why and what to do."""


def mark_complete(checkpoint: str | Path) -> None:
    """Writes the marker: file name to size in bytes, atomically, after all of them are on disk."""
    folder = Path(checkpoint)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARKER]
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    write_text(folder / MARKER, json.dumps(sizes, indent=1))


def why_incomplete(checkpoint: str | Path) -> str | None:
    """None for a complete checkpoint, else the first thing that is wrong with it."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "it is not a directory"
    marker = folder / MARKER
    if not marker.is_file():
        return f"{MARKER} is missing, so its save was interrupted"
    try:
        sizes: dict[str, int] = json.loads(marker.read_text())
    except json.JSONDecodeError:
        return f"{MARKER} is not readable"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, {size} were written"
    return None


def why_not_resumable(checkpoint: str | Path) -> str | None:
    """None for a checkpoint that training can go on from, else the first thing that is in the way."""
    reason = why_incomplete(checkpoint)
    if reason is None and not any(path.name.startswith(OPTIMIZER_FILES) for path in Path(checkpoint).iterdir()):
        return "it holds the model without its optimizer (trainer_args save_only_model), from which nothing resumes"
    return reason


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """checkpoint-N directories, newest step first, complete or not."""
    named = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in named if path.is_dir()), key=lambda path: -int(path.name.partition("-")[2]))


def find_resumable(output_dir: str | Path) -> tuple[Path | None, list[str]]:
    """The newest complete checkpoint, and a sentence for each newer one that was passed over."""
    passed_over: list[str] = []
    for checkpoint in list_checkpoints(output_dir):
        reason = why_not_resumable(checkpoint)
        if reason is None:
            return checkpoint, passed_over
        passed_over.append(f"{checkpoint} is passed over: {reason}")
    return None, passed_over


def resolve_resume(resume: str | None, output_dir: str | Path) -> tuple[Path | None, list[str]]:
    """What `--resume` means: none, `auto` (newest complete checkpoint, or a fresh start), or a path."""
    if resume == "":
        raise CheckpointError("resume is empty: give auto, or the path of a checkpoint")
    if resume == "auto":
        return find_resumable(output_dir)
    if resume is not None:
        reason = why_not_resumable(resume)
        if reason is not None:
            raise CheckpointError(
                f"cannot resume from {resume}: {reason}. Give a complete checkpoint, or --resume auto "
                "for the newest one"
            )
        return Path(resume), []
    if list_checkpoints(output_dir) or (Path(output_dir) / "config.json").exists():
        raise CheckpointError(
            f"{output_dir} already holds a run: continue it with --resume auto, or give another --output_dir"
        )
    return None, []
