"""A tiny start model of the made task, its problems, and settings of rounds that take seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRAINING = {
    "max_length": 64,
    "max_steps": 12,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-3,
    "save_steps": 0,
}
TRAINING |= {"tracking_uri": "none"}
ASKING = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 1.0, "batch_size": 128}


@pytest.fixture(scope="session")
def start(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A folder with `start`, problems.jsonl and held_out.jsonl."""
    from weighted_mtp.improve.tiny import make_tiny

    return made_once("improve-start", lambda folder: make_tiny(folder, prompts=40, held_out=30, steps=40))


@pytest.fixture
def settings(start: Path, tmp_path: Path) -> dict[str, Any]:
    """Two rounds without a critic."""
    return settings_in(start, tmp_path / "run")


def settings_in(start: Path, out: Path) -> dict[str, Any]:
    return {
        "model": str(start / "start"),
        "problems": str(start / "problems.jsonl"),
        "held_out": str(start / "held_out.jsonl"),
        "verifier": "numeric",
        "out": str(out),
        "rounds": 2,
        "sample": {"n": 4, **ASKING},
        "student": {"keep": "right", **TRAINING},
        "evaluate": {"samples": 2, **ASKING},
        "keep": True,
    }
