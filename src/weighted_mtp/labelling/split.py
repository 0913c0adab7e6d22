"""`wmtp data split`: training and test files by task, with near-duplicates on one side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighted_mtp.data.folds import split_tasks, task_closeness
from weighted_mtp.data.json_lines import JsonLinesWriter, read_json_lines
from weighted_mtp.data.schema import DataError

from .split_config import SplitConfig

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class SplitReport:
    """What was written."""

    out: Path
    tasks: list[int]
    """Tasks of each fold."""
    rows: list[int]
    """Rows of each fold."""
    together: Mapping[tuple[str, str], float]
    """Pairs of tasks that were kept together, with the larger containment of their prompts or completions."""
    closest: float
    """The largest containment of a prompt or a right completion across folds."""

    def summary(self) -> str:
        """Sizes, and how far the folds are apart."""
        sizes = ", ".join(f"{t} tasks with {r} rows" for t, r in zip(self.tasks, self.rows, strict=True))
        return (
            f"{self.out}: {len(self.tasks)} folds: {sizes}\n"
            f"{len(self.together)} pairs of near-duplicate tasks kept together; across folds at most"
            f" {self.closest:.0%} of a prompt or a right completion stands in another's"
        )


def split_file(config: SplitConfig) -> SplitReport:
    """Writes fold{k}/train.jsonl and fold{k}/test.jsonl; every row is in one test file and in all other train files.

    Two tasks are near-duplicates where the prompt of one stands in the other's to a large part, or its first right
    completion does, or both together (`near_duplicates`).

    Raises:
        DataError: rows without a task or a prompt, too few tasks, or files that are there already.
    """
    rows = read_json_lines(config.input)
    by_task = _by_task(rows, config)
    closeness = _closeness(by_task)
    together = {pair: share for pair, share in closeness.items() if share >= config.threshold}
    try:
        fold_of = split_tasks(list(by_task), together, config.folds, config.seed)
    except ValueError as error:
        raise DataError(f"{config.input}: {error}") from None
    parts: list[Rows] = [[] for _ in range(config.folds)]
    for row in rows:
        parts[fold_of[str(row[config.task])]].append(row)
    _write(parts, Path(config.out))
    return SplitReport(
        out=Path(config.out),
        tasks=[list(fold_of.values()).count(fold) for fold in range(config.folds)],
        rows=[len(part) for part in parts],
        together=together,
        closest=max((share for (a, b), share in closeness.items() if fold_of[a] != fold_of[b]), default=0.0),
    )


def _by_task(rows: Rows, config: SplitConfig) -> dict[str, Rows]:
    tasks: dict[str, Rows] = {}
    for number, row in enumerate(rows, start=1):
        for column in (config.task, "prompt"):
            if row.get(column) is None:
                raise DataError(
                    f"{config.input}: row {number} has no `{column}`; --task names the column of tasks"
                )
        tasks.setdefault(str(row[config.task]), []).append(row)
    return tasks


def _closeness(tasks: Mapping[str, Rows]) -> dict[tuple[str, str], float]:
    prompts = {task: str(rows[0]["prompt"]) for task, rows in tasks.items()}
    right = {task: text for task, rows in tasks.items() if (text := _right_completion(rows))}
    return task_closeness(prompts, right)


def _right_completion(rows: Sequence[Mapping[str, Any]]) -> str | None:
    return next(
        (row["completion"] for row in rows if row.get("label") is True and row.get("completion")), None
    )


def _write(parts: Sequence[Rows], out: Path) -> None:
    files = {
        out / f"fold{fold}" / f"{name}.jsonl": held
        for fold in range(len(parts))
        for name, held in (
            ("test", parts[fold]),
            ("train", [row for other, part in enumerate(parts) if other != fold for row in part]),
        )
    }
    for path in files:
        if path.exists():
            raise DataError(f"{path} is there already: give another folder, or move this one away")
    for path, held in files.items():
        with JsonLinesWriter(path) as writer:
            for row in held:
                writer.write(row)
