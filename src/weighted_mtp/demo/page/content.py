"""What the demo's page shows, as plain data, and the order and the roles in which it shows arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from weighted_mtp.reports.layout import Page

BASELINE = "uniform"
CONTROLS = ("shuffled_across", "shuffled", "lognormal")
"""Arms that must not gain if the explanation is right; set apart and labelled."""

Role = Literal["baseline", "arm", "ceiling", "control"]


class SummaryRow(TypedDict):
    """One arm over its draws. Accuracies and differences are fractions in [0, 1], not percent."""

    arm: str
    mean: float
    std: float | None  # over draws; None for a single draw
    n: int
    diff: float | None  # paired difference to the baseline; None for the baseline itself
    low: float | None  # 95 % t interval of `diff`; None where one draw gives no interval
    high: float | None
    note: NotRequired[str]
    baseline: NotRequired[str]  # what `diff` is taken from, where that is not `BASELINE`


class Accuracy(TypedDict):
    """The accuracy, a fraction in [0, 1], of one arm in one draw."""

    arm: str
    seed: int
    accuracy: float


class Curve(TypedDict):
    """A metric of one arm in one draw, against optimizer steps."""

    arm: str
    seed: int
    metric: str  # "accuracy" (a fraction), "loss" (nats)
    steps: Sequence[int]
    values: Sequence[float]


class Histogram(TypedDict):
    """How often each weight was given: `counts[i]` tokens between `edges[i]` and `edges[i + 1]`."""

    arm: str
    edges: Sequence[float]
    counts: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class PageContent(Page):
    """Everything `write_page` shows; a section without data is left out."""

    summary: Sequence[SummaryRow]  # one row per arm, in the order in which arms appear on the page
    accuracies: Sequence[Accuracy] = ()  # the single draws behind `summary`
    curves: Sequence[Curve] = ()  # arms, draws and metrics in any order
    histograms: Sequence[Histogram] = ()
    notes: Sequence[str] = ()  # what a reader should know before believing the numbers: ties, losses, single draws

    def __post_init__(self) -> None:
        super().__post_init__()
        for histogram in self.histograms:
            if len(histogram["edges"]) != len(histogram["counts"]) + 1:
                raise ValueError(
                    f"histogram of arm {histogram['arm']!r}: {len(histogram['edges'])} edges for"
                    f" {len(histogram['counts'])} counts; give one edge more than counts"
                )
        for curve in self.curves:
            if len(curve["steps"]) != len(curve["values"]):
                raise ValueError(
                    f"{curve['metric']} curve of arm {curve['arm']!r}: {len(curve['steps'])} steps for"
                    f" {len(curve['values'])} values; give one value per step"
                )


def role_of(arm: str) -> Role:
    """What an arm is there for; `mtp_` before its name changes the heads, not the role."""
    name = arm.removeprefix("mtp_")
    if name == BASELINE:
        return "baseline"
    if name in CONTROLS:
        return "control"
    return "ceiling" if name == "oracle" else "arm"


def group_rows(summary: Sequence[SummaryRow]) -> list[tuple[str, list[SummaryRow]]]:
    """Arms of one head, of several, ceilings and controls below a heading, which is empty where there is one group."""
    groups: dict[str, list[SummaryRow]] = {"One head": [], "Several heads": [], "Ceiling": [], "Controls": []}
    apart = {"ceiling": "Ceiling", "control": "Controls"}
    for row in summary:
        heads = "Several heads" if row["arm"].startswith("mtp_") else "One head"
        groups[apart.get(role_of(row["arm"]), heads)].append(row)
    first = "One head" if groups["Several heads"] else "Arms"
    filled = [(first if heading == "One head" else heading, rows) for heading, rows in groups.items() if rows]
    return filled if len(filled) > 1 else [("", rows) for _, rows in filled]
