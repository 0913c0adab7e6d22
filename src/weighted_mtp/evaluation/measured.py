"""What was measured on rows like the user's own: the nearest setting of the experiments, in a sentence."""

import json
import math
from importlib import resources
from typing import Any

MEASURED = "measured.json"
"""Settings of the experiments with what right-only, the oracle and `gated` reach there, made by their code."""
_LEAST = 1e-3
"""Share right, and share wrong, below which shares are one."""


_FAR = math.log(4)
"""What is four times as many rows, or has four times the odds of being right, speaks of other rows."""


def nearest(own_samples: bool, rows: int, share_right: float, *, mixed: bool = True) -> str:
    """What right-only, `gated` and the oracle reached on the rows that are nearest by number and share right.

        d_i = |ln rows - ln rows_i| + |logit share - logit share_i|

    so that twice the rows are as far as twice the odds: both act by their ratio, and from 5 to 10 % right is further
    than from 50 to 55. The first of the nearest counts.

    Args:
        own_samples: whether the rows are a model's own samples; else they are a teacher's. Only settings of the same
            kind are looked at, since what pays on the ones does harm on the others.
        rows: how many there are.
        share_right: the share of right ones, in [0, 1].
        mixed: whether `gated` mixes credit in on the user's rows; else its lead is left out.

    Raises:
        ValueError: there is no row, or the share is none.

    Examples:
        >>> nearest(own_samples=False, rows=9_000, share_right=0.2).partition(": keep")[0]
        'nearest measured, with a generative critic: 8,000 rows of a teacher, learned from scratch, 24.0 % right'
    """
    if not rows >= 1 or not 0 <= share_right <= 1:
        raise ValueError(
            f"rows {rows} and share right {share_right}: at least one row, and a share in [0, 1] is needed"
        )
    best = min(_of_kind(own_samples), key=lambda one: _distance(one, rows, share_right))
    far = _distance(best, rows, share_right) > _FAR
    return f"far from these rows, but {in_words(best, mixed=mixed)}" if far else in_words(best, mixed=mixed)


def _of_kind(own_samples: bool) -> list[dict[str, Any]]:
    text = resources.files("weighted_mtp.evaluation").joinpath(MEASURED).read_text(encoding="utf-8")
    return [one for one in json.loads(text) if one["own_samples"] == bool(own_samples)]


def _distance(one: dict[str, Any], rows: int, share_right: float) -> float:
    of_rows = abs(math.log(rows / one["rows"]))
    return of_rows + abs(_logit(share_right) - _logit(one["share_right"]))


def _logit(share: float) -> float:
    inside = min(max(share, _LEAST), 1 - _LEAST)
    return math.log(inside / (1 - inside))


def in_words(setting: dict[str, Any], *, mixed: bool = True) -> str:
    """The sentence of one setting of `measured.json`; `mixed`: with the lead of `gated`."""
    leads, critic = setting["leads"], ", with a generative critic" * mixed
    told = "gated, told to mix by skill," if setting["own_samples"] else "gated"
    gated = f"{told} {_lead(leads['gated'])}, " if mixed else ""
    return (
        f"nearest measured{critic}: {setting['rows']:,} rows of {setting['whose']}, "
        f"{100 * setting['share_right']:.1f} % right: keep: right solved {100 * setting['right_only']:.1f} %, {gated}"
        f"the oracle, which knows every wrong token, {_lead(leads['oracle'])}"
    )


def _lead(lead: dict[str, Any]) -> str:
    if lead["lead"] == 0:
        return "the same"
    size = f"{abs(100 * lead['lead']):.1f} points {'more' if lead['lead'] > 0 else 'fewer'}"
    return size if lead["decided"] else f"{size} (undecided)"
