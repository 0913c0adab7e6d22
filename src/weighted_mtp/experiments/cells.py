"""Many short trainings on several cores: each a job in a worker process, after the jobs it needs."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from weighted_mtp.experiments.arms import Arm
from weighted_mtp.experiments.chain_files import read_chains
from weighted_mtp.experiments.chain_runs import Budget, Draw


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
    waiting = list(cells)
    running: dict[Future[dict[str, Any]], Cell] = {}
    prepared: set[Path] = set()
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker) as pool:
        while waiting or running:
            for cell in _ready(waiting, list(running.values()))[: jobs - len(running)]:
                if cell.root not in prepared:
                    prepare(cell)
                    prepared.add(cell.root)
                waiting.remove(cell)
                running[pool.submit(_run, cell)] = cell
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()


def _ready(waiting: Sequence[Cell], running: Sequence[Cell]) -> list[Cell]:
    unfinished = [*waiting, *running]
    return [cell for cell in waiting if not any(cell.needs(other) for other in unfinished)]


def start_worker() -> None:
    """Begins a worker process: one thread, and no chatter of libraries."""
    import torch

    from weighted_mtp.training.quiet import quiet_libraries

    torch.set_num_threads(1)
    quiet_libraries()


@lru_cache(maxsize=2)
def _draw(setting: str, seed: int, root: Path, tracking_uri: str, budget: Budget) -> Draw:
    return Draw(setting, read_chains(root), seed, root, tracking_uri, budget)


def _run(cell: Cell) -> dict[str, Any]:
    return _draw(cell.setting, cell.seed, cell.root, cell.tracking_uri, cell.budget).run(cell.arm)
