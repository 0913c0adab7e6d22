"""Work whose workers can be killed in the middle of a part, and which says what it made."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from weighted_mtp.engine import workers
from weighted_mtp.engine.local import local
from weighted_mtp.engine.parts import parts_of
from weighted_mtp.engine.settings import EngineSettings
from weighted_mtp.verifiers.base import Verifier

LETHAL = "lethal"


def die_once(flag: str) -> None:
    """Kills this process, unless that was done."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class OddError(Exception):
    """Cannot be made anew of what `Exception` keeps."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{what} at {place}")


class Squares:
    """Squares numbers; the made parts stand in a log, and LETHAL kills its worker once, or always without a flag."""

    def __init__(self, log: Path, flag: Path | None = None, kept: Path | None = None) -> None:
        self.log, self.flag, self.kept = log, flag, kept

    def open(self, cores: int | None) -> Any:
        def make(numbers: list[Any]) -> Iterator[dict[str, Any]]:
            for number in numbers:
                if number == LETHAL:
                    while self.kept and not self.flag.exists() and not any(self.kept.glob("0*")):
                        pass  # the other worker has made a part, and it is on disk
                    if self.flag is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    die_once(str(self.flag))
                    number = 0
                if number == "bad":
                    raise ValueError("what came is bad")
                if number == "odd":
                    raise OddError("the end", "what came is odd")
                yield {"square": number**2}
            with Path(self.log).open("a") as file:
                file.write(f"{numbers}\n")

        return make


class Deadly(Verifier):
    """Passes a completion that begins with the answer; a row with `flag` kills who judges it, once, but for `spare`."""

    requires = ("completion", "answer")

    def check(self, row: Any) -> Any:
        if row.get("flag") and os.getpid() != row["spare"]:
            die_once(row["flag"])
        return "pass" if row["completion"].startswith(row["answer"]) else "fail"


class Forgetful(Deadly):
    """Keeps its option under another name."""

    def __init__(self, words: list[str]) -> None:
        self._words = words


class Large:
    """Rows of ten million characters."""

    def open(self, cores: int | None) -> Callable[[Any], list[Any]]:
        return lambda numbers: [{"text": "x" * 10_000_000} for _ in numbers]


def left_early(times: int) -> None:
    """Takes a part of each call's eight, and leaves the others' workers as they send theirs."""
    for _ in range(times):
        made = local(EngineSettings(workers=2), Large(), parts_of([*range(8)], 0, 1)[0])
        next(made)
        made.close()


class Rude:
    """Leaves a process behind that holds all that it holds, and dies; or never hears that it is to end."""

    def __init__(self, how: str) -> None:
        self.how = how

    def open(self, cores: int | None) -> Callable[[Any], list[Any]]:
        return self.make

    def make(self, numbers: list[Any]) -> list[Any]:
        if self.how == "leaves a child":
            if os.fork() == 0:
                time.sleep(20)
            os._exit(3)
        if self.how == "is deaf" and numbers != [0]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if numbers != [0]:
            time.sleep(30)
        return []


def made_rudely(how: str) -> None:
    """Fails behind the first part, which is still held, so that nothing closes what makes the others."""
    workers.GRACE = 1.0
    global held
    held = local(EngineSettings(workers=2), Rude(how), parts_of([*range(8)], 0, 1)[0])
    next(held)
    raise ValueError("of the program")


held: Any = None


class Slow(NamedTuple):
    """Says that it began, in a file; once stopped it clears away for two seconds."""

    log: str

    def open(self, cores: int | None) -> Callable[[Any], list[Any]]:
        return self.make

    def make(self, given: Any) -> list[Any]:
        with Path(self.log).open("a") as file:
            file.write("began\n")
        try:
            time.sleep(60)
        finally:
            time.sleep(2)
        return []


def made_slowly(work: Slow) -> None:
    """Never comes to its end by itself."""
    list(local(EngineSettings(workers=2), work, parts_of([1, 2, 3, 4], 0, 1)[0]))
