"""The aim of the study, and whether each setting meets it.

Where few completions are right, log_odds is to be at least 15 points over right_only, with an interval that
excludes 0, and within 5 points of the oracle, which drops the truly wrong tokens.
"""

from dataclasses import dataclass

from research.chains.report.numbers import Comparison, Results, comparison, mean_accuracy, settings_along
from weighted_mtp.reports.numbers import PERCENT, percent, points

ARM, RIVAL, CEILING = "log_odds", "right_only", "oracle"
OVER, BEHIND = 0.15, 0.05
FEW = 0.4  # share right below which the aim asks: the low half. A setting made for 50 % may measure 49 %


@dataclass(frozen=True)
class Aim:
    """One setting: the two comparisons, and in words what is missed; met where nothing is."""

    setting: str
    asked: bool  # whether the aim speaks of this setting
    over: Comparison
    behind: Comparison | None
    missed: tuple[str, ...]


def aims(results: Results) -> list[Aim]:
    """The aim in every setting along the share of right completions in which both arms ran."""
    found: list[Aim] = []
    for setting in settings_along(results, "share_right"):
        over = comparison(results, setting, ARM, RIVAL)
        behind = comparison(results, setting, ARM, CEILING)
        if over is not None:
            asked = results["meta"]["settings"][setting]["share_right"] < FEW
            found.append(Aim(setting, asked, over, behind, _missed(results, over, behind)))
    return found


def _missed(results: Results, over: Comparison, behind: Comparison | None) -> tuple[str, ...]:
    missed: list[str] = []  # judged on what is printed, a tenth of a point
    if round(over.diff, 3) < OVER:
        rival = percent(mean_accuracy(results, over.setting, RIVAL))
        missed.append(f"{points(over.diff)} points over {RIVAL}, which reaches {rival}{PERCENT}")
    if over.verdict == "single draw":
        missed.append("a single draw gives no interval")
    elif over.verdict == "ties":
        missed.append("the interval includes 0")
    if behind is None:
        missed.append(f"{CEILING} did not run")
    elif round(behind.diff, 3) < -BEHIND:
        missed.append(f"{points(behind.diff)} points to the {CEILING}")
    return tuple(missed)
