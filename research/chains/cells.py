"""The trainings of the study: each arm of each draw, in a worker process, after the arms that it needs."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from research.chains.study_arms import ALL_ARMS, GUIDED
from research.jobs import run_jobs
from weighted_mtp.data import Chains
from weighted_mtp.demo.arms import Arm
from weighted_mtp.demo.draw import Budget, Draw
from weighted_mtp.models import MTPModel


@dataclass(frozen=True)
class Cell:
    """One arm in one draw of one setting; all that a worker needs to know."""

    setting: str
    seed: int
    root: Path
    tracking_uri: str
    budget: Budget
    arm: Arm

    def needs(self, other: "Cell") -> bool:
        """Whether the other cell must be there first."""
        return other.root == self.root and other.arm.name in self.arm.needs


def run_cells(
    cells: Sequence[Cell], jobs: int, prepare: Callable[[Cell], None]
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Trains the cells, at most `jobs` at a time, and gives each with its result when it is there.

    Args:
        cells: in any order; a cell waits for those it needs.
        jobs: worker processes; each computes on one thread.
        prepare: called here before the first cell of a draw is handed out; writes the draw's rows.

    Raises:
        Exception: what a training raised; cells that others are at work on are finished first.
    """
    prepared: set[Path] = set()

    def prepare_draw(cell: Cell) -> None:
        if cell.root not in prepared:
            prepare(cell)
            prepared.add(cell.root)

    return run_jobs(cells, jobs, _run, prepare_draw)


def read_chains(folder: Path) -> Chains:
    """What `write_chains` wrote."""
    names = ("train", "test", "fresh")
    return Chains(*([json.loads(line) for line in (folder / f"{n}.jsonl").read_text().splitlines()] for n in names))


@lru_cache(maxsize=2)
def _draw(setting: str, seed: int, root: Path, tracking_uri: str, budget: Budget) -> Draw:
    return Draw(setting, read_chains(root), seed, root, tracking_uri, budget)


def _run(cell: Cell) -> dict[str, Any]:
    draw = _draw(cell.setting, cell.seed, cell.root, cell.tracking_uri, cell.budget)
    return _guided(draw) if cell.arm == GUIDED else draw.run(cell.arm)


def _guided(draw: Draw) -> dict[str, Any]:
    """The result of the generative critic, with what it solves when it is decoded under guidance."""
    critic, started = draw.run(ALL_ARMS[GUIDED.start]), time.process_time()
    solved = draw.accuracy(MTPModel.from_pretrained(draw.root / GUIDED.start), GUIDED.decode_under, guidance=1.0)
    seconds = round(time.process_time() - started, 1)
    return critic | {
        "arm": GUIDED.name,
        "accuracy": solved,
        "quality": None,
        "seconds": seconds,
        "cpu_seconds": seconds,
    }
