"""A disk that is full while something is saved ends the run with one line, and with room it goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "the second checkpoint's model": (
        {"save_steps": 2},
        1.1,
        "/mnt/run/checkpoint-4",
        "/mnt/run/checkpoint-2 is intact",
    ),
    "its optimizer": ({"save_steps": 2}, 1.6, "/mnt/run/checkpoint-4", "/mnt/run/checkpoint-2 is intact"),
    "the first checkpoint": ({"save_steps": 2}, 0.6, "/mnt/run/checkpoint-2", "no checkpoint is complete"),
    "the final model": ({"save_steps": 3}, 1.1, "/mnt/run", "/mnt/run/checkpoint-3 is intact"),
}
"""Settings, room in checkpoints, and what the line says was not written and what is there."""

SCRIPT = """
import contextlib, io, json, os, pathlib, shutil, sys
from weighted_mtp.cli.main import main

words, disk, cases = json.loads(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
run, filler = pathlib.Path("/mnt/run"), pathlib.Path("/mnt/filler")

def train(steps, *more):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(["train", "baseline", *words, "--save_steps", str(steps), *more])
    return status, said.getvalue()

assert train(3)[0] == 0
size = sum(path.stat().st_size for path in (run / "checkpoint-3").iterdir())
shutil.rmtree(run)
for case, (settings, room, *_) in cases.items():
    filler.write_bytes(bytes(disk - int(room * size)))
    status, said = train(settings["save_steps"])
    filler.unlink()
    again, _ = train(settings["save_steps"], "--resume", "auto")
    print("TOLD", json.dumps([case, status, said, again, (run / "model.safetensors").is_file()]))
    shutil.rmtree(run)
"""


@pytest.mark.usefixtures("sandbox_works")
def test_a_full_disk_in_a_save_is_one_line_that_says_what_is_intact(chain_base: Path, rows: dict[str, Path]):
    settings = {
        "model_name_or_path": chain_base / "base", "train_file": rows["train"], "output_dir": "/mnt/run",
        "tracking_uri": "none", "max_steps": 4, "per_device_train_batch_size": 4,
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    disk = 8_000_000
    command = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--size", str(disk), "--tmpfs", "/mnt", sys.executable]
    done = subprocess.run(
        [*command, "-c", SCRIPT, json.dumps(words), str(disk), json.dumps(CASES)], capture_output=True, text=True
    )
    told = [json.loads(line.removeprefix("TOLD ")) for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    assert [case for case, *_ in told] == [*CASES], done.stderr
    for case, status, said, again, whole in told:
        _, _, where, intact = CASES[case]
        _, *lines = said.split("wmtp: ")  # behind the progress bar
        assert len(lines) == 1, (case, said)
        assert lines[0].startswith(f"error: no space left on device, where {where}"), said
        assert intact in lines[0]
        assert "Traceback" not in said
        assert (status, again, whole) == (1, 0, True), case
