"""The order rows come in: shuffled, or so that right and wrong meet evenly, overall, by prompt or by length.

Every order is a pure function of the seed and the epoch (`set_epoch`), so that a run resumed in the middle of
an epoch and every process of a distributed run see the same one; `RankBatches` cuts it into each one's batches.
"""

import difflib
from typing import Any

import numpy as np

from .paired_samplers import BalancedSampler, LengthBalancedSampler, PairSampler
from .sampler_base import Indices, SeededSampler, column


class ShuffledSampler(SeededSampler):
    """Every row once an epoch, in random order.

    Examples:
        >>> rows = {"reward": [1.0, 0.0, 0.0], "prompt_id": [5, 5, 5], "labels": [[1], [1], [1]]}
        >>> from datasets import Dataset
        >>> sorted(ShuffledSampler(Dataset.from_dict(rows), batch_size=2))
        [0, 1, 2]
    """

    def order(self, rng: np.random.Generator) -> Indices:
        """A permutation."""
        return rng.permutation(self.n_rows)


class CurriculumSampler(SeededSampler):
    """Easy prompts first, hard ones later, every row possible at any time.

        s[i] = (right + 1) / (all + 2)        completions of row i's prompt: its smoothed success rate
        p    = (epoch + j / n) / epochs       progress at draw j of the n of an epoch, at most 1
        P(row i) = (1 - p) * (s[i] + f) / sum(s + f) + p * (1 - s[i] + f) / sum(1 - s + f),   f = .1

    Rows are drawn with replacement, as many an epoch as there are rows. Easy prompts have more right rows, so
    the share of right rows falls with progress; at p = .5 it is about that of the data.

    Source: Bengio et al. 2009, Curriculum Learning: a weighting of examples that moves with training.

    Args:
        epochs: how many epochs the way from easy to hard takes.
    """

    options = ("epochs",)

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0, epochs: float = 1) -> None:
        super().__init__(dataset, batch_size, seed)
        if not epochs > 0:
            raise ValueError(f"epochs is {epochs}: more than 0 is needed")
        self.epochs = epochs
        prompt = np.unique(column(dataset, "prompt_id"), return_inverse=True)[1]
        n_right = np.bincount(prompt, weights=column(dataset, "reward") > 0.5)
        self.success_rate = ((n_right + 1) / (np.bincount(prompt) + 2))[prompt]
        """s of each row, [rows]."""

    def order(self, rng: np.random.Generator) -> Indices:
        """Each draw from the easy distribution or the hard one, by a coin whose odds move with progress."""
        easy, hard = self.success_rate + 0.1, 1.1 - self.success_rate
        draws = [rng.choice(self.n_rows, self.n_rows, p=weight / weight.sum()) for weight in (easy, hard)]
        progress = (self.epoch + np.arange(self.n_rows) / self.n_rows) / self.epochs
        return np.where(rng.random(self.n_rows) < progress, draws[1], draws[0])


SAMPLERS: dict[str, type[SeededSampler]] = {
    "shuffled": ShuffledSampler,
    "balanced": BalancedSampler,
    "pairs": PairSampler,
    "curriculum": CurriculumSampler,
    "length_balanced": LengthBalancedSampler,
}


def make_sampler(name: str, dataset: Any, batch_size: int, seed: int = 0, **options: Any) -> SeededSampler:
    """The sampler of that name (see `SAMPLERS`) over a dataset of `tokenize_rows`.

    Raises:
        ValueError: an unknown name or option.
        DataError: data that cannot be sampled so, for example all rows right where pairs are asked for.

    Examples:
        >>> from datasets import Dataset
        >>> data = Dataset.from_dict({"reward": [1.0, 0.0, 0.0], "prompt_id": [5, 5, 5], "labels": [[1]] * 3})
        >>> make_sampler("ballanced", data, batch_size=2)
        Traceback (most recent call last):
        ...
        ValueError: no sampler 'ballanced': balanced, length_balanced, shuffled, pairs, curriculum
    """
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=len(SAMPLERS), cutoff=0.5)
        choices = [*near, *(other for other in SAMPLERS if other not in near)]
        raise ValueError(f"no sampler {name!r}: {', '.join(choices)}")
    kind = SAMPLERS[name]
    if unknown := sorted(set(options) - set(kind.options)):
        raise ValueError(
            f"the sampler {name!r} takes no {', '.join(unknown)}: it takes {', '.join(kind.options) or 'no options'}"
        )
    return kind(dataset, batch_size, seed, **options)
