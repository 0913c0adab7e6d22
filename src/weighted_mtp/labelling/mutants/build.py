"""`wmtp data mutants`: right and wrong completions from reference solutions, each verified by the solution's tests."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.data.schema import DataError
from weighted_mtp.labelling.mutants.config import MutantsConfig
from weighted_mtp.labelling.mutants.mutations import Mutation, sample_mutations
from weighted_mtp.labelling.mutants.problems import Problem, load_problems
from weighted_mtp.labelling.mutants.report import CANONICAL, MutantsReport
from weighted_mtp.labelling.mutants.source_code import SourceError
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.base import Verdict, Verifier
from weighted_mtp.verifiers.python_tests import PythonTests

VERIFIED_BY = "python-tests"

Row = dict[str, Any]


def build_mutants(config: MutantsConfig, console: Console | None = None) -> MutantsReport:
    """Writes one row for each reference solution that passes its tests and for each of its mutants.

    A row has `task_id, prompt, completion, label, verdict, verified_by, timeout` (seconds), `mutation` (`canonical`, or
    the operator and `old -> new`), `replaced` (the old text), `span` (the new text, in characters of the completion;
    None for the reference), and `test` and `entry_point`, with which it can be verified again. `label` says that the
    verdict is `pass`: a mutant that the tests do not tell from the reference has a true one. A problem whose reference
    does not pass is left out, and so is a mutant whose check could not be made.

    Rows are written as they are found, so that a second call goes on; with a higher `per_task` it adds to each problem.

    Args:
        config: what is mutated, and how it is checked.
        console: where progress goes; None: nowhere.

    Returns:
        What the whole file now holds, and what was left out.

    Raises:
        DataError: no problem in the input, or `out` is the input or holds other rows.
        VerifierError: there is no sandbox here.
        HumanEvalMissingError: HumanEval is not installed.
    """
    start = time.perf_counter()
    _check_out(config)
    problems, left_out = load_problems(config)
    verifier = PythonTests(timeout=config.timeout)
    report = MutantsReport(left_out)
    with JsonLinesWriter(config.out) as writer, progress_bar(console) as progress:
        done = _done(writer.done, problems, config)
        for row in writer.done:
            report.add(row)
        following = progress.track(problems, description="problems")
        rows = (row for problem in following for row in _missing_rows(problem, done, config, report))
        for row, verdict in _judged(verifier, rows):
            row |= {"label": verdict == "pass", "verdict": verdict}
            if report.accepts(row):
                writer.write(row)
                report.add(row)
    report.seconds = time.perf_counter() - start
    return report


def _check_out(config: MutantsConfig) -> None:
    out = Path(config.out)
    if config.input is not None and out.exists() and out.samefile(config.input):
        raise DataError(f"{out} is the input too: name another output")


def _judged(verifier: Verifier, rows: Iterable[Row]) -> Iterator[tuple[Row, Verdict]]:
    """Each row with its verdict; the verifier takes rows before it gives the verdicts on those before."""
    waiting: deque[Row] = deque()

    def given() -> Iterator[Row]:
        for row in rows:
            waiting.append(row)
            yield row

    for verdict in verifier.check_all(given()):
        yield waiting.popleft(), verdict


def _missing_rows(
    problem: Problem, done: Mapping[str, set[str]], config: MutantsConfig, report: MutantsReport
) -> Iterator[Row]:
    """The rows of a problem that the file lacks, until its reference is found not to pass."""
    written = done.get(problem.task_id, set())
    try:
        rows = _rows(problem, config)
    except SourceError as error:
        report.left_out[problem.task_id] = str(error)
        return
    if not written <= {row["completion"] for row in rows}:
        raise _other_rows(config)
    for row in rows:
        if problem.task_id in report.left_out:
            return
        if row["completion"] not in written:
            yield row


def _rows(problem: Problem, config: MutantsConfig) -> list[Row]:
    """The reference first, then its mutants, all of them without a verdict."""
    seed = f"{config.seed} {problem.task_id}"
    chosen = sample_mutations(problem.prompt, problem.canonical_solution, config.per_task, seed)
    return [_row(problem, mutation, config) for mutation in (None, *chosen)]


def _row(problem: Problem, mutation: Mutation | None, config: MutantsConfig) -> Row:
    return {
        "task_id": problem.task_id,
        "prompt": problem.prompt,
        "completion": mutation.completion if mutation else problem.canonical_solution,
        "label": None,
        "verdict": None,
        "verified_by": VERIFIED_BY,
        "timeout": config.timeout,
        "mutation": mutation.describe() if mutation else CANONICAL,
        "replaced": mutation.replaced if mutation else None,
        "span": list(mutation.span) if mutation else None,
        "test": problem.test,
        "entry_point": problem.entry_point,
    }


def _done(rows: list[Row], problems: list[Problem], config: MutantsConfig) -> dict[str, set[str]]:
    """The completions of each problem that the file has already; all of them must be of these problems."""
    known = {problem.task_id: problem for problem in problems}
    done: dict[str, set[str]] = {}
    for row in rows:
        if not _is_same(row, known.get(row.get("task_id", "")), config):
            raise _other_rows(config)
        done.setdefault(row["task_id"], set()).add(row["completion"])
    return done


def _is_same(row: Mapping[str, Any], problem: Problem | None, config: MutantsConfig) -> bool:
    if problem is None or row.get("verified_by") != VERIFIED_BY or row.get("timeout") != config.timeout:
        return False
    return (row.get("prompt"), row.get("test")) == (problem.prompt, problem.test)


def _other_rows(config: MutantsConfig) -> DataError:
    return DataError(
        f"{config.out} holds rows of another source, seed or timeout, or more than per_task {config.per_task}: give "
        "another file, or remove this one"
    )
