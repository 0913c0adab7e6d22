"""What the experiment on real code measures, how each number is written, and what an interval says of a difference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from weighted_mtp.reports.numbers import signed

Unit = Literal["", "%", "nats"]
Comparison = Literal["wins", "undecided", "loses", "higher", "lower", "no interval"]


@dataclass(frozen=True)
class Estimate:
    """A statistic, or a difference of two, with its 95 % interval over tasks; None where there are no bounds."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, entry: Mapping[str, float | None] | None) -> "Estimate | None":
        """An entry of results.json; None where there is none."""
        if entry is None or entry["mean"] is None:
            return None
        return cls(entry["mean"], entry["low"], entry["high"])


@dataclass(frozen=True)
class Measure:
    """One kind of number: AUCs and losses are written with three digits, shares in percent with one."""

    key: str
    """In results.json; the paired differences stand under `<key>_over`."""
    name: str
    unit: Unit
    better: Literal["higher", "lower"] | None
    """None: neither is better."""

    @property
    def heading(self) -> str:
        """Of a column of values: `top-1, %`."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def difference_unit(self) -> str:
        """Shares differ by points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def difference_heading(self) -> str:
        """Of a column of differences: `top-1, points`."""
        return f"{self.name}, {self.difference_unit}" if self.unit else self.name

    def value(self, x: float) -> str:
        """`0.834`, or `22.3` in percent."""
        return f"{100 * x:.1f}" if self.unit == "%" else f"{x:.3f}"

    def difference(self, x: float) -> str:
        """`−0.132`, or `+1.2` in points."""
        return signed(100 * x, 1) if self.unit == "%" else signed(x, 3)

    def value_with_interval(self, estimate: Estimate) -> str:
        """`0.834 [0.820, 0.849]`; without bounds the value alone."""
        if estimate.low is None or estimate.high is None:
            return self.value(estimate.mean)
        return f"{self.value(estimate.mean)} [{self.value(estimate.low)}, {self.value(estimate.high)}]"

    def difference_with_interval(self, estimate: Estimate) -> str:
        """`−0.132 [−0.149, −0.117]`; without bounds the difference alone."""
        if estimate.low is None or estimate.high is None:
            return self.difference(estimate.mean)
        low, high = self.difference(estimate.low), self.difference(estimate.high)
        return f"{self.difference(estimate.mean)} [{low}, {high}]"

    def verdict(self, difference: Estimate) -> Comparison:
        """What the interval of a difference says of its first side: undecided where it contains 0."""
        if difference.low is None or difference.high is None:
            return "no interval"
        if difference.low <= 0 <= difference.high:
            return "undecided"
        way = "higher" if difference.low > 0 else "lower"
        if self.better is None:
            return way
        return "wins" if way == self.better else "loses"


def capital(text: str) -> str:
    """Headings begin with a capital letter: `Top-1, %`."""
    return text[:1].upper() + text[1:]


AUC = Measure("auc", "AUC", "", "higher")
TOP1 = Measure("top1", "top-1", "%", "higher")
AUC_WITHIN = Measure("auc_within", "AUC within tasks", "", "higher")

LOCALISATION = (AUC, TOP1)
OUTCOME = (AUC, AUC_WITHIN)
STUDENTS = (
    Measure("right_nll", "right completions", "nats", "lower"),
    Measure("wrong_token_nll", "first wrong token", "nats", "higher"),
    Measure("bug_margin", "bug against fix", "nats", "higher"),
    Measure("other_nll", "other tokens", "nats", None),
    Measure("prefers_right", "prefers right", "%", "higher"),
    Measure("pass1", "pass@1", "%", "higher"),
)
