"""`wmtp data split`: training and test files by task, with near-duplicates on one side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighted_mtp.data.folds import Overlap, groups_of, popular_limit, split_tasks
from weighted_mtp.data.forms import texts_of
from weighted_mtp.data.json_lines import JsonLinesWriter, read_json_lines
from weighted_mtp.data.schema import DataError, is_unjudged, parse_row
from weighted_mtp.data.sources import UNJUDGED
from weighted_mtp.training.errors import ConfigError, settle

Rows = list[dict[str, Any]]
_SAYS_ENOUGH = 7
"""Words and signs below which two equal completions, as `The answer is 42.`, make no near-duplicates."""
_UNSEEN = ("system", "developer")
"""Roles of messages that belong to a data set, not to a task."""


@dataclass(frozen=True)
class SplitConfig:
    """What is split, and into how many folds."""

    input: str
    """Rows as JSON lines; those of a task stay together."""
    out: str
    """Folder of fold0/train.jsonl, fold0/test.jsonl, fold1/..."""
    folds: int = 5
    """How many; each is the test set once."""
    task: str = "task_id"
    """The column that names a row's task; prompt where there is no other."""
    threshold: float = 0.5
    """Tasks of which this share of a prompt or a right completion stands in another's are kept together."""
    seed: int = 0
    """Another split for another number."""

    def __post_init__(self) -> None:
        settle(self, "input", "out")
        if self.folds < 2:
            raise ConfigError(f"folds is {self.folds}: give at least 2")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}: give a number in (0, 1]")


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
    shared: int = 0
    """Runs of words that so many tasks hold that they say nothing about two of them."""
    largest: int = 1
    """Tasks of the largest group that cannot be parted."""
    unjudged: int = 0
    """Rows dropped because their check could not be made."""

    def summary(self) -> str:
        """Sizes, and how far the folds are apart."""
        sizes = ", ".join(f"{t} tasks with {r} rows" for t, r in zip(self.tasks, self.rows, strict=True))
        lines = [
            f"{self.out}: {len(self.tasks)} folds: {sizes}",
            f"{len(self.together)} pairs of near-duplicate tasks kept together; across folds at most"
            f" {self.closest:.0%} of a prompt or a right completion stands in another's",
        ]
        if self.shared:
            lines.append(
                f"{self.shared} runs of five words stand in more than {popular_limit(sum(self.tasks))} tasks, as a"
                " template's do, and were not counted"
            )
        if self.unjudged:
            lines.append(f"{self.unjudged} rows dropped: {UNJUDGED}")
        return "\n".join(lines)

    def warning(self) -> str:
        """One line where the folds are far from even; else empty."""
        even = sum(self.tasks) / len(self.tasks)
        if max(self.tasks) - min(self.tasks) <= max(1, even / 2):
            return ""
        return (
            f"the folds are uneven, {', '.join(map(str, self.tasks))} tasks: one group of {self.largest} tasks that"
            " are near-duplicates of each other, also by way of others, cannot be parted; a higher --threshold may"
        )


def split_file(config: SplitConfig) -> SplitReport:
    """Writes fold{k}/train.jsonl and fold{k}/test.jsonl; every row is in one test file and in all other train files.

    Two tasks are near-duplicates where the prompt of one stands in the other's to a large part, or its first right
    completion does, or both together; system prompts, and what many tasks share, are not counted (`Overlap`). Rows
    whose check could not be made are left out.
    """
    out = Path(config.out)
    if there := [path for fold in range(config.folds) for path in _files(out, fold) if path.exists()]:
        raise DataError(f"{there[0]} is there already: give another folder, or move this one away")
    given = read_json_lines(config.input)
    rows = [row for row in given if not is_unjudged(row)]
    if not rows:
        raise DataError(f"{config.input}: all {len(given)} rows are dropped, {UNJUDGED}: check them again")
    read = [_with_prompt(row) for row in rows]
    by_task = _by_task(read, config)
    names, overlaps = list(by_task), _overlaps(list(by_task.values()))
    together = {(names[a], names[b]): share for (a, b), share in _near(overlaps, config.threshold).items()}
    try:
        fold_of = split_tasks(names, together, config.folds, config.seed)
    except ValueError as error:
        raise DataError(f"{config.input}: {error}") from None
    parts: list[Rows] = [[] for _ in range(config.folds)]
    for row, known in zip(rows, read, strict=True):
        parts[fold_of[str(known[config.task])]].append(row)
    for fold, part in enumerate(parts):
        others = [row for other in parts if other is not part for row in other]
        for path, held in zip(_files(out, fold), (part, others), strict=True):
            with JsonLinesWriter(path) as writer:
                for row in held:
                    writer.write(row)
    folds = [fold_of[name] for name in names]
    return SplitReport(
        out=out,
        tasks=[folds.count(fold) for fold in range(config.folds)],
        rows=[len(part) for part in parts],
        together=together,
        closest=max((share for (a, b), share in _shares(overlaps) if folds[a] != folds[b]), default=0.0),
        shared=max(overlap.n_popular for overlap in overlaps),
        largest=max(map(len, groups_of(names, together))),
        unjudged=len(given) - len(rows),
    )


def _with_prompt(row: dict[str, Any]) -> dict[str, Any]:
    """The row with a prompt and a completion, if it comes in another form that training reads."""
    if isinstance(row.get("messages"), list) or isinstance(row.get("conversations"), list) or row.get("completions"):
        try:
            return row | texts_of(row)[1]
        except DataError:
            return row
    if row.get("prompt") is not None or not row.get("instruction"):
        return row
    given = "\n".join(str(row[name]) for name in ("instruction", "input") if row.get(name))
    return row | {"prompt": given, "completion": row.get("output")}


def _by_task(rows: Rows, config: SplitConfig) -> dict[str, Rows]:
    tasks: dict[str, Rows] = {}
    for number, row in enumerate(rows, start=1):
        for column in (config.task, "prompt"):
            if row.get(column) is None:
                raise DataError(
                    f"{config.input}: row {number} has no `{column}`; --task names the column of tasks (prompt: each "
                    "prompt is one)"
                )
        tasks.setdefault(str(row[config.task]), []).append(row)
    return tasks


def _overlaps(tasks: Sequence[Rows]) -> list[Overlap]:
    """Of prompts, of right completions, and of both as one: a solution may be the helper that a prompt holds."""
    prompts = [_text(rows[0]["prompt"]) for rows in tasks]
    right = [
        next((_text(row["completion"]) for row in rows if row.get("completion") and _is_right(row)), "")
        for rows in tasks
    ]
    whole = [prompt + completion if completion else "" for prompt, completion in zip(prompts, right, strict=True)]
    return [Overlap(prompts), Overlap(right, least=_SAYS_ENOUGH), Overlap(whole)]


def _near(overlaps: Sequence[Overlap], threshold: float) -> dict[tuple[int, int], float]:
    """Pairs of tasks of which one overlap at least is as large as `threshold`, with the largest, in their order."""
    found: dict[tuple[int, int], float] = {}
    for pair, share in _shares(overlaps):
        if share >= threshold:
            found[pair] = max(share, found.get(pair, 0.0))
    return dict(sorted(found.items()))


def _shares(overlaps: Sequence[Overlap]) -> Iterator[tuple[tuple[int, int], float]]:
    """Pairs of tasks, with what they share by each overlap."""
    for overlap in overlaps:
        for first, shares in overlap.pairs():
            for second, share in shares.items():
                yield (first, second), share


def _is_right(row: Mapping[str, Any]) -> bool:
    labels = {name: row[name] for name in ("label", "is_correct", "reward", "verdict") if name in row}
    try:
        return parse_row({"prompt": "-", "completion": "-"} | labels)["label"]
    except DataError:
        return False


def _text(given: Any) -> str:
    """Text as it is; of messages what they say, without system prompts."""
    if not isinstance(given, list):
        return str(given)
    said = [message for message in given if isinstance(message, Mapping) and message.get("role") not in _UNSEEN]
    return "\n".join(_content(message.get("content")) for message in said)


def _content(given: Any) -> str:
    """A message's text; content may come in parts."""
    if isinstance(given, list):
        return "\n".join(str(part.get("text") or "") for part in given if isinstance(part, Mapping))
    return given if isinstance(given, str) else ""


def _files(out: Path, fold: int) -> list[Path]:
    """Where the rows of a fold are, and all others."""
    return [out / f"fold{fold}" / f"{name}.jsonl" for name in ("test", "train")]
