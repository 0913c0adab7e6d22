"""What a worker of the study does: an arm, or the generative critic decoded under guidance."""

import time
from typing import Any

from research.chains.study_arms import ALL_ARMS, GUIDED
from weighted_mtp.demo.cells import Cell
from weighted_mtp.demo.draw import Draw
from weighted_mtp.models import MTPModel


def study_cell(cell: Cell) -> dict[str, Any]:
    """The result of a cell's arm."""
    return _guided(cell.draw) if cell.arm == GUIDED else cell.draw.run(cell.arm)


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
