"""What a file of mutants holds: how many are right, by operator and verdict, and what was left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from weighted_mtp.verifiers.base import VERDICTS

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
    def rows(self) -> int:
        """Rows of the file."""
        return self.counts.total()

    @property
    def tasks(self) -> int:
        """Problems with rows in the file."""
        return self.counts[CANONICAL, "pass"]

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
