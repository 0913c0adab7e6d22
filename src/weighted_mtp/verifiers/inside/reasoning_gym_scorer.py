"""What `worker.py` does with reasoning-gym: makes items of its tasks, and scores answers to them."""

from __future__ import annotations

import functools
import importlib.metadata
import random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BOARD_TASKS = ("arc_agi", "rearc")


def load() -> dict[str, Any]:
    """Version and tasks of the installed reasoning-gym; imports it, with all that its scorers need."""
    from reasoning_gym.factory import DATASETS

    tasks = sorted(name for name in DATASETS if name != "composite")  # that one has no items of its own
    return {"version": importlib.metadata.version("reasoning-gym"), "tasks": tasks}


@functools.cache
def scorer_of(task: str) -> Callable[[str, dict[str, Any]], float]:
    """The task's `score_answer`, with its default configuration."""
    from reasoning_gym.factory import get_score_answer_fn

    return get_score_answer_fn(task)  # type: ignore[return-value]


@functools.lru_cache(maxsize=1)
def dataset(task: str, seed: int, size: int) -> Any:
    """The items of a task, with its default configuration."""
    from reasoning_gym.factory import create_dataset

    return create_dataset(task, seed=seed, size=size)


def make(task: str, seed: int, size: int, first: int, count: int) -> list[dict[str, Any]]:
    """Items `first` to `first + count`; those beyond `size` do not exist."""
    made = []
    for index in range(first, min(first + count, size)):
        random.seed(seed + index)  # some tasks draw from the global generator
        made.append(dataset(task, seed, size)[index])
    return made


def as_made(entry: dict[str, Any]) -> dict[str, Any]:
    """An item that came through JSON, in the form that its scorer compares with: boards are tuples of tuples."""
    metadata = entry["metadata"]
    if metadata["source_dataset"] not in BOARD_TASKS:
        return entry
    return entry | {"metadata": metadata | {"output": tuple(map(tuple, metadata["output"]))}}


def prepare(job: dict[str, Any]) -> None:
    """Loads the job's scorer, so that forks need not."""
    scorer_of(job["entry"]["metadata"]["source_dataset"])


def score(job: dict[str, Any]) -> float:
    """What the scorer says to the `answer` to an `entry`."""
    entry = job["entry"]
    return scorer_of(entry["metadata"]["source_dataset"])(job["answer"], as_made(entry))
