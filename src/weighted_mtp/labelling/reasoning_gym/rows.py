"""Prompts of reasoning-gym with a right completion and wrong ones, each judged by the task's scorer."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from weighted_mtp.choices import nearest
from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.data.schema import DataError
from weighted_mtp.files import number_of
from weighted_mtp.labelling.reasoning_gym.wrong_answers import Changed, wrong_answers
from weighted_mtp.labelling.verify import difference
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.training.errors import ConfigError, settle
from weighted_mtp.verifiers.base import Verdict
from weighted_mtp.verifiers.final_answer import ANSWER
from weighted_mtp.verifiers.reasoning_gym import MEASURED_WITH, UNSOUND, ReasoningGym
from weighted_mtp.verifiers.table import trail

OPEN, CLOSE = ANSWER
INSTRUCTION = f"Give the final answer between {OPEN} and {CLOSE}."
"""Stands below every question, so that what a model writes before its answer is not taken for it."""
_ITEMS = 10_000  # that a task and a seed have; some tasks draw other items where this is another number
_BATCH = 32  # items at a time; a wrong answer may be another one's of the same batch
_SPARE = 2  # wrong answers tried beyond those that are asked for


@dataclass(frozen=True)
class ReasoningGymConfig:
    """Which problems are made, how many, and where they go."""

    tasks: list[str] = field(default_factory=list)
    """Names of tasks; `--list` prints them."""
    out: str | None = None
    """JSON lines for training: prompts with a right completion and wrong ones. A second call goes on."""
    count: int = 500
    """Problems of each task in `out`."""
    wrong: int = 1
    """Wrong completions of each problem, at most."""
    seed: int = 0
    """Other problems for another number."""
    problems: str | None = None
    """JSON lines for `wmtp evaluate`: problems without completions, none of which is in `out`."""
    problem_count: int = 100
    """Problems of each task in `problems`."""
    timeout: float = 5.0
    """Seconds that scoring an answer may take."""
    list: bool = False
    """Print all tasks, and which scorers hold."""

    def __post_init__(self) -> None:
        settle(self, "out", "problems")
        if self.list:
            return
        if not self.tasks:
            raise ConfigError("no task given: --tasks '[basic_arithmetic, leg_counting]'; --list prints all")
        for name in ("count", "wrong", "problem_count"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 or more")
        if self.problems == self.out:
            given = "missing" if self.out is None else f"both {self.out}"
            raise ConfigError(f"out and problems are {given}: give one file, or two different ones")


@dataclass
class Made:
    """What the two files hold after a call, and what they lack."""

    out: str | None
    problems: str | None
    version: str
    counts: Counter[str] = field(default_factory=Counter)
    """Rows by `made_by`; `problems`; questions asked before (`duplicates`), whose own answer does not pass
    (`unverified`), and of which no wrong answer was found (`without wrong`)."""
    short: dict[str, int] = field(default_factory=dict)
    """Tasks that ran out of different problems, and how many they gave."""

    def summary(self) -> str:
        """The rows, what was left out, and what to know."""
        counts, lines = self.counts, []
        if self.out:
            wrong = {name: n for name, n in sorted(counts.items()) if name.startswith(("corrupted", "other"))}
            kinds = ", ".join(f"{n} {name}" for name, n in wrong.items()) or "none"
            right = counts["reference"]
            lines.append(f"{self.out}: test-verified: {right} right, {sum(wrong.values())} wrong ({kinds})")
        if self.problems:
            lines.append(f"{self.problems}: {counts['problems']} problems without completions")
        if any(counts[name] for name in ("duplicates", "unverified", "without wrong")):
            lines.append(
                f"{counts['duplicates']} questions came again and {counts['unverified']} items' own answers do not"
                f" pass: left out; {counts['without wrong']} prompts have no wrong completion"
            )
        lines += [f"{task}: has no more than {n} different problems" for task, n in self.short.items()]
        if self.version != MEASURED_WITH:
            lines.append(f"scorers were measured in reasoning-gym {MEASURED_WITH}; this is {self.version}")
        return "\n".join(lines)


def make_rows(config: ReasoningGymConfig, gym: ReasoningGym, console: Console | None = None) -> Made:
    """Writes `config.out` and `config.problems`, and goes on with what an earlier call has left there.

    Every question is asked once, in one of the two files. The right completion is the item's answer; a problem whose
    answer the scorer does not give 1.0 is left out. Wrong ones (`wrong_answers`) are kept if the scorer fails them. The
    same settings give the same rows, in one call or several. DataError: an unknown task, an unsound scorer, a file with
    rows of another seed or version; LibraryError: the library could not make an item."""
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


def _check_task(task: str, known: Sequence[str]) -> None:
    if task not in known:
        near = nearest(task, known)
        hint = f"did you mean {near[0]}?" if near else "--list prints all"
        raise DataError(f"unknown task {task!r}: {hint}")
    if task in UNSOUND:
        raise DataError(f"task {task} is refused: {UNSOUND[task]} (`--list` prints the others)")


class _OutputFile:
    """The prompts that a file holds, and more of them; no path: none, ever."""

    def __init__(self, path: str | None, seed: int, judged_by: dict[str, Any], stack: ExitStack) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {}
        self._last: str | None = None
        if path is None:
            return
        writer = JsonLinesWriter(path)
        for number, row in enumerate(writer.done, start=1):
            if str(row.get("id")).split("/")[1:2] != [str(seed)]:
                raise writer.other_row(number, f"is not of seed {seed}")
            if (other := difference(row, judged_by)) is not None:
                raise writer.other_row(number, other)
            self.held.setdefault(row["prompt"], []).append(row)
            self._last = row["prompt"]
        self._writer = stack.enter_context(writer)

    def is_whole(self, prompt: str) -> bool:
        """All rows of a prompt are there: those of the last one may have been cut off."""
        return prompt in self.held and prompt != self._last

    def add(self, row: Mapping[str, Any]) -> None:
        """Writes a row that is not there yet."""
        held = self.held.setdefault(row["prompt"], [])
        if all(other.get("completion") != row.get("completion") for other in held):
            self._writer.write(row)
            held.append(dict(row))


@dataclass(frozen=True)
class _Item:
    """A problem's columns, its item of the library, and the answers that stand for it: the right one first."""

    problem: dict[str, Any]
    entry: dict[str, Any]
    answers: list[Changed]

    @property
    def prompt(self) -> str:
        return self.problem["prompt"]

    def row(self, answer: Changed, verdict: Verdict) -> dict[str, Any]:
        judged = {"completion": _completion(answer), "label": verdict == "pass", "verdict": verdict}
        span = {} if answer.span is None else {"span": [place + len(OPEN) for place in answer.span]}
        return self.problem | judged | {"made_by": answer.made_by} | span


class _Maker:
    """Walks through the items of tasks and gives each to one of the two files."""

    def __init__(self, config: ReasoningGymConfig, gym: ReasoningGym, stack: ExitStack) -> None:
        self.config, self.gym = config, gym
        self.judged_by = trail(gym)
        self.made = Made(config.out, config.problems, gym.version)
        self.problem_count = config.problem_count if config.problems else 0
        self.row_count = config.count if config.out else 0
        self._problems = _OutputFile(config.problems, config.seed, self.judged_by, stack)
        self._rows = _OutputFile(config.out, config.seed, self.judged_by, stack)
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
                self._problems.add(item.problem)
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
            fresh: dict[str, _Item] = {}
            for item in self._items(task, first):
                if item.prompt in self._asked or item.prompt in fresh:
                    self.made.counts["duplicates"] += 1
                else:
                    fresh[item.prompt] = item
            self._asked.update(fresh)
            unknown = [item for item in fresh.values() if not self._is_written(item.prompt)]
            found = self.gym.judge_all(
                {"completion": _completion(answer), "entry": item.entry} for item in unknown for answer in item.answers
            )
            for item in fresh.values():
                known = self._is_written(item.prompt)
                yield item, None if known else [next(found).verdict for _ in item.answers]

    def _is_written(self, prompt: str) -> bool:
        return prompt in self._problems.held or self._rows.is_whole(prompt)

    def _items(self, task: str, first: int) -> Iterator[_Item]:
        wrong, seed = self.config.wrong, self.config.seed
        # 31 bits of both: the library adds the index to its seed, so that 0 and 1 would share all items but one.
        entries = self.gym.make(task, number_of(f"{task}/{seed}", 4), _ITEMS, first, _BATCH)
        for index, entry in enumerate(entries, start=first):
            name, right = f"{task}/{seed}/{index}", entry["answer"]
            others = [other["answer"] for other in entries if other is not entry]
            changed = wrong_answers(right, others, wrong + _SPARE if wrong else 0, random.Random(name))
            prompt = f"{entry['question'].rstrip()}\n\n{INSTRUCTION}\n"
            problem = {"id": name, "task": task, "prompt": prompt, "entry": json.dumps(entry)}
            yield _Item(problem | self.judged_by, entry, [Changed(right, "reference", None), *changed])


def _completion(answer: Changed) -> str:
    return f"{OPEN}{answer.text.strip()}{CLOSE}"
