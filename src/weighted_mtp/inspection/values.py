"""Are a run's values probabilities? Calibration of all prefixes, and of those early and late in a completion."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from weighted_mtp.evaluation.calibration import expected_calibration_error, reliability
from weighted_mtp.evaluation.critic_checks import discounted_outcomes, paid_by, quality_of
from weighted_mtp.evaluation.critic_skill import critic_skill, log_odds_of_row
from weighted_mtp.inspection.content import Reliability, ValueQuality
from weighted_mtp.inspection.tokens import Advance, forwarded
from weighted_mtp.training.trainer import WeightedMTPTrainer

_THIRDS = ("first third", "middle third", "last third")


@torch.no_grad()
def judge_values(
    trainer: WeightedMTPTrainer, rows: Dataset, source: str, gamma: float, advance: Advance, *, fresh: bool = False
) -> ValueQuality | None:
    """What the run's values of completions are worth, that before EOS left out, as `critic_quality` has it; None where
    its stage has no values. Of rows that are `fresh`, on which it was not trained, it says what the critic knows."""
    log_odds: list[float] = []
    values: list[list[float]] = []
    credit: list[list[float]] = []
    for _, batch, _, signals in forwarded(trainer, rows, advance):
        if signals.values is None:
            return None
        given = signals.td_errors if signals.credit is None else signals.credit
        for b, picked in enumerate(batch.mask):
            values.append(signals.values[b][picked].tolist())
            credit.append(given[b][picked].tolist())
            own = [] if signals.credit is None else credit[-1]
            log_odds.append(log_odds_of_row({"values": values[-1], "credit": own, "p_success": values[-1][-1]}))
    errors: Any = rows["token_error"][:] if "token_error" in rows.column_names else [None]
    known = all(row is not None for row in errors)
    if not known:
        errors = [[0.0] * len(row) for row in values]
    quality = quality_of(values, credit, errors, rows["reward"][:], gamma, paid_by(rows))
    flat = np.concatenate([np.asarray(row[:-1], dtype=float) for row in values])
    due = discounted_outcomes(paid_by(rows), [len(row) for row in values], gamma)
    outcomes = np.concatenate([np.asarray(row[:-1]) for row in due])
    lengths = [len(row) - 1 for row in values]
    third = np.concatenate([3 * np.arange(n) // max(n, 1) for n in lengths])
    parts = [Reliability("all prefixes", quality.ece, quality.reliability)]
    if max(lengths) >= 3:
        parts += [_reliability(words, flat[third == i], outcomes[third == i]) for i, words in enumerate(_THIRDS)]
    return ValueQuality(
        rows=len(values),
        values=len(flat),
        source=source,
        reliability=parts,
        explained_variance=quality.explained_variance,
        outcome_auc=quality.outcome_auc,
        error_auc=quality.localisation.auc if known else None,
        verdict=critic_skill(log_odds, rows["reward"], rows["prompt_id"], list(map(len, values))).verdict
        if fresh
        else None,
    )


def _reliability(words: str, values: Any, outcomes: Any) -> Reliability:
    return Reliability(words, expected_calibration_error(values, outcomes), reliability(values, outcomes))
