"""Python completions judged by their tests, in HumanEval's form, in a sandbox."""

import marshal
import os
import select
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, ClassVar, cast

from weighted_mtp.data.fields import plain_content
from weighted_mtp.verifiers.base import VERDICTS, Judgement, Verdict, Verifier, available_cores, check_timeout, in_order
from weighted_mtp.verifiers.inside import source_of
from weighted_mtp.verifiers.program_text import program_of
from weighted_mtp.verifiers.sandbox import Limits, Sandbox, kill


class PythonTests(Verifier):
    """Passes where `check(entry_point)` of the row's `test` returns without an error.

    The program (`program_of`) runs in one sandbox and the test in another. Arguments and results cross as plain builtin
    data (None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict); a result of any other type
    is a `fail`. An argument that the candidate changes in place stays as it was in the test. What the prompt defines,
    helpers and imports, exists on both sides, and in the test the entry point's name is the candidate. A test without
    `check` is taken as bare assertions. There is Python's standard library, and nothing else to import.

    `fail`: an assertion or the candidate raises, it does not compile, exits, runs out of memory or lacks the entry
    point. `error`: a column is missing, the prompt's helpers or the test do not run, the test passes what is not plain
    data or never calls the candidate and has no `check`.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, for the form.

    Args:
        timeout: seconds a row by the wall clock, starting included.
        workers: rows at a time; None: one a core that this process may use.
        seed: of what both programs draw with `random`, and of the order of their sets of texts.

    Raises:
        VerifierError: a timeout that is not positive, or no sandbox to be had (SandboxError).
    """

    requires: ClassVar[tuple[str, ...]] = ("prompt", "completion", "test", "entry_point")

    def __init__(self, timeout: float = 5.0, workers: int | None = None, seed: int = 0) -> None:
        self.timeout, self.seed = check_timeout(timeout), seed
        self._sandbox = Sandbox(Limits(cpu_seconds=int(timeout) + 1), hash_seed=seed)
        self.workers = workers or available_cores()
        self._source = source_of("python_tests")

    def check(self, row: Mapping[str, Any]) -> Verdict:
        """The verdict on one row."""
        job, asked = {name: row.get(name) for name in self.requires}, row.get("prompt")
        if isinstance(asked, list):  # a chat, in which the whole program was asked for
            job["prompt"], asked = "", plain_content(asked[-1])
        if not all(isinstance(value, str) for value in job.values()):
            return "error"
        program = program_of(str(asked), row["completion"], row["entry_point"])
        return self._run(marshal.dumps(job | {"program": program}))

    def judge_all(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Judgement]:
        """Judgements in order, `workers` rows at a time, a few rows ahead of who reads them."""
        with ThreadPoolExecutor(self.workers) as pool:
            yield from in_order(pool, self.judge, rows, most_ahead=4 * self.workers)

    def _run(self, job: bytes) -> Verdict:
        deadline = time.monotonic() + self.timeout
        with ExitStack() as cleanup:
            requests, replies = os.pipe(), os.pipe()
            open_ends = [*requests, *replies]
            cleanup.callback(lambda: [os.close(end) for end in open_ends])
            self._start(cleanup, "candidate", requests[0], replies[1])
            with closing(os.fdopen(os.memfd_create("job"), "w+b")) as given:
                given.write(job)
                given.seek(0)
                tests = self._start(cleanup, "tests", requests[1], replies[0], stdin=given, stdout=subprocess.PIPE)
            while open_ends:
                os.close(open_ends.pop())
            assert tests.stdout is not None
            return _read_verdict(tests.stdout.fileno(), deadline)

    def _start(self, cleanup: ExitStack, role: str, *channels: int, **popen: Any) -> subprocess.Popen[bytes]:
        process = self._sandbox.start(
            self._source,
            [role, *map(str, channels), str(self.seed)],
            pass_fds=channels,
            stderr=subprocess.DEVNULL,
            **({"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | popen),
        )
        if process.stdout is not None:
            cleanup.callback(process.stdout.close)
        cleanup.callback(kill, process)
        return process


def _read_verdict(pipe: int, deadline: float) -> Verdict:
    """The one word that the tests' process writes when it is through; ending without it is no success."""
    word, waiting = b"", select.poll()
    waiting.register(pipe, select.POLLIN)
    while not word.endswith(b"\n") and len(word) < 16:
        if not waiting.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            return "timeout"
        part = os.read(pipe, 16)
        if not part:
            return "fail"
        word += part
    found = word.decode(errors="replace").strip()
    return cast(Verdict, found) if found in VERDICTS else "fail"
