"""Arms of draws as jobs: each in a worker process, after the arms that it needs."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from weighted_mtp.data import Chains
from weighted_mtp.demo.arms import Arm
from weighted_mtp.demo.draw import Budget, Draw
from weighted_mtp.demo.jobs import run_jobs


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
        """Whether the other cell must be there first; the first gated arm of a critic measures its skill."""
        mine, theirs = self.arm, other.arm
        measures = mine.scheme == theirs.scheme == "gated" and theirs.critic == mine.critic
        first = measures and theirs.n_future < mine.n_future
        return other.root == self.root and (theirs.name in mine.needs or first)

    @property
    def draw(self) -> Draw:
        """Its draw, whose rows are on disk."""
        return _draw(self.setting, self.seed, self.root, self.tracking_uri, self.budget)


def train_cell(cell: Cell) -> dict[str, Any]:
    """The result of its arm."""
    return cell.draw.run(cell.arm)


def run_cells(
    cells: Sequence[Cell],
    jobs: int,
    prepare: Callable[[Cell], None],
    work: Callable[[Cell], dict[str, Any]] = train_cell,
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Trains the cells, at most `jobs` at a time, and gives each with its result when it is there.

    Args:
        cells: in any order; a cell waits for those it needs.
        jobs: worker processes; each computes on one thread.
        prepare: called here before the first cell of a draw is handed out; writes the draw's rows.
        work: what a worker does with a cell.

    Raises:
        Exception: what a training raised; cells that others are at work on are finished first.
    """
    prepared: set[Path] = set()

    def prepare_draw(cell: Cell) -> None:
        if cell.root not in prepared:
            prepare(cell)
            prepared.add(cell.root)

    return run_jobs(cells, jobs, work, prepare_draw)


def read_chains(folder: Path) -> Chains:
    """What `write_chains` wrote."""
    names = ("train", "test", "fresh")
    return Chains(*([json.loads(line) for line in (folder / f"{n}.jsonl").read_text().splitlines()] for n in names))


@lru_cache(maxsize=2)
def _draw(setting: str, seed: int, root: Path, tracking_uri: str, budget: Budget) -> Draw:
    return Draw(setting, read_chains(root), seed, root, tracking_uri, budget)
