"""What came of a harvest of doctests: problems by package, and why functions were left out."""

from collections import Counter
from dataclasses import dataclass, field

from rich.table import Table

KEPT = "kept"


@dataclass
class DoctestsReport:
    """Functions with doctests, by package and what became of each."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By package, and `kept` or the reason why not."""
    examples: Counter[str] = field(default_factory=Counter)
    """Examples of the problems, by package."""
    seconds: float = 0.0
    """What this call took."""

    def keep(self, package: str, examples: int) -> None:
        """Counts a problem."""
        self.outcomes[package, KEPT] += 1
        self.examples[package] += examples

    def leave_out(self, package: str, reason: str) -> None:
        """Counts a function that is no problem."""
        self.outcomes[package, reason] += 1

    @property
    def kept(self) -> int:
        """Problems of the file."""
        return sum(count for (_, outcome), count in self.outcomes.items() if outcome == KEPT)

    @property
    def seen(self) -> int:
        """Functions with doctests."""
        return self.outcomes.total()

    def summary(self) -> str:
        """How many functions became problems; then why others did not, the most frequent reason first."""
        lines = [f"{self.kept} problems of {self.seen} functions with doctests, {self.seconds:.0f} s"]
        reasons = Counter[str]()
        for (_, outcome), count in self.outcomes.items():
            reasons[outcome] += count
        del reasons[KEPT]
        if reasons:
            lines.append(f"{reasons.total()} functions left out:")
            lines += [f"  {count:>5} {reason}" for reason, count in reasons.most_common()]
        return "\n".join(lines)

    def table(self) -> Table:
        """Functions, problems and examples of each package, the most fruitful one first."""
        table = Table(box=None, pad_edge=False)
        table.add_column("package", no_wrap=True)
        for heading in ("functions", "problems", "examples"):
            table.add_column(heading, justify="right", no_wrap=True)
        seen = Counter[str]()
        for (package, _), count in self.outcomes.items():
            seen[package] += count
        for package in sorted(seen, key=lambda name: -self.outcomes[name, KEPT]):
            kept = self.outcomes[package, KEPT]
            table.add_row(package, str(seen[package]), str(kept), str(self.examples[package]))
        return table
