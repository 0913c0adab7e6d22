"""Reference solutions with tests, in HumanEval's form, and why some rows are none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.problems import humaneval_problems
from weighted_mtp.labelling.mutants.config import MutantsConfig
from weighted_mtp.labelling.mutants.mbpp import from_mbpp, is_mbpp
from weighted_mtp.labelling.mutants.source_code import SourceError

COLUMNS = ("prompt", "canonical_solution", "test", "entry_point")


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
    """The problems of a source or file, and a reason for every row that is left out, by its task_id.

    Raises:
        DataError: a file that is no JSON lines, or no row of it is a problem.
        HumanEvalMissingError: the source is not installed.
    """
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
    """A row with HumanEval's columns; others are passed over.

    Raises:
        SourceError: a column is missing or is no text.
    """
    for name in COLUMNS:
        text = row.get(name)
        if not isinstance(text, str) or not text.strip():
            needed = f"{', '.join(COLUMNS[:-1])} and {COLUMNS[-1]}"
            raise SourceError(f"no `{name}`: {needed} are needed, or MBPP's columns")
    return Problem(str(row["task_id"]), *(row[name] for name in COLUMNS))
