"""The completion marker: only a checkpoint that is whole is resumed from."""

from pathlib import Path

import pytest

from weighted_mtp.training.checkpoints import (
    CheckpointError,
    find_resumable,
    list_checkpoints,
    mark_complete,
    resolve_resume,
    why_incomplete,
)


def write_checkpoint(root: Path, step: int, *, complete: bool = True) -> Path:
    folder = root / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "optimizer.pt").write_bytes(b"moments")
    if complete:
        mark_complete(folder)
    return folder


def test_checkpoints_are_listed_by_step_and_not_by_name(tmp_path: Path):
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-20", "checkpoint-9"]


def test_a_marked_checkpoint_is_complete(tmp_path: Path):
    assert why_incomplete(write_checkpoint(tmp_path, 1)) is None


def test_a_checkpoint_without_marker_is_passed_over_with_a_reason(tmp_path: Path):
    older = write_checkpoint(tmp_path, 1)
    write_checkpoint(tmp_path, 2, complete=False)
    found, sentences = find_resumable(tmp_path)
    assert found == older
    assert len(sentences) == 1
    assert "its save was interrupted" in sentences[0]


def test_a_missing_optimizer_makes_a_checkpoint_incomplete(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / "optimizer.pt").unlink()
    assert why_incomplete(folder) == "optimizer.pt is missing"


def test_a_truncated_file_makes_a_checkpoint_incomplete(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / "model.safetensors").write_bytes(b"wei")
    assert why_incomplete(folder) == "model.safetensors has 3 bytes, 7 were written"


def test_a_garbled_marker_makes_a_checkpoint_incomplete(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / "complete.json").write_text("{")
    assert why_incomplete(folder) == "complete.json is not readable"


def test_resume_auto_without_a_checkpoint_starts_afresh(tmp_path: Path):
    assert resolve_resume("auto", tmp_path) == (None, [])


def test_resuming_from_a_named_incomplete_checkpoint_is_refused(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 3, complete=False)
    with pytest.raises(CheckpointError, match="or --resume auto for the newest one"):
        resolve_resume(str(folder), tmp_path)


def test_a_run_is_never_overwritten_in_silence(tmp_path: Path):
    write_checkpoint(tmp_path, 3)
    with pytest.raises(CheckpointError, match="already holds a run"):
        resolve_resume(None, tmp_path)
