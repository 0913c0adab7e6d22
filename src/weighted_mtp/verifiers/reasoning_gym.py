"""Answers to reasoning-gym's procedural tasks, judged by the tasks' own scorers, in a sandbox."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from weighted_mtp.files import digest_of
from weighted_mtp.verifiers.base import Judgement, Verdict
from weighted_mtp.verifiers.worker import LibraryVerifier

Entry = Mapping[str, Any]
"""An item of the library: question, answer, and metadata with its task's name as `source_dataset`."""

MEASURED_WITH = "0.1.25"
"""The version of reasoning-gym that this was found in."""

ACCEPT_WRONG = {
    "coin_flip": "accepts a beginning of the number: 0 passes for every probability below 1",
    "complex_arithmetic": "accepts `nan`",
    "game_of_life_halting": "accepts every answer that is not empty",
    "gsm_symbolic": "takes the first number of a text, without its sign",
    "number_sorting": "accepts numbers that are off by up to 1, and a list of NaN",
    "puzzle24": "accepts 6*4*1*1 whatever the four numbers are",
}
"""Tasks whose scorer gives 1.0 to wrong answers, and to which."""

WITHOUT_ANSWER = dict.fromkeys(
    ("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"),
    "its items hold no answer, so that nothing shows whether their scorer accepts a right one",
)
"""Tasks that a verdict cannot be checked for."""

UNSOUND = ACCEPT_WRONG | WITHOUT_ANSWER
"""Tasks that are refused, with the reason."""

_FORMULA = r"(?:[\d+\-*/()\s,]|\.(?=\d))"
_NAMES = r"(?<!\w)(?:sin|cos|tan|exp|log|ln|sqrt|asin|acos|atan|Abs|pi|[a-zA-Z])(?!\w)"
_SAFE = {
    "binary_matrix": r"[\d\s]*",
    "countdown": _FORMULA + "*",
    "intermediate_integration": f"(?:{_NAMES}|{_FORMULA})*",
    "n_queens": r"[Q_\s]*",
    "polynomial_multiplication": rf"(?:(?<!\w)[a-z](?!\w)|{_FORMULA})*",
    "puzzle24": _FORMULA + "*",
    "simple_integration": rf"(?:(?<!\w)[a-zA-Z](?!\w)|{_FORMULA})*",
    "spiral_matrix": r"[\d\s-]*",
    "string_insertion": r"[A-Z]*",
}
EVALUATED = {task: re.compile(pattern, re.ASCII) for task, pattern in _SAFE.items()}
"""Tasks whose scorer evaluates the answer, by `eval` or sympy, and what a right answer may consist of: no quotes, no
attributes and no name but those of a formula, so that there is nothing to run. Nor is there `Integral(...)`, the
question itself, which the scorers of integrals accept, and which some items give for an answer."""

LONGEST_EVALUATED = 2_000
"""Characters of an answer that is evaluated."""
LONGEST_ANSWER = 100_000
"""Characters of any other answer."""


def may_be_scored(task: str, answer: str) -> bool:
    """False for an answer that cannot be right and should not be run."""
    if task in EVALUATED:
        return len(answer) <= LONGEST_EVALUATED and EVALUATED[task].fullmatch(answer) is not None
    return len(answer) <= LONGEST_ANSWER


class ReasoningGym(LibraryVerifier):
    """Passes an answer that its task's scorer gives exactly 1.0.

    A partial score is a `fail`, and so is an answer at which the scorer raises. The answer is what counts of the
    completion (`final_answer`), stripped. `entry` is the item of the library (question, answer, metadata), as JSON text
    or an object. `error`: no such item or task, a task of `UNSOUND`, or an item whose own answer does not pass.

    Answers are scored in a sandbox, because some scorers evaluate them: such an answer has a process of its own, and
    one that holds more than a formula does fails without being scored. Limits are in seconds an answer by the wall
    clock, and `workers` answers at a time; None: one a core. VerifierError: no reasoning-gym, or no sandbox to be had.
    """

    requires: ClassVar[tuple[str, ...]] = ("completion", "entry")
    needs_end: ClassVar[bool] = True
    library = "reasoning-gym"

    def __init__(self, timeout: float = 5.0, workers: int | None = None) -> None:
        super().__init__(("reasoning-gym", "reasoning-gym"), timeout, workers)
        self._usable: dict[str, bool] = {}
        self.version, self.tasks = self._described["version"], tuple(self._described["tasks"])

    def make(self, task: str, seed: int, size: int, first: int, count: int) -> list[dict[str, Any]]:
        """Items `first` to `first + count` of the task's `size` items, with its default configuration."""
        request = {"do": "make", "task": task, "seed": seed, "size": size, "first": first, "count": count}
        return self._pool.submit(lambda: self._process().ask(request)).result()["items"]

    def score_all(self, answers: Iterable[tuple[str, Entry]]) -> Iterator[dict[str, Any]]:
        """What the scorer says to (answer, item), in order, of any task and with no answer held back: {"score": ...},
        {"raised": name of the exception} or {"timeout": true}."""
        return self._in_order(self._score_answers, answers)

    def _judge(self, rows: list[Mapping[str, Any]]) -> list[Judgement]:
        answers = {
            place: (row["completion"].strip(), entry)
            for place, row in enumerate(rows)
            if (entry := self._entry(row)) is not None
        }
        verdicts = dict(zip(answers, self._verdicts(list(answers.values())), strict=True))
        failed = {place: answers[place][1] for place, verdict in verdicts.items() if verdict != "pass"}
        self._learn_usable(list(failed.values()))
        verdicts |= {place: "error" for place, entry in failed.items() if not self._usable[_digest(entry)]}
        return [Judgement(verdicts.get(place, "error")) for place in range(len(rows))]

    def _entry(self, row: Mapping[str, Any]) -> Entry | None:
        """The row's item; None where the row cannot be judged."""
        entry = as_entry(row.get("entry"))
        if entry is None:
            return None
        task = task_of(entry)
        return entry if task in self.tasks and task not in UNSOUND else None

    def _learn_usable(self, entries: list[Entry]) -> None:
        """Finds out, once an item, whether its own answer passes."""
        new = {key: entry for entry in entries if (key := _digest(entry)) not in self._usable}
        found = self._verdicts([(entry["answer"].strip(), entry) for entry in new.values()])
        self._usable |= {key: verdict == "pass" for key, verdict in zip(new, found, strict=True)}

    def _verdicts(self, answers: list[tuple[str, Entry]]) -> list[Verdict]:
        safe = [may_be_scored(task_of(entry), answer) for answer, entry in answers]
        results = iter(self._score_answers(list(itertools.compress(answers, safe))))
        return [_verdict(next(results)) if scored else "fail" for scored in safe]

    def _score_answers(self, answers: list[tuple[str, Entry]]) -> list[dict[str, Any]]:
        jobs = [{"answer": answer, "entry": entry, "alone": task_of(entry) in EVALUATED} for answer, entry in answers]
        return self._score(jobs)


def as_entry(value: Any) -> dict[str, Any] | None:
    """The item of a row, from JSON text or an object; None where it is none, or one without an answer."""
    try:
        value = json.loads(value if isinstance(value, str) else json.dumps(value))
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("answer"), str):
        return None
    metadata = value.get("metadata")
    named = isinstance(metadata, dict) and isinstance(metadata.get("source_dataset"), str)
    return value if named else None


def task_of(entry: Entry) -> str:
    """The name of an item's task."""
    return entry["metadata"]["source_dataset"]


def _verdict(result: Mapping[str, Any]) -> Verdict:
    if "timeout" in result:
        return "timeout"
    return "pass" if result.get("score") == 1.0 else "fail"


def _digest(entry: Entry) -> str:
    return digest_of(json.dumps(entry, sort_keys=True).encode())
