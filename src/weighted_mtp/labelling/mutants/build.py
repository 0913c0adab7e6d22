"""`wmtp data mutants`: right and wrong completions from reference solutions, each verified by the solution's tests."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.data.schema import DataError
from weighted_mtp.labelling.mutants.mutations import Mutation, sample_mutations
from weighted_mtp.labelling.mutants.references import MutantsConfig, Problem, load_problems
from weighted_mtp.labelling.mutants.source_code import SourceError
from weighted_mtp.labelling.verify import columns_of
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.base import VERDICTS
from weighted_mtp.verifiers.python_tests import PythonTests
from weighted_mtp.verifiers.table import trail

Row = dict[str, Any]
CANONICAL = "canonical"
"""The mutation of a reference solution: none."""
_SHOWN = 20


@dataclass
class MutantsReport:
    """The rows by operator and verdict, and the problems that gave none."""

    left_out: dict[str, str]
    """The reason, by task_id."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows by operator (or `canonical`) and verdict."""
    unchecked: int = 0
    """Mutants left out because their check could not be made."""
    seconds: float = 0.0
    """What this call took."""

    def accepts(self, row: Mapping[str, Any]) -> bool:
        """Whether a row that was just checked belongs in the file; what does not is counted."""
        if row["task_id"] in self.left_out:
            return False
        if row["mutation"] == CANONICAL and not row["label"]:
            self.left_out[row["task_id"]] = f"the verdict on its reference solution is {row['verdict']}"
            return False
        if row["verdict"] == "error":
            self.unchecked += 1
            return False
        return True

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a row of the file."""
        self.counts[row["mutation"].split(":")[0], row["verdict"]] += 1

    @property
    def tasks(self) -> int:
        """Problems with rows in the file."""
        return self.counts[CANONICAL, "pass"]

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return self.counts.total()

    def summary(self) -> str:
        """Tasks, rows and the share right; then what was left out, with reasons."""
        right = sum(count for (_, verdict), count in self.counts.items() if verdict == "pass")
        share = f", {right / self.rows:.0%} right (test-verified, no more)" if self.rows else ""
        lines = [f"{self.tasks} tasks, {self.rows} rows{share}, {self.seconds:.0f} s"]
        if self.unchecked:
            lines.append(f"{self.unchecked} mutants left out, their checks could not be made")
        if self.left_out:
            lines.append(f"{len(self.left_out)} problems left out:")
            lines += [f"  {task}: {reason}" for task, reason in list(self.left_out.items())[:_SHOWN]]
        if len(self.left_out) > _SHOWN:
            lines.append(f"  and {len(self.left_out) - _SHOWN} more")
        return "\n".join(lines)

    def table(self) -> Table:
        """Rows by operator and verdict, the most frequent operator first."""
        verdicts = [verdict for verdict in VERDICTS if any(found == verdict for _, found in self.counts)]
        table = Table(box=None, pad_edge=False)
        table.add_column("mutation", no_wrap=True)
        for heading in (*verdicts, "rows"):
            table.add_column(heading, justify="right", no_wrap=True)
        totals = Counter[str]()
        for (operator, _), count in self.counts.items():
            totals[operator] += count
        for operator, total in totals.most_common():
            table.add_row(operator, *(str(self.counts[operator, verdict]) for verdict in verdicts), str(total))
        return table


def build_mutants(config: MutantsConfig, console: Console | None = None) -> MutantsReport:
    """Writes one row for each reference solution that passes its tests and for each of its mutants.

    A row has `task_id, prompt, completion, label, verdict`, its trail (`verifiers.table.trail`), `mutation`
    (`canonical`, or the operator and `old -> new`), `replaced` (the old text), `span` (the new text, in characters of
    the completion; None for the reference), and `test` and `entry_point`, with which it can be verified again. `label`
    says that the verdict is `pass`: a mutant that the tests do not tell from the reference has a true one. A problem
    whose reference does not pass is left out, and so is a mutant whose check could not be made.

    Rows are written as they are found, so that a second call goes on; with a higher `per_task` it adds to each problem.
    """
    start, out = time.perf_counter(), Path(config.out)
    if config.input is not None and out.exists() and out.samefile(config.input):
        raise DataError(f"{out} is the input too: name another output")
    problems, left_out = load_problems(config)
    verifier = PythonTests(timeout=config.timeout)
    report = MutantsReport(left_out)
    with JsonLinesWriter(config.out) as writer, progress_bar(console) as progress:
        judged_by = trail(verifier)
        done = _done(writer.done, problems, config, judged_by)
        for row in writer.done:
            report.add(row)
        following = progress.track(problems, description="problems")
        # The verifier takes rows before it gives the verdicts on those before.
        rows, asked = tee(
            row for problem in following for row in _missing_rows(problem, done, config, report, judged_by)
        )
        for judged, row in zip(verifier.judge_all(asked), rows, strict=True):
            row |= columns_of(judged)
            if report.accepts(row):
                writer.write(row)
                report.add(row)
    report.seconds = time.perf_counter() - start
    return report


def _missing_rows(
    problem: Problem, done: Mapping[str, set[str]], config: MutantsConfig, report: MutantsReport, judged_by: Row
) -> Iterator[Row]:
    """The rows of a problem that the file lacks, until its reference is found not to pass."""
    written, seed = done.get(problem.task_id, set()), f"{config.seed} {problem.task_id}"
    try:
        mutants = sample_mutations(problem.prompt, problem.canonical_solution, config.per_task, seed)
    except SourceError as error:
        report.left_out[problem.task_id] = str(error)
        return
    rows = [_row(problem, mutation, judged_by) for mutation in (None, *mutants)]
    if not written <= {row["completion"] for row in rows}:
        raise _other_rows(config)
    for row in rows:
        if problem.task_id in report.left_out:
            return
        if row["completion"] not in written:
            yield row


def _row(problem: Problem, mutation: Mutation | None, judged_by: Row) -> Row:
    return {
        "task_id": problem.task_id,
        "prompt": problem.prompt,
        "completion": mutation.completion if mutation else problem.canonical_solution,
        "label": None,
        "verdict": None,
        **judged_by,
        "mutation": mutation.describe() if mutation else CANONICAL,
        "replaced": mutation.replaced if mutation else None,
        "span": list(mutation.span) if mutation else None,
        "test": problem.test,
        "entry_point": problem.entry_point,
    }


def _done(rows: list[Row], problems: list[Problem], config: MutantsConfig, judged_by: Row) -> dict[str, set[str]]:
    """The completions of each problem that the file has already; all of them must be of these problems."""
    known = {problem.task_id: problem for problem in problems}
    done: dict[str, set[str]] = {}
    for row in rows:
        problem = known.get(row.get("task_id", ""))
        if problem is None or row != row | {"prompt": problem.prompt, "test": problem.test, **judged_by}:
            raise _other_rows(config)
        done.setdefault(row["task_id"], set()).add(row["completion"])
    return done


def _other_rows(config: MutantsConfig) -> DataError:
    return DataError(
        f"{config.out} holds rows of another source, seed, timeout or version, or more than per_task "
        f"{config.per_task}: give another file, or remove this one"
    )
