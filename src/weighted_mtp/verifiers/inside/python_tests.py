"""The tests' side of a check: a fork of the kept process, which asks the candidate's process and gives a verdict."""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import marshal
import os
import re
import resource
import signal
import sys
import typing  # with what it imports, for prompts and tests, as are those below
import unittest

from weighted_mtp.verifiers.inside.crossing import new_module, packed, receive, seed_random, send, unpacked
from weighted_mtp.verifiers.inside.inputs import judge_inputs
from weighted_mtp.verifiers.inside.units import NAME, Units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import CodeType
    from typing import Any

    Finding = tuple[str, float | None, str]
HOLDER = re.compile(r"(\w+)(?:\(\))?\.(\w+)")
"""`Solution().add` and `Solution.add`."""


class CandidateFailed(BaseException):
    """The candidate broke the rules or is gone; no `except Exception` of a test takes this for an answer."""


class BrokenTest(BaseException):
    """The test asks for what cannot be asked for, so it says nothing about the candidate."""


class TimeIsUp(BaseException):
    """The row's; what has been counted until then is told, and the candidate is asked no more."""

    came = False


class Candidate:
    """The candidate's process, as the tests know it."""

    def __init__(self, requests: int, replies: int) -> None:
        self._channels = requests, replies
        self.shared: dict[str, Any] = {}
        """What the prompt defines, on both sides: its classes cross, and none that the test defines."""
        self.calls, self.trouble, self.broken = 0, "", False

    def ask(self, question: Any) -> Any:
        """What the candidate answers, or the exception that it raises."""
        if TimeIsUp.came:  # and a test has caught it: the next answer would be that to the call before
            raise TimeIsUp
        try:
            send(self._channels[0], question)
            form, content, printed = receive(self._channels[1])
        except (EOFError, OSError, ValueError, TypeError):
            form, content, printed = "gone", (), ""
        if printed and type(printed) is str:
            sys.stdout.write(printed)
        error = None
        try:
            if form in ("value", "graph"):
                return unpacked(form, content, self.shared)
            if form == "raised":
                error = self._error(*content)
        except Exception:
            form = "opaque"
        if error is not None:
            raise error
        self.trouble = "the result is no plain data" if form == "opaque" else "the program ends, or exits"
        raise CandidateFailed

    def call(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A call of one of its functions."""
        self.calls += 1
        try:
            form, content = packed((arguments, named), self.shared)
        except TypeError:
            self.broken = True
            raise BrokenTest from None
        return self.ask((name, form, content))

    def stand_in(self, name: str, is_async: bool) -> Callable[..., Any]:
        """What the tests call in its stead."""

        def function(*arguments: Any, **named: Any) -> Any:
            return self.call(name, arguments, named)

        async def later(*arguments: Any, **named: Any) -> Any:
            return self.call(name, arguments, named)

        found = later if is_async else function
        found.__name__ = found.__qualname__ = name.rpartition(".")[2]
        return found

    def _error(self, kinds: Any, described: Any, message: str) -> Exception:
        """The nearest of its kinds that exists here, with what it was made from, and its message."""
        modules = {m: vars(sys.modules.get(m, typing)) for m, _ in kinds} | {"candidate": self.shared}
        found = [
            modules[m].get(name) for m, name in kinds if not m.startswith("unittest")
        ]  # as SkipTest: no test passes
        kind: Any = next(k for k in [*found, RuntimeError] if isinstance(k, type) and issubclass(k, Exception))
        form, content = described
        arguments, attributes = unpacked(form, content, {})
        error: Exception = kind.__new__(kind, *arguments)
        builtin: Any = next(k for k in kind.__mro__ if k.__module__ == "builtins")
        with contextlib.suppress(TypeError):
            builtin.__init__(error, *arguments)
        vars(error).update(attributes)
        if str(error) != message:
            error.__class__ = type(
                kind.__name__, (kind,), {"__str__": lambda _: message, "__module__": kind.__module__}
            )
        return error


def judge(job: dict[str, Any], requests: int, replies: int, say: Callable[[str], object]) -> Finding:
    """The verdict on a completion (pass, fail or error), the share of the test that holds, and a reason."""
    names = new_module("tests")
    candidate, first = Candidate(requests, replies), list[tuple[str, str]]()

    def note(error: BaseException) -> None:
        if not first:
            first.append(_verdict_on(error, candidate))
            say(first[0][0])

    units = Units(lambda: candidate.calls, (Exception, CandidateFailed), note)
    try:
        tests = units.compiled(job["test"])
    except BaseException:
        return "error", None, "the test is no program, or too large"
    try:
        exec(_helpers(job["prompt"]), names)
        candidate.shared.update(names)
    except BaseException:
        return "error", None, "the imports and helpers of the prompt do not run (--allow names what they may import)"
    try:
        entry_point = job["entry_point"]
        offered = candidate.ask((job["source"], entry_point))
        waits = not {"asyncio", "await"}.isdisjoint(_names(tests))
        stand_ins = {name: candidate.stand_in(name, is_async and waits) for name, is_async in offered.items()}
        entry = stand_ins[entry_point]
    except BaseException:
        return "fail", 0.0, "the program does not run, or lacks the entry point"
    for name in stand_ins.keys() - vars(builtins).keys():  # an `abs` of the candidate's would judge for the test
        names.setdefault(name, stand_ins[name])
    if holder := HOLDER.fullmatch(entry_point):
        names[holder[1]] = _holder(holder[2], entry)
    else:
        names[entry_point] = entry
    names[NAME], count = units, 0
    try:
        passed, count = _run(tests, names, entry, stand_ins.values()) or (0, 0)
        if not candidate.calls:
            return "error", None, "the test never calls the candidate"
        share = passed / count if count else units.share(ended=True)
        if count and passed < count:
            first.append(("fail", "a test method does not pass"))
    except BaseException as error:
        note(error)
        share = units.share(ended=False)
    if TimeIsUp.came and (count or not first):
        first = [("timeout", "")]
    elif candidate.broken and (count or not first):
        first = [("error", "the test passes what is not plain data")]
    elif candidate.trouble and not first:
        first, share = [("fail", candidate.trouble)], 0.0
    verdict, reason = first[0] if first else ("pass", "")
    return verdict, None if verdict == "error" else 1.0 if verdict == "pass" else min(share or 0.0, 1.0), reason


def _run(
    tests: CodeType, names: dict[str, Any], entry: Callable[..., Any], stand_ins: Collection[Any]
) -> tuple[int, int] | None:
    """Runs the tests; of unittest's classes how many methods passed, and of how many."""
    exec(tests, names)
    cases = [item for item in names.values() if isinstance(item, type) and issubclass(item, unittest.TestCase)]
    check = names.get("check")
    if check is not None and check not in stand_ins:
        found = check(entry)
        if asyncio.iscoroutine(found):
            asyncio.run(found)
    elif cases := [case for case in cases if case.__module__ == "tests"]:
        suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, cases))
        count, result = suite.countTestCases(), _Result()
        suite.run(result)
        if count == len(result.skipped):
            raise BrokenTest
        return result.passed + len(result.expectedFailures), count - len(result.skipped)
    return None


class _Result(unittest.TestResult):
    passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed += 1


def _verdict_on(error: BaseException, candidate: Candidate) -> tuple[str, str]:
    """What it says about the candidate that the test, run as it stands, ends like this."""
    if isinstance(error, BrokenTest):
        return "error", "the test passes what is not plain data"
    if isinstance(error, TimeIsUp):
        return "timeout", ""
    if isinstance(error, AssertionError):
        return "fail", "an assertion does not hold"
    if not candidate.calls:
        return "error", "the test does not run (--allow names what it may import)"
    return "fail", candidate.trouble or "the candidate, or the test on its results, raises"


def _holder(name: str, entry: Callable[..., Any]) -> Any:
    """Stands for `Solution` in a test that calls `Solution().add`."""
    return type("Holder", (), {"__call__": lambda self: self, name: staticmethod(entry)})()


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if type(constant) is type(code)]
    return {*code.co_names, *(["await"] if code.co_flags & 0x80 else [])}.union(*inner)  # 0x80: a coroutine's


def _helpers(prompt: str) -> CodeType:
    """The most lines of the prompt that are a program: its imports and helpers, without the unfinished function.

    A word of prose is an expression to Python, and does nothing here.
    """
    lines = prompt.splitlines(keepends=True)
    for count in range(len(lines), 0, -1):
        try:
            tree = ast.parse("".join(lines[:count]), "<prompt>")
        except SyntaxError:
            continue
        words = [node for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Name)]
        tree.body = [node for node in tree.body if node not in words]
        return compile(tree, "<prompt>", "exec", dont_inherit=True)
    return compile("", "<prompt>", "exec", dont_inherit=True)


def run_tests(requests: int, replies: int, given: int, answer: int) -> None:
    """Reads a job, and writes its verdict: `~fail` as soon as it can be no other, and in the end `=` and all of it."""
    with os.fdopen(given, "rb") as file:
        job = marshal.load(file)
    seconds = int(job["seconds"]) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    def say(verdict: str) -> None:
        os.write(answer, f"~{verdict}\n".encode())

    seed_random(job["seed"], job.get("prompt", ""), job.get("test", ""))

    def stop(*_: object) -> None:
        TimeIsUp.came = True
        raise TimeIsUp

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, job["seconds"])
    verdict, share, reason = "timeout", None, ""
    with contextlib.suppress(TimeIsUp):  # which a checker that never ends gets
        verdict, share, reason = (judge_inputs if "inputs" in job else judge)(job, requests, replies, say)
    os.write(answer, f"={verdict},{'' if share is None else share},{reason}\n".encode())
