"""What the calls are given: a tiny model, its rows, and where a run goes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weighted_mtp as wm


@pytest.fixture(scope="session")
def rows(chain_base: Path) -> list[dict[str, Any]]:
    """The rows of train.jsonl."""
    return [json.loads(line) for line in (chain_base / "train.jsonl").read_text().splitlines()]


@pytest.fixture
def load(chain_base: Path) -> Callable[[], Any]:
    """A function that reads the plain base model anew: training changes it."""
    from transformers import AutoModelForCausalLM

    return lambda: AutoModelForCausalLM.from_pretrained(chain_base / "base")


@pytest.fixture
def train(tmp_path: Path, store: str) -> Callable[..., wm.Run]:
    """`wm.train` with a few quick steps, where not said otherwise."""

    def run(model: Any, rows: Any, stage: str = "baseline", *given: Any, **settings: Any) -> wm.Run:
        quick = {
            "output_dir": tmp_path / "out",
            "tracking_uri": store,
            "max_steps": 3,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-3,
            "quiet": True,
        }
        return wm.train(model, rows, stage, *given, **(quick | settings))

    return run
