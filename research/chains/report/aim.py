"""The aims of the study, and whether each setting meets them: judged on whole intervals, not on their middles.

Where few completions are right, log_odds is to be at least 15 points over right_only, and within 5 points of the
oracle, which drops the truly wrong tokens. gated, the safe default, is to be within 5 points of the better of log_odds
and right_only everywhere.
"""

from dataclasses import dataclass
from typing import Literal

from research.chains.report.numbers import Comparison, Results, comparison, settings_along

ARM, RIVAL, CEILING = "log_odds", "right_only", "oracle"
OVER, BEHIND = 0.15, 0.05
FEW = 0.4  # share right below which the aim asks: the low half. A setting made for 50 % may measure 49 %
Reached = Literal["met", "undecided", "missed", "single draw", "not run"]


def reached(found: Comparison | None, least: float) -> Reached:
    """Whether a difference is at least so much: met by the whole interval, missed by none of it."""
    if found is None:
        return "not run"
    if found.low is None or found.high is None:
        return "single draw"
    low, high = round(found.low, 3), round(found.high, 3)  # what is printed, a tenth of a point
    if low >= least:
        return "met"
    return "missed" if high < least else "undecided"


@dataclass(frozen=True)
class Aim:
    """One setting and the two comparisons there."""

    setting: str
    asked: bool  # whether the aim speaks of this setting
    over: Comparison
    behind: Comparison | None

    @property
    def parts(self) -> tuple[Reached, Reached]:
        """Over right_only, and beside the oracle."""
        return reached(self.over, OVER), reached(self.behind, -BEHIND)


def aims(results: Results) -> list[Aim]:
    """The aim in every setting along the share of right completions in which both arms ran."""
    found: list[Aim] = []
    for setting in settings_along(results, "share_right"):
        over = comparison(results, setting, ARM, RIVAL)
        if over is not None:
            asked = results["meta"]["settings"][setting]["share_right"] < FEW
            found.append(Aim(setting, asked, over, comparison(results, setting, ARM, CEILING)))
    return found
