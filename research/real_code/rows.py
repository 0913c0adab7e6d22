"""Real code with known bugs, cut into five folds by task: what the experiment on real code trains and tests on.

A fold's tasks are tested by models that were trained on the other folds. Within these, a few tasks are set apart for
early stopping. Tasks that are near-duplicates share a fold, and a side of that cut.
"""

import json
import logging
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from research.real_code.closeness import task_closeness
from weighted_mtp.data import load_rows
from weighted_mtp.data.folds import split_tasks
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.files import write_text
from weighted_mtp.training.errors import ConfigError

Row = dict[str, Any]
logger = logging.getLogger(__name__)

FOLDS = 5
PARTS = 15
"""Groups of tasks: three make a fold, and one of another fold stops training early."""
THRESHOLD = 0.5
"""Containment from which on two tasks are near-duplicates."""
ROWS_FILE, SUMMARY_FILE = "rows.jsonl", "data.json"


@dataclass(frozen=True)
class Selection:
    """Which rows an experiment takes."""

    data: list[str]
    """Files of rows with task_id, prompt, completion, label and, where wrong, span."""
    max_length: int
    """Tokens of prompt, completion and EOS at most; longer rows are left out."""
    rows_per_label: int
    """Right ones, and wrong ones, of a task at most."""
    seed: int = 0
    """Which rows, and which tasks share a fold."""


def prepare_rows(selection: Selection, tokenizer: Any, out: Path) -> list[Row]:
    """Writes rows.jsonl, data.json and each fold's train, valid and test file; what is there already is read.

    Raises:
        ConfigError: the folder holds other rows.
        DataError: a malformed row, or too few tasks.
    """
    summary = out / SUMMARY_FILE
    if summary.exists():
        if json.loads(summary.read_text())["selection"] != asdict(selection):
            raise ConfigError(f"{out} holds other rows than these settings choose: give another --out")
        return read_json_lines(out / ROWS_FILE)
    tasks = _usable_tasks(selection, tokenizer)
    part_of, closest = _parts(tasks, selection.seed)
    rows = [row | {"part": part_of[task], "row": 0} for task, held in tasks.items() for row in held]
    for number, row in enumerate(rows):
        row["row"] = number
    out.mkdir(parents=True, exist_ok=True)
    _write(out / ROWS_FILE, rows)
    for fold in range(FOLDS):
        for name, held in sides(rows, fold).items():
            _write(out / f"fold{fold}" / f"{name}.jsonl", held)
    described = {"selection": asdict(selection), **_described(rows), "closest_across_folds": closest}
    write_text(summary, json.dumps(described, indent=1))
    return rows


def sides(rows: Sequence[Row], fold: int) -> dict[str, list[Row]]:
    """The rows of a fold's three files: test, valid (for early stopping) and train."""
    held: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for row in rows:
        own = fold_of(row) == fold
        held["test" if own else "valid" if row["part"] == (fold + 1) % FOLDS else "train"].append(row)
    held["valid"] = _one_of_each(held["valid"])
    return held


def _one_of_each(rows: Sequence[Row]) -> list[Row]:
    """The first right and the first wrong row of each task: an evaluation that is cheap."""
    return list({(row["task_id"], row["label"]): row for row in reversed(rows)}.values())[::-1]


def fold_of(row: Mapping[str, Any]) -> int:
    """The fold that tests this row."""
    return int(row["part"]) % FOLDS


def kind_of_bug(row: Mapping[str, Any]) -> str | None:
    """Of a wrong row, what stands before the colon in `mutation`: comparison, off_by_one, ...; None: not known.

    Examples:
        >>> kind_of_bug({"label": False, "mutation": "comparison: < -> <="}), kind_of_bug({"label": True})
        ('comparison', None)
    """
    kind, colon, _ = str(row.get("mutation")).partition(":")
    return kind if colon and not row["label"] else None


def _usable_tasks(selection: Selection, tokenizer: Any) -> dict[str, list[Row]]:
    """Of each task that has right and wrong rows of usable length, the first right and some wrong ones."""
    found: dict[str, list[Row]] = defaultdict(list)
    for path in selection.data:
        rows, report = load_rows(path)
        if report.unjudged:
            logger.warning("%s: %s", path, report.dropped())
        for number, row in enumerate(rows, start=1):
            if row.get("task_id") is None:
                raise DataError(f"{path}: row {number} has no `task_id`")
            if _length(row, tokenizer) <= selection.max_length:
                task = str(row["task_id"])  # a number would not come back from JSON as one
                found[task].append(row | {"task_id": task, "source": Path(path).stem})
    tasks = {}
    for task, rows in found.items():
        right = [row for row in rows if row["label"]]
        wrong = [row for row in rows if not row["label"] and row.get("span")]
        if right and wrong:
            random.Random(f"{selection.seed} {task}").shuffle(wrong)
            tasks[task] = right[: selection.rows_per_label] + wrong[: selection.rows_per_label]
    if len(tasks) < PARTS:
        raise DataError(
            f"{', '.join(selection.data)}: {len(tasks)} tasks have a right and a wrong completion with a `span` "
            f"within {selection.max_length} tokens, and at least {PARTS} are needed"
        )
    return tasks


def _length(row: Row, tokenizer: Any) -> int:
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    return len(tokenizer(row["prompt"])["input_ids"]) + len(completion) + 1


def _parts(tasks: Mapping[str, list[Row]], seed: int) -> tuple[dict[str, int], float]:
    """The part of each task, and how much of a task stands in one of another part at most."""
    closeness = task_closeness(
        {task: str(rows[0]["prompt"]) for task, rows in tasks.items()},
        {task: str(rows[0]["completion"]) for task, rows in tasks.items()},
    )
    together = [pair for pair, share in closeness.items() if share >= THRESHOLD]
    try:
        part_of = split_tasks(list(tasks), together, PARTS, seed)
    except ValueError as error:
        raise DataError(str(error)) from None
    return part_of, max((share for (a, b), share in closeness.items() if part_of[a] != part_of[b]), default=0)


def _described(rows: Sequence[Row]) -> dict[str, Any]:
    """Numbers of tasks and rows, by source and by fold."""
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sources[row["source"]].append(row)
    return {
        "sources": {name: _counts(held) for name, held in sources.items()},
        "folds": [_counts([row for row in rows if fold_of(row) == fold]) for fold in range(FOLDS)],
    }


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    right = sum(bool(row["label"]) for row in rows)
    return {"tasks": len({row["task_id"] for row in rows}), "right": right, "wrong": len(rows) - right}


def _write(path: Path, rows: Sequence[Row]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
