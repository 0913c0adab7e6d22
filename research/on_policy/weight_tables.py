"""Tables of the experiment that hold some weights against others: oracles, gates, posteriors, drawn rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from research.drawing.markdown import Table
from research.on_policy.arms import CHANGE_POINT, DRAWN, GATED_BY_QUARTER, GUIDED, ORACLE_BEHIND, ROW_GATED
from research.on_policy.results import BASELINE, ORACLE, Difference, Results, differences
from research.on_policy.settings_tables import METRICS
from weighted_mtp.demo.arms import GATED, GENERATIVE, LOG_ODDS
from weighted_mtp.reports.numbers import interval, number, points

OF_CRITICS = tuple(arm.name for arm in (GENERATIVE, LOG_ODDS, GATED, GUIDED))
"""What was made again with a critic that was kept by the present rule."""
AGAIN = "{}, again"
FORMER_RULE = (
    "Of a critic's evaluations the one of the highest held-out AUC was kept; by now it is the last within its standard "
    "error of the highest. On models' own samples that decides no arm: means over three draws move by at most 3 "
    "points, but their intervals reach 12 (on-policy.md)."
)
DECIDED = ("Points (95 %)", "Draws", "p, Holm", "Verdict")


BLAME = tuple(arm.name for arm in (*CHANGE_POINT, ORACLE_BEHIND))
"""What places the first wrong token, by a critic's posterior or by knowing it."""


def said(difference: Difference) -> str:
    """Points, with their interval where there is one."""
    low_high = interval(difference.interval.low, difference.interval.high)
    return (
        f"{points(difference.interval.mean)} ({low_high})" if difference.draws > 1 else points(difference.interval.mean)
    )


def _decided(results: Results, tasks: Sequence[str], arms: Sequence[str], **how: Any) -> tuple[tuple[str, ...], ...]:
    """A row for each arm, task and metric."""
    return tuple(
        _row(d, name) for metric, name in METRICS.items() for d in differences(results, metric, arms, tasks, **how)
    )


def _row(d: Difference, metric: str) -> tuple[str, ...]:
    return f"`{d.arm}`, {d.task}, {metric}", said(d), str(d.draws), number(d.adjusted), d.verdict


def oracle_table(main: Mapping[str, Sequence[Difference]]) -> Table:
    """The lead of whoever knows the wrong tokens, out of the differences of the main table by metric."""
    return Table(
        ("Oracle minus right_only", *DECIDED),
        tuple(
            _row(d, METRICS[metric])
            for metric, found in main.items()
            for arm in (ORACLE, "signed_oracle")
            for d in found
            if d.arm == arm
        ),
        "The oracle drops the truly wrong tokens, the signed one gives them a negative weight: their lead over "
        "training on right samples is what perfect knowledge of the wrong tokens is worth here. Holm's correction is "
        f"that of the table of every arm: by metric, over {max(map(len, main.values()), default=0)} comparisons.",
    )


def drawn_table(results: Results, tasks: Sequence[str]) -> Table:
    """Rows drawn in proportion to their weights, against the same weights on all rows."""
    return Table(
        ("Drawn by weight minus all rows", *DECIDED),
        _decided(results, tasks, list(DRAWN), against=lambda arm: DRAWN[arm].name),
        "Weightless rows fill batches: here as many rows as the steps read are drawn in proportion to their mean "
        "weight, which is divided out, and the arm is held against the same weights on all rows. Holm's correction is "
        "by metric.",
    )


def gates_table(results: Results, tasks: Sequence[str]) -> Table:
    """In place of one s for all tokens: one for each row, or for each quarter of a completion."""
    return Table(
        (f"Minus {BASELINE}", *DECIDED),
        _decided(results, tasks, [arm.name for arm in (*ROW_GATED, GATED_BY_QUARTER)]),
        "In place of one s for all rows: weighed by token are the rows whose outcome the critic's evidence, shrunk by "
        "its slope on folds, makes at least the square root of 10 times likelier; of the others the right ones are "
        "kept, and what has no weight is left out. With the generative and with the implicit critic. "
        "`gated_by_quarter` gives the quarters of a completion the s of the generative critic in proportion to what "
        "the credit of each explains. Holm's correction is by metric.",
    )


def quarters_table(results: Results, tasks: Sequence[str]) -> Table:
    """One s for each quarter of a completion against one for all of it."""
    return Table(
        (f"By quarter minus {GATED.name}", *DECIDED),
        _decided(results, tasks, [GATED_BY_QUARTER.name], against=lambda arm: GATED.name),
        "The same, against one s for all quarters.",
    )


def change_point_table(results: Results, tasks: Sequence[str]) -> Table:
    """Right rows, and what wrong ones have before the token that is to blame."""
    return Table(
        (f"Minus {BASELINE}", *DECIDED),
        _decided(results, tasks, BLAME),
        "Right rows are kept, and of wrong ones the tokens that come before the first wrong one with a probability of "
        "0.9 or more, by the posterior over that token which the critic's evidence makes, shrunk by its slope on "
        "folds; none where it has no skill. With the generative and with the implicit critic; `oracle_behind` knows "
        "the first wrong token, which is the most that placing it can win. Holm's correction is by metric.",
    )


def again(results: Results, metric: str, tasks: Sequence[str]) -> list[Difference]:
    """Critics kept by the present rule of early stopping minus those of the experiment."""
    arms = [AGAIN.format(arm) for arm in OF_CRITICS]
    return differences(results, metric, arms, tasks, against=lambda arm: arm.split(",")[0])


def again_table(results: Results, tasks: Sequence[str]) -> Table:
    """The same in a table."""
    return Table(
        ("Again minus before", *DECIDED),
        tuple(_row(d, name) for metric, name in METRICS.items() for d in again(results, metric, tasks)),
        "The critics of this page are those of the highest AUC on held-out prompts. By now the last one within its "
        "standard error of the highest is kept, since on rows of a teacher the highest was a matter of luck; what "
        "reads the generative critic was made again so. Holm's correction is by metric.",
    )
