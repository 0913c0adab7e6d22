"""The parts of the experiment, what was chosen on a draw outside, and how the cells are run."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from research.on_policy.arms import (
    CANDIDATES,
    CHANGE_POINT,
    DRAWN,
    DRAWN_ARMS,
    FEW,
    GATED_BY_QUARTER,
    MAIN,
    ORACLE_BEHIND,
    ROW_GATED,
    START,
    TRIED,
    tried,
    with_needs,
)
from research.on_policy.cells import Cell, run_cell
from research.on_policy.place import Budget, Place
from weighted_mtp.demo.arms import RIGHT_ONLY, Arm
from weighted_mtp.demo.jobs import job_progress, run_jobs

OUTSIDE = 1_000
"""The draw on which steps and rates were chosen, for the start and for right_only."""
START_SHARE = {
    "arithmetic": {10: 0.04, 25: 0.10, 50: 0.25},
    "strings": {10: 0.12, 25: 0.25, 50: 0.50},
    "states": {10: 0.08, 25: 0.20, 50: 0.45},
}
"""Percent of right samples -> share of the validation problems at which a start's rate goes down. From .10 they
went to .25, .08 and .12 on that draw."""


class Part(NamedTuple):
    """Which arms run where."""

    arms: tuple[Arm, ...]
    shares: tuple[int, ...] = (25,)
    draws: int = 5
    rounds: int = 1


RATES = "rates"
"""The part that tries every candidate with some arms, on the draw outside."""
PARTS = {
    "main": Part(MAIN),
    "shares": Part(FEW, shares=(10, 50), draws=3),
    "rounds": Part(FEW, draws=3, rounds=3),
    "drawn": Part((*DRAWN.values(), *DRAWN_ARMS, *ROW_GATED), draws=3),
    "blame": Part((*CHANGE_POINT, ORACLE_BEHIND), draws=3),
    "quarters": Part((GATED_BY_QUARTER,), draws=3),
}


def choice_cells(tasks: Sequence[str], out: Path, arms: Sequence[Arm] = (RIGHT_ONLY,)) -> list[Cell]:
    """Arms on the draw outside, with every candidate's steps and rate, and what they need."""
    places = [Place(task, 25, OUTSIDE, out, Budget(START_SHARE[task][25], *CANDIDATES[0])) for task in tasks]
    return [Cell(place, name) for place in places for name in with_needs(tried(arms))]


def chosen(task: str, out: Path) -> tuple[int, float]:
    """Steps and rate with which right-only solves most problems of the draw outside by greedy decoding."""
    solved = {c.name: (c.finished() or {}).get("greedy", -1.0) for c in choice_cells([task], out) if c.name != START}
    _, steps, rate = TRIED[max(solved, key=solved.__getitem__)]
    return steps, rate


def cells_of(part: str, tasks: Sequence[str], draws: int | None, out: Path) -> list[Cell]:
    """All cells of a part, draw by draw; those that a cell needs stand before it. Those of the choice are finished."""
    if part == RATES:
        return choice_cells(tasks, out, FEW)
    return list(_cells(PARTS[part], {task: chosen(task, out) for task in tasks}, draws, out))


def _cells(part: Part, tasks: Mapping[str, tuple[int, float]], draws: int | None, out: Path) -> Iterator[Cell]:
    for seed, share in itertools.product(range(part.draws if draws is None else draws), part.shares):
        for task, steps_and_rate in tasks.items():
            place = Place(task, share, seed, out, Budget(START_SHARE[task][share], *steps_and_rate))
            yield from (Cell(place, name) for name in with_needs(part.arms))
            for arm, later in itertools.product(part.arms, range(1, part.rounds)):
                then = replace(place, lineage=(arm.name,) * later)
                yield from (Cell(then, name) for name in with_needs((arm,)))


def run(cells: Sequence[Any], jobs: int, make: Callable[[Any], dict[str, Any]] = run_cell) -> None:
    """Makes the cells that are not there, some at a time, each on one thread."""
    console = Console()
    missing = [cell for cell in cells if cell.finished() is None]
    with job_progress(console) as progress:
        task = progress.add_task("", total=len(cells), completed=len(cells) - len(missing))
        for cell, result in run_jobs(missing, jobs, make):
            done = f"{cell.file.parent.name}: {cell.name}"
            solved = f", {result['greedy']:.1%} solved" if "greedy" in result else ""
            progress.update(task, advance=1, description=done)
            console.print(f"{done}{solved}, {result['cpu_seconds']:.0f} CPU s")
