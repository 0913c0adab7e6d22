"""A disk that is full ends a command with one line, and what was made is gone on with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 1500


@pytest.mark.usefixtures("sandbox_works")
@pytest.mark.parametrize("engine", [[], ["--workers", "2"]], ids=["one process", "two workers"])
def test_a_full_disk_is_one_line_and_with_room_the_same_command_goes_on(tmp_path: Path, engine: list[str]):
    rows = [{"prompt": f"{i}+1", "completion": f"{i + 1}", "answer": f"{i + 1}"} for i in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    verify = [sys.executable, "-m", "weighted_mtp.cli", "data", "verify", "--input", str(tmp_path / "rows.jsonl")]
    verify += ["--verifier", "numeric", "--output", "/mnt/out.jsonl", *engine]
    script = (
        "head -c 400000 /dev/zero > /mnt/filler\n"
        '"$@"; echo "first $?"; wc -l < /mnt/out.jsonl\n'
        "rm /mnt/filler\n"
        '"$@" > /dev/null; echo "second $?"; wc -l < /mnt/out.jsonl; ls /mnt\n'
    )
    disk = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--size", "600000", "--tmpfs", "/mnt"]
    done = subprocess.run([*disk, "sh", "-c", script, "sh", *verify], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("wmtp")]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("wmtp: error: no space left on device, where /mnt/out.jsonl")
    assert "the same command goes on" in said[0]
    first, before, second, after, *there = done.stdout.split("\n")
    assert (first, second, there) == ("first 1", "second 0", ["out.jsonl", ""])
    assert 0 < int(before) < ROWS == int(after)
