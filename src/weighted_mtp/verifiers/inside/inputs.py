"""A program that reads its input and prints its output: run for each input, and compared with what is expected."""

from __future__ import annotations

import math
import os
import re
import select
import sys

from weighted_mtp.verifiers.inside.crossing import MOST_BYTES, new_module, receive, seed_random, send, silence
from weighted_mtp.verifiers.inside.forks import end_forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

MOST_TIMEOUTS = 3
TOLERANCE = 1e-6
SLACK_SECONDS = 2.0
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

# the candidate's process


def serve(requests: int, replies: int, seed: int) -> None:
    """Runs the program once for each input, in a fork, until there are no more."""
    source, seconds = receive(requests)
    silence()
    seed_random(seed, source)
    try:
        code = compile(source, "<candidate>", "exec", dont_inherit=True)
    except BaseException:
        code = None
    send(replies, None)
    while True:
        text = receive(requests)
        found = ("does not compile", "") if code is None else _printed(code, text, seconds, requests, replies)
        if found is None:
            return
        send(replies, found)


def _printed(code: CodeType, text: str, seconds: float, *channels: int) -> tuple[str, str] | None:
    """How a run ended (an empty text: well), and what it printed; None in the fork, when it is through."""
    given, printed = os.memfd_create("input"), os.memfd_create("output")
    with os.fdopen(given, "wb") as stdin, os.fdopen(printed, "rb") as stdout:
        stdin.write(text.encode(errors="surrogateescape"))
        stdin.seek(0)
        child = os.fork()
        if child == 0:
            os.dup2(given, 0)
            os.dup2(printed, 1)
            for channel in channels:
                os.close(channel)
            os.setsid()
            sys.argv[:] = ["program.py"]
            exec(code, new_module("__main__"))  # what it raises ends the fork, as it would end a program
            return None
        handle = os.pidfd_open(child)
        ended = bool(select.select([handle], [], [], seconds)[0])
        os.close(handle)
        status = os.waitpid(child, 0)[1] if ended else 0
        end_forks()
        stdout.seek(0)  # the fork's place in it is ours
        output = stdout.read(MOST_BYTES // 2)
    how = "takes too long" if not ended else "raises, or exits with a status" if status else ""
    return how, output.decode(errors="replace")


def main() -> None:
    """`inputs`, and the descriptors to read requests from and to write replies to, and the seed."""
    serve(*map(int, sys.argv[2:5]))


# the tests' process


def judge_inputs(
    job: dict[str, Any], requests: int, replies: int, say: Callable[[str], object]
) -> tuple[str, float | None, str]:
    """The verdict on a program: the first input that is not passed decides it; the share of those that are."""
    names = new_module("checker")
    try:
        exec(job["checker"] or "", names)
        accepts = names["check"] if job["checker"] else same_tokens
    except BaseException:
        return "error", None, "the checker does not run, or defines no check"
    found = list[tuple[str, str]]()
    try:
        send(requests, (job["source"], job["limit"]))
        receive(replies)
        for text, expected in zip(job["inputs"], job["outputs"], strict=True):
            if sum(verdict == "timeout" for verdict, _ in found) == MOST_TIMEOUTS:
                break
            send(requests, text)
            if not select.select([replies], [], [], job["limit"] + SLACK_SECONDS)[0]:
                found.append(("timeout", ""))
                break
            found.append(_judge_one(receive(replies), text, expected, accepts))
            if found[-1][0] == "fail":
                say("fail")
    except (EOFError, OSError, ValueError, TypeError):
        found.append(("fail", "the program ends what runs it"))
    verdict, reason = next((one for one in found if one[0] != "pass"), ("pass", ""))
    return verdict, sum(one[0] == "pass" for one in found) / len(job["inputs"]), reason


def _judge_one(reply: Any, text: str, expected: str, accepts: Callable[..., Any]) -> tuple[str, str]:
    how, output = reply
    if type(how) is not str or type(output) is not str:
        raise TypeError(how)
    if how:
        return ("timeout" if how == "takes too long" else "fail"), f"the program {how}"[:80]
    try:
        right = accepts(text, output, expected)
    except Exception:
        right = False
    return ("pass", "") if right else ("fail", "the output is another")


def same_tokens(_: str, output: str, expected: str) -> bool:
    """Whether two texts hold the same words; where the expected one is a decimal, a number that differs by 1e-6."""
    ours, theirs = output.split(), expected.split()
    return len(ours) == len(theirs) and all(map(_same_token, ours, theirs))


def _same_token(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    if not (NUMBER.fullmatch(ours) and (number := NUMBER.fullmatch(theirs))):
        return False
    if number[1].isdigit() and not number[2]:  # an integer: 3.0 is 3, and nothing near it
        return ours.partition(".")[0] == theirs and not ours.partition(".")[2].strip("0") and "." in ours
    return math.isclose(float(ours), float(theirs), rel_tol=TOLERANCE, abs_tol=TOLERANCE)


if __name__ == "__main__":
    main()
