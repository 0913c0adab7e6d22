"""Problems in HumanEval's form, from functions with doctests."""

import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rich.console import Console

from research.doctests.config import DoctestsConfig
from research.doctests.context import Library
from research.doctests.functions import FEW_EXAMPLES, Draft, draft, functions_with_doctests
from research.doctests.modules import Unsuitable
from research.doctests.packages import Package, find_package
from research.doctests.report import DoctestsReport
from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.data.schema import DataError
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.python_tests import PythonTests

COPIED = "it is a copy of another"
NESTED = "it is nested too deeply to be read"
UNSETTLED = "it does not pass its examples together"

Row = dict[str, Any]


def build_doctests(config: DoctestsConfig, console: Console | None = None) -> DoctestsReport:
    """Writes one problem for each function that passes enough of its own doctests.

    A row has `task_id, prompt, canonical_solution, test, entry_point` as HumanEval has them, `examples` (how many of
    the docstring the test holds), `source` (release, file and line) and `licence` (as the package's metadata name it).

    No package is imported: sources are read, and functions run in the sandbox of `PythonTests` alone. An example that
    the function does not pass there, as one that passes an object, is left out.

    Rows are written as they are found, so that a second call goes on; with further packages it adds theirs.

    Args:
        config: whose functions, and which.
        console: where progress goes; None: nowhere.

    Returns:
        What the whole file now holds, and what was left out.

    Raises:
        DataError: no such package, or `out` holds other rows.
        VerifierError: there is no sandbox here.
    """
    start = time.perf_counter()
    verifier = PythonTests(timeout=config.timeout)
    report = DoctestsReport()
    drafts = _drafts([find_package(name, config.paths) for name in config.packages], config, report)
    with JsonLinesWriter(config.out) as writer, progress_bar(console) as progress:
        done = _done(writer.done, drafts, config)
        for row in writer.done:
            report.keep(drafts[row["task_id"]].package, row["examples"])
        missing = [each for each in drafts.values() if each.task_id not in done]
        settled = _settled(missing, verifier, config.min_examples)
        following = progress.track(settled, total=len(missing), description="functions")
        for each, found in following:
            if isinstance(found, str):
                report.leave_out(each.package, found)
            else:
                writer.write(found)
                report.keep(each.package, found["examples"])
    report.seconds = time.perf_counter() - start
    return report


def _drafts(packages: Iterable[Package], config: DoctestsConfig, report: DoctestsReport) -> dict[str, Draft]:
    """The functions that may become problems, by task_id; of copies the first."""
    drafts: dict[str, Draft] = {}
    alike = set[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python has to say about the style of packages
        for package in packages:
            for each in _of_package(package, config, report):
                if each.task_id in drafts or each.likeness in alike:
                    report.leave_out(package.name, COPIED)
                    continue
                drafts[each.task_id] = each
                alike.add(each.likeness)
    return drafts


def _of_package(package: Package, config: DoctestsConfig, report: DoctestsReport) -> Iterator[Draft]:
    library = Library(package.root)
    for file in package.files:
        module = library.module(library.name_of(file))
        if module is None:
            continue
        for statement in functions_with_doctests(module):
            try:
                yield draft(package, library, module, statement, config.max_prompt, config.min_examples)
            except Unsuitable as reason:
                report.leave_out(package.name, str(reason))
            except RecursionError:
                report.leave_out(package.name, NESTED)


def _settled(drafts: Iterable[Draft], verifier: PythonTests, least: int) -> Iterator[tuple[Draft, Row | str]]:
    """Each draft in order, with its row or the reason why it has none, as many at a time as there are workers."""
    waiting: deque[tuple[Draft, Future[Row | str]]] = deque()
    pool = ThreadPoolExecutor(verifier.workers)
    try:
        for each in drafts:
            waiting.append((each, pool.submit(_settle, each, verifier, least)))
            if len(waiting) > 4 * verifier.workers:
                each, future = waiting.popleft()
                yield each, future.result()
        while waiting:
            each, future = waiting.popleft()
            yield each, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _settle(each: Draft, verifier: PythonTests, least: int) -> Row | str:
    """The problem with all its examples or, where the function does not pass them, with each that it passes alone."""
    chosen = list(each.usable)
    row = _row(each, chosen)
    if _passes(row, verifier):
        return row
    chosen = [number for number in chosen if _passes(_row(each, [number]), verifier)]
    if len(chosen) < least:
        return FEW_EXAMPLES
    row = _row(each, chosen)
    return row if _passes(row, verifier) else UNSETTLED


def _passes(row: Row, verifier: PythonTests) -> bool:
    return verifier.judge(row | {"completion": row["canonical_solution"]}).verdict == "pass"


def _row(each: Draft, chosen: list[int]) -> Row:
    return {
        "task_id": each.task_id,
        "prompt": each.prompt,
        "canonical_solution": each.canonical_solution,
        "test": each.test(chosen),
        "entry_point": each.entry_point,
        "examples": len(chosen),
        "source": each.source,
        "licence": each.licence,
    }


def _done(rows: list[Row], drafts: Mapping[str, Draft], config: DoctestsConfig) -> set[str]:
    """The problems that the file has already; all of them must be of these packages and settings."""
    for row in rows:
        known = drafts.get(row.get("task_id", ""))
        if known is None or not _is_same(row, known) or row["examples"] < config.min_examples:
            raise DataError(
                f"{config.out} holds rows of other packages, releases, min_examples or max_prompt: give another "
                "file, or remove this one"
            )
    return {row["task_id"] for row in rows}


def _is_same(row: Row, known: Draft) -> bool:
    return (row.get("prompt"), row.get("source")) == (known.prompt, known.source)
