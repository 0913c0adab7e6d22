"""Are a run's values probabilities? Calibration of all prefixes, and of those early and late in a completion."""

from typing import Any

import numpy as np
from datasets import Dataset

from weighted_mtp.evaluation.calibration import expected_calibration_error, reliability
from weighted_mtp.evaluation.critic_checks import discounted_outcomes, quality_of
from weighted_mtp.inspection.content import Bin, Reliability, ValueQuality
from weighted_mtp.inspection.tokens import Judged

_THIRDS = ("first third", "middle third", "last third")


def judged_positions(rows: int, most: int) -> range:
    """At most `most` of so many rows, evenly spaced.

    >>> list(judged_positions(5, 2)), list(judged_positions(2, 8))
    ([0, 3], [0, 1])
    """
    return range(0, rows, -(-rows // most))


def value_quality(judged: Judged, rows: Dataset, source: str, gamma: float = 1.0) -> ValueQuality:
    """What the values of completions are worth; the value before the last labelled token (EOS) is left out.

    The numbers of all prefixes are those of `critic_quality`, which `wmtp score` prints too.

    Args:
        judged: values and credit of the rows.
        rows: the rows, with `reward` and perhaps `token_error`.
        source: which rows they are, in words.
        gamma: discount per labelled token that the values were trained with.
    """
    errors: Any = rows["token_error"][:] if "token_error" in rows.column_names else [None]
    known = all(row is not None for row in errors)
    if not known:
        errors = [[0.0] * len(row) for row in judged.values]
    rewards = rows["reward"][:]
    quality = quality_of(judged.values, judged.credit, errors, rewards, gamma)
    values = np.concatenate([np.asarray(row[:-1], dtype=float) for row in judged.values])
    lengths = [len(row) - 1 for row in judged.values]
    due = discounted_outcomes(rewards, [len(row) for row in judged.values], gamma)
    outcomes = np.concatenate([np.asarray(row[:-1]) for row in due])
    third = np.concatenate([3 * np.arange(n) // max(n, 1) for n in lengths])
    parts = [Reliability("all prefixes", quality.ece, [_bin(b) for b in quality.reliability])]
    if max(lengths) >= 3:
        parts += [_reliability(words, values[third == i], outcomes[third == i]) for i, words in enumerate(_THIRDS)]
    return ValueQuality(
        rows=len(judged.values),
        values=len(values),
        source=source,
        reliability=parts,
        explained_variance=quality.explained_variance,
        outcome_auc=quality.outcome_auc,
        error_auc=quality.localisation.auc if known else None,
    )


def _reliability(words: str, values: Any, outcomes: Any) -> Reliability:
    bins = [_bin(b) for b in reliability(values, outcomes)]
    return Reliability(words, expected_calibration_error(values, outcomes), bins)


def _bin(b: Any) -> Bin:
    return Bin(b.mean_value, b.observed_rate, b.count)
