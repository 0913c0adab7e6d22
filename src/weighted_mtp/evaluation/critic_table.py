"""How good a critic is, in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_critic_quality(console: Console, quality: Mapping[str, Any], *, errors_known: bool) -> None:
    """What the critic's values foretell, how far they are probabilities, and whether its credit finds wrong tokens.

    Args:
        console: where it goes.
        quality: `CriticQuality.as_dict()`.
        errors_known: False where the rows do not say which tokens are wrong.
    """
    console.print(_measures(quality, errors_known))
    console.print(_reliability(quality["reliability"]))


def _measures(quality: Mapping[str, Any], errors_known: bool) -> Table:
    table = Table("critic", "", "by length alone", "by position alone", box=None, pad_edge=False)
    length, first_of_all = quality["length_only_outcome_auc"], quality["localisation"]
    table.add_row("AUC of the outcome", _number(quality["outcome_auc"]), _number(length), "")
    table.add_row("explained variance", _number(quality["explained_variance"]))
    table.add_row("calibration error", _number(quality["ece"]))
    if not errors_known:
        table.add_row("first wrong token", "not known: give `token_error` or `span`")
        return table
    by_length, by_position = quality["length_only_auc"], quality["position_only_auc"]
    table.add_row(
        "AUC of the first wrong token", _number(first_of_all["auc"]), _number(by_length), _number(by_position)
    )
    table.add_row("  within wrong completions", _number(first_of_all["auc_within_wrong"]))
    table.add_row("  top-1", _number(first_of_all["top1"]))
    return table


def _reliability(bins: list[Mapping[str, Any]]) -> Table:
    table = Table("P(success) said", "came true", "tokens", box=None, pad_edge=False)
    for one in bins:
        bar = "\u2588" * round(20 * one["observed_rate"])
        table.add_row(f"{one['mean_value']:.2f}", f"{one['observed_rate']:.2f} {bar}", f"{one['count']:,}")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
