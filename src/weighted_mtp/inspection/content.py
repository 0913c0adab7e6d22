"""What the page of runs shows, as plain data: no tensor, no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from weighted_mtp.reports.token_view import TokenView, check_token_view


class Series(NamedTuple):
    """A metric by optimizer step."""

    steps: Sequence[int]
    values: Sequence[float]

    @classmethod
    def of(cls, points: Mapping[int, float]) -> "Series":
        """From step -> value, in the order of steps."""
        steps = sorted(points)
        return cls(steps, [points[step] for step in steps])


@dataclass(frozen=True)
class Bin:
    """Prefixes that a critic gave about the same chance: the mean chance, the rate of success, how many."""

    mean: float
    rate: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """Values of one kind of prefix against the outcomes."""

    prefixes: str
    """Which ones: all prefixes, the first third of each completion, ..."""
    ece: float
    """Expected calibration error, in [0, 1]."""
    bins: Sequence[Bin]
    """What it is made of."""


@dataclass(frozen=True)
class ValueQuality:
    """What a run's values are worth on some rows."""

    rows: int
    """How many completions."""
    values: int
    """How many prefixes of them."""
    source: str
    """Which rows they are."""
    reliability: Sequence[Reliability]
    """Of all prefixes, and by their place in the completion."""
    explained_variance: float | None
    """Of the outcomes, at most 1; None where all are alike."""
    outcome_auc: float | None
    """AUC of the outcome by the value."""
    error_auc: float | None
    """AUC of the first wrong token by the credit; None where the rows do not say which are wrong."""


@dataclass(frozen=True, kw_only=True)
class InspectedRun:
    """One finished run."""

    name: str
    """Told apart from the other runs of the page by it."""
    stage: str
    """baseline, critic, verifiable or rho1."""
    scheme: str
    """What weighed its tokens."""
    start: str
    """The model that it started from."""
    parameters: int
    """How many the trained model has."""
    heads: int
    """Prediction heads, the next-token head included."""
    steps: int | None
    """Optimizer steps; None where no record says."""
    settings: Mapping[str, Any]
    """Everything else that was configured, by flat name."""
    record: Mapping[str, Series] = field(default_factory=dict)
    """Metrics under their MLflow names."""
    quality: ValueQuality | None = None
    """None for a run without values."""


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """Everything `write_run_page` shows; a section without data is left out.

    Args:
        title: heading of the page.
        lead: one paragraph: what is on the page, and which rows were looked at.
        runs: in the order in which they appear, under different names.
        examples: completions with what each run knows of their tokens; `arm` is the run's name.
        facts: provenance, as (name, value).

    Raises:
        ValueError: a list of a token view has another length than its tokens, or two runs have one name.
    """

    title: str
    lead: str
    runs: Sequence[InspectedRun] = ()
    examples: Sequence[TokenView] = ()
    facts: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        for view in self.examples:
            check_token_view(view)
        names = [run.name for run in self.runs]
        if len({*names}) < len(names):
            raise ValueError(f"runs are called {', '.join(names)}: give each a name of its own")
