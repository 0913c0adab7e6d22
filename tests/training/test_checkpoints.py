"""The completion marker: only a checkpoint that is whole is resumed from."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.forked import start
from weighted_mtp.training.checkpoints import (
    MARKER,
    STATE_FILES,
    CheckpointError,
    find_resumable,
    list_checkpoints,
    mark_complete,
    resolve_resume,
    rotate,
    why_incomplete,
)


def write_checkpoint(root: Path, step: int, *, complete: bool = True) -> Path:
    folder = root / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "optimizer.pt").write_bytes(b"moments")
    for name in STATE_FILES:
        (folder / name).write_bytes(b"state")
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
    found, passed_over = find_resumable(tmp_path)
    assert found == older
    assert [*passed_over] == [tmp_path / "checkpoint-2"]
    assert "its save was interrupted" in passed_over[tmp_path / "checkpoint-2"]


def test_a_missing_optimizer_makes_a_checkpoint_incomplete(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / "optimizer.pt").unlink()
    assert why_incomplete(folder) == "optimizer.pt is missing"


@pytest.mark.parametrize("name", STATE_FILES)
def test_what_neither_marker_nor_folder_has_makes_a_checkpoint_that_is_passed_over(tmp_path: Path, name: str):
    older, newer = write_checkpoint(tmp_path, 1), write_checkpoint(tmp_path, 2, complete=False)
    (newer / name).unlink()
    mark_complete(newer)
    found, passed_over = find_resumable(tmp_path)
    assert found == older
    assert passed_over == {newer: f"{name} is missing, in its marker too"}


def test_a_truncated_file_makes_a_checkpoint_incomplete(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / "model.safetensors").write_bytes(b"wei")
    assert why_incomplete(folder) == "model.safetensors has 3 bytes, 7 were written"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '"text"', "[" * 100_000, "\udc80"])
def test_a_marker_that_is_no_list_of_files_makes_a_checkpoint_incomplete(tmp_path: Path, content: str):
    folder = write_checkpoint(tmp_path, 1)
    (folder / MARKER).write_bytes(content.encode(errors="surrogateescape"))
    assert why_incomplete(folder) == "complete.json is not readable"


def test_a_marker_without_files_makes_a_checkpoint_incomplete(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / MARKER).write_text("{}")
    assert why_incomplete(folder) == "complete.json lists no file"


def test_a_marker_of_sizes_alone_is_not_trusted(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 1)
    (folder / MARKER).write_text(json.dumps({"model.safetensors": 7, "optimizer.pt": 7}))
    assert "sizes without digests, as earlier versions did" in str(why_incomplete(folder))


@pytest.mark.parametrize("content", [b"weighus", b"\0" * 7], ids=["one flipped bit", "zeroes"])
def test_other_content_of_the_same_size_makes_a_checkpoint_incomplete(tmp_path: Path, content: bytes):
    folder = write_checkpoint(tmp_path, 1)
    (folder / "model.safetensors").write_bytes(content)
    assert why_incomplete(folder) == "model.safetensors has other content than was written"
    assert why_incomplete(folder, by_content=False) is None


def names_of_complete(root: Path) -> list[str]:
    return [path.name for path in list_checkpoints(root) if why_incomplete(path) is None]


def test_interrupted_saves_go_and_do_not_count_toward_the_limit(tmp_path: Path):
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step)
    for step in (5, 51):
        write_checkpoint(tmp_path, step, complete=False)
    rotate(tmp_path / "checkpoint-6", 2, None, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6"]


def test_the_best_is_one_of_those_kept(tmp_path: Path):
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step)
    rotate(tmp_path / "checkpoint-6", 2, str(tmp_path / "checkpoint-2"), ())
    assert names_of_complete(tmp_path) == ["checkpoint-6", "checkpoint-2"]


def test_a_damaged_checkpoint_is_not_one_of_those_kept(tmp_path: Path):
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step)
    damaged = tmp_path / "checkpoint-6"
    (damaged / "optimizer.pt").write_bytes(b"momentz")
    rotate(tmp_path / "checkpoint-4", 2, None, find_resumable(tmp_path)[1])
    assert names_of_complete(tmp_path) == ["checkpoint-4", "checkpoint-2"]
    assert damaged.is_dir()


def save_until_killed(root: Path, operation: int) -> None:
    """Saves a third checkpoint; dies at that file operation of its own, where it comes to one."""
    done = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            done += 1
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    rotate(write_checkpoint(root, 6), 2, None, ())


def test_a_kill_at_any_file_operation_leaves_two_complete_checkpoints(tmp_path: Path):
    operation, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        operation += 1
        root = tmp_path / str(operation)
        write_checkpoint(root, 2)
        write_checkpoint(root, 4)
        write_checkpoint(root, 51, complete=False)
        process = start(save_until_killed, root, operation, said=tmp_path / "said")
        process.join(timeout=60)
        ended = process.exitcode
        assert len(names_of_complete(root)) >= 2, f"killed at operation {operation}"
    assert ended == 0, (tmp_path / "said").read_text()
    assert operation > 15
    assert names_of_complete(root) == ["checkpoint-6", "checkpoint-4"]


def test_resume_auto_without_a_checkpoint_starts_afresh(tmp_path: Path):
    assert resolve_resume("auto", tmp_path) == (None, {})


def test_resuming_from_a_named_incomplete_checkpoint_is_refused(tmp_path: Path):
    folder = write_checkpoint(tmp_path, 3, complete=False)
    with pytest.raises(CheckpointError, match="or --resume auto for the newest one"):
        resolve_resume(str(folder), tmp_path)


def test_a_run_is_never_overwritten_in_silence(tmp_path: Path):
    write_checkpoint(tmp_path, 3)
    with pytest.raises(CheckpointError, match="already holds a run"):
        resolve_resume(None, tmp_path)
