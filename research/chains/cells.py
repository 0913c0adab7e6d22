"""What a worker of the study does: an arm, gated by quarter, or the generative critic decoded under guidance."""

import json
import shutil
import time
from dataclasses import replace
from typing import Any

from research.chains.study_arms import ALL_ARMS, GATED, GATED_BY_QUARTER, GUIDED
from research.weights import gate_by_quarter, mixed_by_quarter, rows_of_folds
from weighted_mtp.data import load_rows
from weighted_mtp.demo.cells import Cell
from weighted_mtp.demo.draw import Draw
from weighted_mtp.files import write_text
from weighted_mtp.models import MTPModel
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score


def study_cell(cell: Cell) -> dict[str, Any]:
    """The result of a cell's arm."""
    if cell.arm == GUIDED:
        return _guided(cell.draw)
    return _by_quarter(cell.draw) if cell.arm == GATED_BY_QUARTER else cell.draw.run(cell.arm)


def _by_quarter(draw: Draw) -> dict[str, Any]:
    """The result of the student that trusts each quarter of a completion by the skill that the folds of gated show."""
    arm = replace(GATED_BY_QUARTER, reference="")
    if (finished := draw.finished(arm)) is not None:
        return finished
    out = draw.root / f"{arm.name}-credit"
    shutil.rmtree(out, ignore_errors=True)
    critic, rows = str(draw.root / GATED.critic), str(draw.root / "train.jsonl")
    score(ScoreConfig(critic, rows, str(out), max_length=64, batch_size=256), quiet=True)
    credited = load_rows(str(out))[0]
    weights = mixed_by_quarter(credited, gate_by_quarter(rows_of_folds(f"{critic}-folds", draw.budget.folds)))
    shutil.rmtree(out)
    lines = (json.dumps({**row, "weights": w}) for row, w in zip(credited, weights, strict=True) if any(w))
    write_text(draw.root / f"{arm.rows}.jsonl", "".join(f"{line}\n" for line in lines))
    return draw.run(arm)


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
