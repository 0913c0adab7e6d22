"""The two files that `make_rows` writes: what is in them already, what is added, and what came of it."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.data.schema import DataError
from weighted_mtp.verifiers.reasoning_gym_tasks import MEASURED_WITH

LEFT_OUT = ("duplicates", "unverified", "without wrong")


@dataclass
class Made:
    """What the two files hold after a call, and what they lack."""

    out: str | None
    problems: str | None
    version: str
    counts: Counter[str] = field(default_factory=Counter)
    """Rows by `made_by`; `problems`; questions asked before (`duplicates`), whose own answer does not pass
    (`unverified`), and of which no wrong answer was found (`without wrong`)."""
    short: dict[str, int] = field(default_factory=dict)
    """Tasks that ran out of different problems, and how many they gave."""

    def summary(self) -> str:
        """The rows, what was left out, and what to know."""
        counts, lines = self.counts, []
        if self.out:
            wrong = {name: n for name, n in sorted(counts.items()) if name.startswith(("corrupted", "other"))}
            kinds = ", ".join(f"{n} {name}" for name, n in wrong.items()) or "none"
            right = counts["reference"]
            lines.append(f"{self.out}: test-verified: {right} right, {sum(wrong.values())} wrong ({kinds})")
        if self.problems:
            lines.append(f"{self.problems}: {counts['problems']} problems without completions")
        if any(counts[name] for name in LEFT_OUT):
            lines.append(
                f"{counts['duplicates']} questions came again and {counts['unverified']} items' own answers do not"
                f" pass: left out; {counts['without wrong']} prompts have no wrong completion"
            )
        lines += [f"{task}: has no more than {n} different problems" for task, n in self.short.items()]
        if self.version != MEASURED_WITH:
            lines.append(f"scorers were measured in reasoning-gym {MEASURED_WITH}; this is {self.version}")
        return "\n".join(lines)


class OutputFile:
    """The prompts that a file holds, and more of them; no path: none, ever.

    Raises:
        DataError: rows of another seed, or verified by another version.
    """

    def __init__(self, path: str | None, seed: int, verified_by: str, stack: ExitStack) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {}
        self._last: str | None = None
        if path is None:
            return
        writer = JsonLinesWriter(path)
        for number, row in enumerate(writer.done, start=1):
            if str(row.get("id")).split("/")[1:2] != [str(seed)] or row.get("verified_by") != verified_by:
                raise DataError(
                    f"{path}:{number}: is not of seed {seed} and {verified_by}: give another file, or move this one"
                    " away"
                )
            self.held.setdefault(row["prompt"], []).append(row)
            self._last = row["prompt"]
        self._writer = stack.enter_context(writer)

    def is_whole(self, prompt: str) -> bool:
        """All rows of a prompt are there: those of the last one may have been cut off."""
        return prompt in self.held and prompt != self._last

    def add(self, row: Mapping[str, Any]) -> None:
        """Writes a row that is not there yet."""
        held = self.held.setdefault(row["prompt"], [])
        if all(other.get("completion") != row.get("completion") for other in held):
            self._writer.write(row)
            held.append(dict(row))
