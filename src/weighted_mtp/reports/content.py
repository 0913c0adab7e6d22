"""What a report shows, as plain data: no tensor, no model, nothing that a JSON file could not hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

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


class TokenView(TypedDict):
    """One completion, token by token: `weights[i]`, `td_errors[i]`, `losses[i]`, ... belong to `tokens[i]`."""

    prompt: str
    label: bool  # did the completion pass its check
    tokens: Sequence[str]  # joined they are the text; a character of several tokens stands with the last of them
    weights: Sequence[float]
    td_errors: Sequence[float] | None
    values: Sequence[float] | None  # P(success | prefix)
    token_error: Sequence[bool] | None  # which tokens are truly wrong, where that is known
    arm: str
    row: NotRequired[int]  # its number among the rows of its file
    credit: NotRequired[Sequence[float] | None]  # in the critic's own unit: log-odds, unless the data say otherwise
    losses: NotRequired[Sequence[Sequence[float]]]  # nats, one per head that predicts the token; NaN: none does
    head_weights: NotRequired[Sequence[Sequence[float]]]  # likewise, where heads weigh the token differently


def shown_piece(token: str) -> str:
    """What stands for a token: its text, or a dot where its character is shown with a later token."""
    return token or "\N{MIDDLE DOT}"


def check_token_view(view: TokenView) -> None:
    """Raise ValueError unless every list of `view` has one entry per token."""
    for name in ("weights", "td_errors", "values", "token_error", "credit", "losses", "head_weights"):
        entries = view.get(name)
        if entries is not None and len(entries) != len(view["tokens"]):
            raise ValueError(
                f"token view of arm {view['arm']!r}: {name} has {len(entries)} entries for"
                f" {len(view['tokens'])} tokens; give one per token, or None"
            )


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
