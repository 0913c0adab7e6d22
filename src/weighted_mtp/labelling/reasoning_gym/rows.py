"""Prompts of reasoning-gym with a right completion and wrong ones, each judged by the task's scorer."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from weighted_mtp.choices import nearest
from weighted_mtp.data.schema import DataError
from weighted_mtp.files import number_of
from weighted_mtp.labelling.reasoning_gym.config import ReasoningGymConfig
from weighted_mtp.labelling.reasoning_gym.files import Made, OutputFile
from weighted_mtp.labelling.reasoning_gym.wrong_answers import Changed, wrong_answers
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.base import Verdict
from weighted_mtp.verifiers.reasoning_gym import CLOSE, OPEN, ReasoningGym
from weighted_mtp.verifiers.reasoning_gym_tasks import MEASURED_WITH, UNSOUND

INSTRUCTION = f"Give the final answer between {OPEN} and {CLOSE}."
"""Stands below every question, so that what a model writes before its answer is not taken for it."""
_ITEMS = 10_000  # that a task and a seed have; some tasks draw other items where this is another number
_BATCH = 32  # items at a time; a wrong answer may be another one's of the same batch
_SPARE = 2  # wrong answers tried beyond those that are asked for


def make_rows(config: ReasoningGymConfig, gym: ReasoningGym, console: Console | None = None) -> Made:
    """Writes `config.out` and `config.problems`, and goes on with what an earlier call has left there.

    Every question is asked once, in one of the two files. The right completion is the item's answer, and a problem
    whose answer the scorer does not give 1.0 is left out. Wrong ones (`wrong_answers`) are kept if the scorer fails
    them. The same settings give the same rows, whether in one call or in several.

    Args:
        config: tasks, counts and files.
        gym: makes the items and judges the answers.
        console: where the progress bar goes; None: none.

    Raises:
        DataError: a task that is unknown or whose scorer is unsound; a file with rows of another seed or version.
        LibraryError: the library could not make an item.
    """
    for task in config.tasks:
        _check_task(task, gym.tasks)
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar(console))
        maker = _Maker(config, gym, stack)
        for task in dict.fromkeys(config.tasks):
            bar = progress.add_task(task, total=maker.problem_count + maker.row_count)
            for _ in maker.make(task):
                progress.advance(bar)
    return maker.made


def print_tasks(gym: ReasoningGym, console: Console) -> None:
    """Prints every task of the installed library, those that are refused last, with the reason."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("scorer")
    for task in sorted(gym.tasks, key=lambda name: (name in UNSOUND, name)):
        table.add_row(task, f"refused: {UNSOUND[task]}" if task in UNSOUND else "accepts no wrong answer tried")
    console.print(table)
    console.print(f"reasoning-gym {gym.version}; scorers measured in {MEASURED_WITH}", style="dim")


@dataclass(frozen=True)
class _Item:
    """A problem, and the answers that stand for it: the right one first."""

    id: str
    task: str
    prompt: str
    entry: dict[str, Any]
    answers: list[Changed]
    verified_by: str

    def problem(self) -> dict[str, Any]:
        row = {"id": self.id, "task": self.task, "prompt": self.prompt, "entry": json.dumps(self.entry)}
        return row | {"verified_by": self.verified_by}

    def row(self, answer: Changed, verdict: Verdict) -> dict[str, Any]:
        judged = {"completion": _completion(answer), "label": verdict == "pass", "verdict": verdict}
        row = self.problem() | judged | {"made_by": answer.made_by}
        if answer.span is not None:
            row["span"] = [place + len(OPEN) for place in answer.span]
        return row


class _Maker:
    """Walks through the items of tasks and gives each to one of the two files."""

    def __init__(self, config: ReasoningGymConfig, gym: ReasoningGym, stack: ExitStack) -> None:
        self.config, self.gym = config, gym
        self.verified_by = f"reasoning-gym {gym.version}"
        self.made = Made(config.out, config.problems, gym.version)
        self.problem_count = config.problem_count if config.problems else 0
        self.row_count = config.count if config.out else 0
        self._problems = OutputFile(config.problems, config.seed, self.verified_by, stack)
        self._rows = OutputFile(config.out, config.seed, self.verified_by, stack)
        self._asked: set[str] = set()

    def make(self, task: str) -> Iterator[_Item]:
        """The task's items as they are written, or found written; first come the problems without completions."""
        problems, rows = self.problem_count, self.row_count
        items = self._judged(task)
        while problems or rows:
            item, verdicts = next(items, (None, None))
            if item is None:
                self.made.short[task] = self.problem_count + self.row_count - problems - rows
                return
            if verdicts is not None and verdicts[0] != "pass":
                self.made.counts["unverified"] += 1
            elif item.prompt in self._problems.held or (problems and item.prompt not in self._rows.held):
                self._problems.add(item.problem())
                self.made.counts["problems"] += 1
                problems -= 1
                yield item
            elif rows:
                self._add_rows(item, verdicts)
                rows -= 1
                yield item

    def _add_rows(self, item: _Item, verdicts: Sequence[Verdict] | None) -> None:
        if verdicts is not None:
            right, *judged = zip(item.answers, verdicts, strict=True)
            failed = [pair for pair in judged if pair[1] == "fail"]
            for answer, verdict in [right, *failed[: self.config.wrong]]:
                self._rows.add(item.row(answer, verdict))
        held = self._rows.held[item.prompt]
        self.made.counts.update(row["made_by"] for row in held)
        self.made.counts["without wrong"] += self.config.wrong > 0 and len(held) == 1

    def _judged(self, task: str) -> Iterator[tuple[_Item, list[Verdict] | None]]:
        """New questions with the verdicts on their answers; None where the item stands in a file already."""
        for first in range(0, _ITEMS, _BATCH):
            fresh = []
            for item in self._items(task, first):
                self.made.counts["duplicates"] += item.prompt in self._asked
                if item.prompt not in self._asked:
                    fresh.append(item)
                    self._asked.add(item.prompt)
            unknown = [item for item in fresh if not self._is_written(item.prompt)]
            verdicts = self.gym.check_all(
                {"completion": _completion(answer), "entry": item.entry} for item in unknown for answer in item.answers
            )
            for item in fresh:
                known = self._is_written(item.prompt)
                yield item, None if known else [next(verdicts) for _ in item.answers]

    def _is_written(self, prompt: str) -> bool:
        return prompt in self._problems.held or self._rows.is_whole(prompt)

    def _items(self, task: str, first: int) -> list[_Item]:
        config = self.config
        entries = self.gym.make(task, _task_seed(task, config.seed), _ITEMS, first, _BATCH)
        items = []
        for index, entry in enumerate(entries, start=first):
            name = f"{task}/{config.seed}/{index}"
            others = [other["answer"] for other in entries if other is not entry]
            count = config.wrong + _SPARE if config.wrong else 0
            wrong = wrong_answers(entry["answer"], others, count, random.Random(name))
            answers = [Changed(entry["answer"], "reference", None), *wrong]
            prompt = f"{entry['question'].rstrip()}\n\n{INSTRUCTION}\n"
            items.append(_Item(name, task, prompt, entry, answers, self.verified_by))
        return items


def _task_seed(task: str, seed: int) -> int:
    """A seed of 31 bits. The library adds the index to it: seeds 0 and 1 would share all items but one."""
    return number_of(f"{task}/{seed}", 4)


def _completion(answer: Changed) -> str:
    return f"{OPEN}{answer.text.strip()}{CLOSE}"


def _check_task(task: str, known: Sequence[str]) -> None:
    if task not in known:
        near = nearest(task, known)
        hint = f"did you mean {near[0]}?" if near else "--list prints all"
        raise DataError(f"unknown task {task!r}: {hint}")
    if task in UNSOUND:
        raise DataError(f"task {task} is refused: {UNSOUND[task]} (`--list` prints the others)")
