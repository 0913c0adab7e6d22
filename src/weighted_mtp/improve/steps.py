"""A step of a round: a command in a process of its own, whose marker says that it is done, with which settings and what
content, and at what cost, so that it is never run again nor taken for another; an unfinished one is gone on with."""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighted_mtp.engine.settings import OF_ENGINES
from weighted_mtp.files import digest_of_files, write_text
from weighted_mtp.models import sources
from weighted_mtp.terminal import Stopped, leave_closed_terminal
from weighted_mtp.training.errors import require

MODELS = ("model", "model_name_or_path", "critic", "reference", "tokenizer_name_or_path")
FILES = ("problems", "train_file", "eval_file", "data")
PLACES = ("out", "output_dir", "tracking_uri", "run_name")
"""Settings that lead to a model, to rows, or say where things go."""
Record = dict[str, Any]
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StepFailedError(RuntimeError):
    """A command of a round that ended with an error; the message says which, and where its log is."""


@dataclass(frozen=True)
class Step:
    """One command of a round."""

    name: str
    """sample, critic, scores, skill, student or evaluation."""
    folder: Path
    """Of its round."""
    command: str
    """Without `wmtp`."""
    settings: Mapping[str, Any]
    """Its flags; `model` comes before them, as a word."""
    flags: tuple[str, ...] = ()
    """Further words."""

    @property
    def words(self) -> list[str]:
        """The command line behind `wmtp`."""
        flags = {name: value for name, value in self.settings.items() if name != "model" and value is not None}
        said = [f"--{name}={x if isinstance(x, str) else json.dumps(x)}" for name, x in flags.items()]
        model = [self.settings["model"]] if "model" in self.settings else []
        return [*self.command.split(), *model, *said, *self.flags]

    @property
    def marker(self) -> Path:
        """The file that says what became of it."""
        return self.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What the command said."""
        return self.folder / f"{self.name}.log"

    def fingerprint(self) -> Record:
        """The settings, and of what they name to be read the content, wherever it lies."""
        left_out = (*PLACES, *OF_ENGINES)
        return {name: _content(name, value) for name, value in self.settings.items() if name not in left_out}

    def record(self) -> Record:
        """What the marker holds; nothing where there is none."""
        return json.loads(self.marker.read_text(encoding="utf-8")) if self.marker.exists() else {}

    def run(self, account: Callable[[], Mapping[str, Any]]) -> Record:
        """Runs it, unless it is done; returns its record, with what `account` says of the finished work. ConfigError:
        it is done with other settings, or from something else; StepFailedError: the command ended with an error."""
        before, settings = self.record(), self.fingerprint()
        if before.get("finished"):
            made = before["settings"]
            names = [name for name in made | settings if made.get(name) != settings.get(name)]
            require(
                not names,
                f"{self.folder}: {self.name} is done with {_differences(names, made, settings)}; nothing was changed: "
                f"give another --out, or move {self.marker} and what it is of away, and the rounds behind it",
            )
            return before
        found = {"command": shlex.join(["wmtp", *self.words]), "settings": settings}
        begin, spent = time.monotonic(), before.get("seconds", 0.0)
        finished = False
        try:
            _run([sys.executable, "-m", "weighted_mtp.cli", *self.words], self.log, found["command"])
            found |= account()
            finished = True
        except _Ended as end:
            raise StepFailedError(f"{self.folder.name}/{self.name} failed{end}: see {self.log}") from None
        finally:
            found |= {"seconds": round(spent + time.monotonic() - begin, 1), "finished": finished}
            write_text(self.marker, json.dumps(found, indent=1) + "\n")
        return found


class _Ended(Exception):
    """The process ended with an error; what it said last."""


def _differences(names: Sequence[str], made: Record, now: Record) -> str:
    content = (*MODELS, *FILES)
    said = (f"another {x}" if x in content else f"{x} {made.get(x)!r} and not {now.get(x)!r}" for x in names)
    return ", ".join(said)


def _content(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name not in (*MODELS, *FILES):
        return value
    path = Path(value)
    if name in FILES and path.exists():
        return digest_of_files(sorted(path.glob("*.parquet")) if path.is_dir() else [path])
    is_model = name in MODELS and (path.is_dir() or value.startswith("package:"))
    return sources.digest_of_model(value) if is_model else value


def _end_with_parent() -> None:
    """Makes the kernel end this process when its parent ends, by SIGKILL too."""
    if _libc is not None:
        _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _run(words: list[str], log: Path, said: str) -> None:
    """Runs a process to its end, its words into the log; signals that stop are passed on, and its end waited for."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"$ {said}\n".encode())
        file.flush()
        start = file.tell()
        asked: list[int] = []
        process: subprocess.Popen[bytes] | None = None

        def stop(number: int, frame: Any) -> None:
            asked.append(number)
            if number == signal.SIGHUP:
                leave_closed_terminal()
            if process is not None:
                process.send_signal(number)

        # Raised as it comes, KeyboardInterrupt would be lost in what Python does around a fork.
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
        before = [signal.signal(number, stop) for number in numbers]
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TQDM_DISABLE": "1", "COLUMNS": "120"},
                start_new_session=True,  # the terminal's Ctrl-C is passed on, not had twice
                preexec_fn=_end_with_parent,
            )
            if asked:
                process.send_signal(asked[0])
            status = process.wait()
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
    if asked or status in (129, 130, 143):
        raise Stopped(asked[0] if asked else status - 128)
    if status:
        raise _Ended(_last_words(log, start, status))


def _last_words(log: Path, start: int, status: int) -> str:
    lines = [line.strip() for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    if status < 0:
        return f" (killed by {signal.Signals(-status).name})"
    return f" ({lines[-1].removeprefix('wmtp: error: ')[:300]})" if lines else f" (status {status})"
