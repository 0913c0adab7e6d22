"""A critic against the truth, on completions whose outcome, and perhaps whose wrong tokens, are known."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from weighted_mtp.data import CompletionCollator, is_right, load_rows, tokenize_rows
from weighted_mtp.data.encoding import Turn
from weighted_mtp.evaluation.critic_quality import CriticQuality, critic_quality
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.value_weighting import compute_td_errors

Ragged = Sequence[Sequence[float]]
Paid = Sequence[float | Sequence[float]]
JUDGED_ROWS = 2_000
"""Enough for a calibration error of a hundredth; all rows of a large data set, padded, would not fit into memory."""


def discounted_outcomes(paid: Paid, lengths: Sequence[int], gamma: float) -> list[list[float]]:
    """What a value estimates before each of a completion's labelled tokens: gamma^k R, k tokens before the last; of a
    row whose steps are paid, what is still to come of them.
    """
    found: list[list[float]] = []
    for reward, length in zip(paid, lengths, strict=True):
        rewards = reward if isinstance(reward, Sequence) else [0.0] * (length - 1) + [reward]
        found.append([*accumulate(reversed(rewards), lambda later, now: now + gamma * later)][::-1])
    return found


def paid_by(rows: Dataset) -> Paid:
    """What rows are paid: their outcomes, or their steps where they have them."""
    return rows["rewards" if "rewards" in rows.column_names else "reward"][:]


def quality_of(
    values: Ragged,
    credit: Ragged,
    token_error: Ragged,
    rewards: Sequence[float],
    gamma: float = 1.0,
    paid: Paid | None = None,
    prompts: Sequence[int] | None = None,
) -> CriticQuality:
    """`critic_quality` of completions of any length, the last labelled token (EOS) left out: it cannot be wrong, and a
    value head's TD error there reads the reward, which credit must not. The values were trained with the discount gamma
    per labelled token, on what rows are `paid`, their rewards if not their steps."""
    targets = discounted_outcomes(rewards if paid is None else paid, [len(row) for row in values], gamma)
    lengths = np.array([len(row) - 1 for row in values])
    mask = np.arange(max(lengths.max(initial=0), 1)) < lengths[:, None]

    def padded(rows: Ragged) -> Any:
        array = np.zeros(mask.shape)
        array[mask] = np.concatenate([np.asarray(row, dtype=float)[:-1] for row in rows])
        return array

    right = is_right(np.asarray(rewards))
    errors = padded(token_error) > 0.5
    return critic_quality(padded(values), padded(credit), right, errors, mask, padded(targets), prompts)


@torch.no_grad()
def measure_critic(
    critic: Critic, dataset: Dataset, collate: CompletionCollator, batch_size: int = 512
) -> CriticQuality:
    """The quality of a critic on encoded rows with `token_error`."""
    for model in critic.models():
        model.eval()
    values: list[list[float]] = []
    credit: list[list[float]] = []
    for start in range(0, len(dataset), batch_size):
        rows = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        batch = TokenBatch.from_inputs(collate(rows), n_future=1)
        judged = critic.judge(batch)
        given = judged.credit
        if given is None:
            given = compute_td_errors(judged.values[..., None], batch.paid, batch.mask)
        for b, picked in enumerate(batch.mask):
            values.append(judged.values[b][picked].tolist())
            credit.append(given[b][picked].tolist())
    return quality_of(values, credit, dataset["token_error"], dataset["reward"], paid=paid_by(dataset))


def quality_of_scores(
    folder: str | Path | Sequence[Path], critic_dir: str, gamma: float = 1.0, turns: Turn = "all"
) -> tuple[CriticQuality, bool]:
    """The quality of the critic whose scores, of all shards, `wmtp score` wrote, and whether wrong tokens were known.
    Of several folders, those of folds, all rows together. Of more than `JUDGED_ROWS` rows at most that many are judged,
    evenly spaced."""
    folders = [folder] if isinstance(folder, str | Path) else folder
    rows = [row for one in folders for row in load_rows(one)[0]]
    rows = rows[:: -(-len(rows) // JUDGED_ROWS)]
    dataset, _ = tokenize_rows(rows, load_tokenizer(critic_dir), max_length=10**9, turns=turns)
    credit = "credit" if "credit" in dataset.column_names else "td_errors"
    errors: Any = dataset["token_error"][:] if "token_error" in dataset.column_names else [None]
    known = all(row is not None for row in errors)
    if not known:
        errors = [[0.0] * len(row) for row in dataset["values"]]
    judged = dataset["values"], dataset[credit], errors, dataset["reward"], gamma, paid_by(dataset)
    return quality_of(*judged, dataset["prompt_id"][:]), known
