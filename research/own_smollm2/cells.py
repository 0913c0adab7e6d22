"""The trainings: each arm of each draw is a cell, as in `research.on_policy`, and the rule that takes the tasks."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from research.on_policy.arms import ARMS, OF_ADAPTERS, START, TRIED, tried, with_needs
from research.on_policy.cells import Cell, start, trained
from research.on_policy.place import Place
from research.own_smollm2.place import Own, Size
from research.own_smollm2.tasks import CANDIDATES
from weighted_mtp.demo.arms import GATED, GENERATIVE, LOG_ODDS, ORACLE, RIGHT_ONLY, UNIFORM

BEGUN = "begun"
"""The cell that trains the start and samples it on the problems by which the rule takes a task."""
MAIN = (RIGHT_ONLY, UNIFORM, ORACLE, ARMS["signed_oracle"], GENERATIVE, LOG_ODDS, GATED)
"""Of every draw; an implicit critic with its arm would take a quarter more time."""
OUTSIDE = 1_000
LOWEST, HIGHEST, TAKEN = 0.10, 0.60, 2
"""The rule: the first two candidates of whose sampled validation problems, on the draw outside, so many are right."""


@dataclass(frozen=True)
class OwnCell(Cell):
    """A cell of a draw."""

    def first(self) -> set[str]:
        """Cells that must be there before it."""
        if self.name in (BEGUN, START):
            return {BEGUN} - {self.name}
        return super().first()

    def work(self) -> Callable[[Place], dict[str, Any]]:
        """What makes it."""
        own: dict[str, Callable[[Any], dict[str, Any]]] = {BEGUN: _begun, START: partial(start, begin=lambda place: {})}
        return own.get(self.name) or super().work()


def _begun(place: Own) -> dict[str, Any]:
    """A fixed number of steps on demonstrations, and the share of right samples behind them."""
    b, began = place.budget, time.process_time()
    place.write_first()
    settings = {"stage": "baseline", "learning_rate": b.start_learning_rate, "max_steps": b.start_steps}
    folder = trained(place, "start", place.base, "demonstrations", settings)
    seconds = time.process_time() - began
    prompts = place.problems["validation"]
    rows = place.judged(prompts, place.decode(folder, prompts, sampled="validation"))
    return {
        "sampled": sum(row["label"] for row in rows) / len(prompts),
        "read_back": len(rows) / len(prompts),
        "start_steps": b.start_steps,
        "train_cpu_seconds": round(seconds, 2),
    }


def rule_cells(out: Path, size: Size) -> list[OwnCell]:
    """The start of every candidate on the draw outside, in the order in which the rule looks at them."""
    return [OwnCell(Own(task.name, 0, OUTSIDE, out, size), BEGUN) for task in CANDIDATES]


def taken(seen: Mapping[str, float]) -> list[str]:
    """The tasks that the rule takes of those it saw, whose shares of right samples these are."""
    return [task for task, share in seen.items() if LOWEST <= share <= HIGHEST][:TAKEN]


def choice_cells(tasks: Sequence[str], out: Path, size: Size) -> list[OwnCell]:
    """Right-only on the draw outside, with every candidate's steps and rate."""
    places = [Own(task, 0, OUTSIDE, out, size) for task in tasks]
    return [OwnCell(place, name) for place in places for name in with_needs(tried((RIGHT_ONLY,), OF_ADAPTERS))]


def chosen(task: str, out: Path, size: Size) -> Size:
    """The size with the steps and rate with which right-only solves most problems of the draw outside, greedily."""
    cells = [cell for cell in choice_cells([task], out, size) if cell.name != START]
    best = max(cells, key=lambda cell: (cell.finished() or {}).get("greedy", -1.0))
    _, steps, rate = TRIED[best.name]
    return replace(size, steps=steps, learning_rate=rate)


def cells_of(tasks: Sequence[str], out: Path, size: Size, draws: int) -> Iterator[OwnCell]:
    """The cells of all draws, draw by draw."""
    sizes = {task: chosen(task, out, size) for task in tasks}
    for seed, task in itertools.product(range(draws), tasks):
        place = Own(task, 0, seed, out, sizes[task])
        yield from (OwnCell(place, name) for name in (BEGUN, *with_needs(MAIN)))
