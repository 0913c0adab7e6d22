"""What a report shows, as plain data: no tensor, no model, nothing that a JSON file could not hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from weighted_mtp.reports.token_view import TokenView, check_token_view

CONTROLS = ("shuffled_across", "shuffled", "lognormal")


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
    baseline: NotRequired[str]  # what `diff` is taken from, where that is not the page's baseline


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
class PageContent:
    """Everything `write_page` shows; a section without data is left out.

    Args:
        title: heading of the page.
        lead: one paragraph: what was run, in which setting, how many draws.
        summary: one row per arm, in the order in which arms appear on the page.
        accuracies: the single draws behind `summary`.
        curves: learning curves; arms, draws and metrics in any order.
        histograms: the weights that each arm gave.
        examples: completions with a weight per token, of one arm or of several.
        facts: provenance, as (name, value): date, commit, versions, hardware, wall time.
        notes: sentences a reader should know before believing the numbers: ties, losses, single draws.
        baseline: the arm that differences are taken from.
        controls: arms that must not gain if the explanation is right; set apart and labelled.
            An `mtp_` prefix is ignored.

    Raises:
        ValueError: a list of a token view has another length than its tokens, a histogram has not
            one edge more than counts, or a curve has not one value per step.
    """

    title: str
    lead: str
    summary: Sequence[SummaryRow]
    accuracies: Sequence[Accuracy] = ()
    curves: Sequence[Curve] = ()
    histograms: Sequence[Histogram] = ()
    examples: Sequence[TokenView] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    baseline: str = "uniform"
    controls: Sequence[str] = CONTROLS

    def __post_init__(self) -> None:
        for view in self.examples:
            check_token_view(view)
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
