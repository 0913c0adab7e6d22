"""Everything a results file says about one critic on fresh completions, and how the terminal says it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table

from weighted_mtp.evaluation.calibration import (
    ReliabilityBin,
    brier,
    expected_calibration_error,
    explained_variance,
    reliability,
)
from weighted_mtp.evaluation.localisation import Localisation, locate_errors
from weighted_mtp.evaluation.ranking import (
    auc,
    auc_by_position,
    length_groups,
    length_only,
    length_only_values,
    position_groups,
    position_only,
)


@dataclass(frozen=True)
class CriticQuality:
    """How good a critic's credit and values are. "Pooled": over all response tokens of all completions."""

    localisation: Localisation
    position_only_auc: float | None
    """The localisation AUC of the mean credit at each position: what knowing the position alone gives."""
    length_only_auc: float | None
    """The localisation AUC of the mean credit at each length."""
    ece: float
    """Expected calibration error of the values, pooled, in [0, 1]; `reliability` holds the bins behind it."""
    final_ece: float
    """The same of the values before each completion's last response token."""
    reliability: list[ReliabilityBin]
    explained_variance: float | None
    """Of the outcomes by the values, pooled, at most 1."""
    brier: float
    """Mean squared error of the values, pooled."""
    outcome_auc: float | None
    """AUC of the outcome by the value, pooled, in [0, 1]."""
    length_only_outcome_auc: float | None
    """The same of the share of right ones at each length."""
    auc_by_position: list[float | None]
    """AUC of the outcome by the value at each position."""

    as_dict = asdict


def critic_quality(
    values: ArrayLike,
    credit: ArrayLike,
    outcomes: ArrayLike,
    token_error: ArrayLike,
    mask: ArrayLike,
    targets: ArrayLike | None = None,
    prompts: ArrayLike | None = None,
) -> CriticQuality:
    """Localisation, calibration and discrimination of one critic, with the shortcuts beside them.

    Args:
        values: [N, T]; values[i, j] is P(success | prefix before response token j), so j = 0 is the prompt's
            value. Proxies outside [0, 1] are clipped in `ece`, `final_ece` and `reliability` alone.
        credit: [N, T], by how much response token j moved the critic's belief.
        outcomes: [N], which completions are right.
        token_error: [N, T], which response tokens are wrong.
        mask: [N, T], where there is a response token; what lies outside is never read.
        targets: [N, T], what the values estimate where that is not the outcome itself but, say, a discounted one:
            calibration, explained variance and Brier score are of these.
        prompts: [N], the number of each completion's prompt, for the interval of the localisation.

    Examples:
        >>> quality = critic_quality(
        ...     values=[[0.5, 0.6], [0.5, 0.1]],
        ...     credit=[[0.1, 0.4], [-0.4, -0.1]],
        ...     outcomes=[1, 0],
        ...     token_error=[[0, 0], [1, 0]],
        ...     mask=[[1, 1], [1, 1]],
        ... )
        >>> quality.localisation.auc, quality.outcome_auc, quality.auc_by_position
        (1.0, 0.875, [0.5, 1.0])
        >>> round(quality.final_ece, 3), quality.as_dict()["localisation"]["top1"]
        (0.25, 1.0)
    """
    v, valid, outcome = np.asarray(values), np.asarray(mask, np.bool_), np.asarray(outcomes)
    shapes = [v.shape, np.shape(credit), np.shape(token_error), valid.shape]
    if valid.ndim != 2 or len(set(shapes)) > 1 or outcome.shape != valid.shape[:1]:
        raise ValueError(f"values, credit, errors, mask are {shapes}, outcomes {outcome.shape}: [N, T] and [N]")
    right = np.broadcast_to(outcome[:, None], valid.shape)
    target = right if targets is None else np.asarray(targets)
    pooled, due = v[valid], target[valid]
    last = valid & (valid[:, ::-1].cumsum(1)[:, ::-1] == 1)
    positions, lengths = position_groups(valid), length_groups(valid)
    rates = np.broadcast_to(length_only_values(valid.sum(1), outcome)[:, None], valid.shape)
    return CriticQuality(
        localisation=locate_errors(credit, token_error, valid, prompts=prompts),
        position_only_auc=locate_errors(position_only(credit, valid), token_error, valid, positions).auc,
        length_only_auc=locate_errors(length_only(credit, valid), token_error, valid, lengths).auc,
        ece=expected_calibration_error(pooled, due),
        final_ece=expected_calibration_error(v[last], target[last]),
        reliability=reliability(pooled, due),
        explained_variance=explained_variance(pooled, due),
        brier=brier(pooled, due),
        outcome_auc=auc(pooled, right[valid]),
        length_only_outcome_auc=auc(rates[valid], right[valid], lengths[valid]),
        auc_by_position=auc_by_position(v, outcome, valid),
    )


def print_critic_quality(console: Console, quality: Mapping[str, Any], *, errors_known: bool) -> None:
    """What `CriticQuality.as_dict()` holds; of credit only where the rows say which tokens are wrong."""
    table = Table("critic", "", "by length alone", "by position alone", box=None, pad_edge=False)
    rows: list[tuple[Any, ...]] = [
        ("AUC, all prefixes", quality["outcome_auc"], quality["length_only_outcome_auc"]),
        ("explained variance", quality["explained_variance"]),
        ("calibration error", quality["ece"]),
    ]
    first = quality["localisation"]
    if errors_known:
        shortcuts = quality["length_only_auc"], quality["position_only_auc"]
        rows += [
            ("AUC of the first wrong token", first["auc"], *shortcuts),
            ("  within wrong completions", first["auc_within_wrong"]),
            *_bounds(first["interval"]),
            ("  top-1", first["top1"]),
        ]
    for name, *numbers in rows:
        table.add_row(name, *(_shown(number) for number in numbers))
    if not errors_known:
        table.add_row("first wrong token", "not known: give `token_error` or `span`")
    console.print(table)
    table = Table("P(success) said", "came true", "tokens", box=None, pad_edge=False)
    for one in quality["reliability"]:
        bar = "\u2588" * round(20 * one["observed_rate"])
        table.add_row(f"{one['mean_value']:.2f}", f"{one['observed_rate']:.2f} {bar}", f"{one['count']:,}")
    console.print(table)


def _shown(number: float | str | None) -> str:
    return "-" if number is None else number if isinstance(number, str) else f"{number:.3f}"


def _bounds(interval: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """A row of the table, where there are bounds."""
    if interval is None or interval["low"] is None:
        return []
    return [("    95 % interval", f"{interval['low']:.2f}, {interval['high']:.2f}")]
