"""What the page of runs shows, as plain data: no tensor, no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from weighted_mtp.evaluation.calibration import ReliabilityBin
from weighted_mtp.reports.layout import Page


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
class Reliability:
    """Values of one kind of prefix against the outcomes."""

    prefixes: str  # which ones: all prefixes, the first third of each completion, ...
    ece: float  # expected calibration error, in [0, 1]
    bins: Sequence[ReliabilityBin]  # what it is made of


@dataclass(frozen=True)
class ValueQuality:
    """What a run's values are worth on some rows."""

    rows: int  # how many completions
    values: int  # how many prefixes of them
    source: str  # which rows they are
    reliability: Sequence[Reliability]  # of all prefixes, and by their place in the completion
    explained_variance: float | None  # of the outcomes, at most 1; None where all are alike
    outcome_auc: float | None  # AUC of the outcome by the value
    error_auc: float | None
    """AUC of the first wrong token by the credit; None where the rows do not say which are wrong."""
    verdict: str | None = None
    """What the critic knows on prompts that it was not trained on, in words; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class InspectedRun:
    """One finished run."""

    name: str  # told apart from the other runs of the page by it
    stage: str  # baseline, critic, verifiable or rho1
    scheme: str  # what weighed its tokens
    start: str  # the model that it started from
    parameters: int  # how many the trained model has
    heads: int  # prediction heads, the next-token head included
    steps: int | None  # optimizer steps; None where no record says
    settings: Mapping[str, Any]  # everything else that was configured, by flat name
    record: Mapping[str, Series] = field(default_factory=dict)  # metrics under their MLflow names
    quality: ValueQuality | None = None  # None for a run without values


@dataclass(frozen=True, kw_only=True)
class RunPage(Page):
    """Everything `write_run_page` shows; a section without data is left out."""

    runs: Sequence[InspectedRun] = ()  # in the order in which they appear; an example's `arm` is the name of one

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [run.name for run in self.runs]
        if len({*names}) < len(names):
            raise ValueError(f"runs are called {', '.join(names)}: give each a name of its own")
