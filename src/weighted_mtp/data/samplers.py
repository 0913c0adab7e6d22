"""The order rows come in: shuffled, or so that right and wrong meet evenly, overall, by prompt or by length. It is a
pure function of the seed and the epoch (`set_epoch`), so that resumed runs and all processes see the same one."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from weighted_mtp import IGNORED
from weighted_mtp.choices import nearest

from .fields import DataError
from .schema import is_right

Indices = NDArray[np.int64]


class SeededSampler(Sampler[int]):
    """A sampler over a dataset of `tokenize_rows` (`reward`, `prompt_id`, `labels`), with a seed and an epoch.
    `batch_size` only checks that pairs fit into batches of one process."""

    options: ClassVar[tuple[str, ...]] = ()
    """Names of the further keyword arguments that the sampler takes."""
    unit: ClassVar[int] = 1
    """So many rows in a row belong together, in one batch and in one pack: 2 for pairs."""
    window: ClassVar[int | None] = None
    """Within how many units packing may change the order; None: within an epoch."""

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: at least 1 is needed")
        if len(dataset) == 0:
            raise DataError("the data set has no row to sample")
        self.n_rows = len(dataset)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(np.random.default_rng([self.seed, self.epoch])).tolist())

    def order(self, rng: np.random.Generator) -> Indices:
        """The row indices of an epoch, all randomness from `rng`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method order(rng)")


class ShuffledSampler(SeededSampler):
    """Every row once an epoch, in random order."""

    def order(self, rng: np.random.Generator) -> Indices:
        """A permutation."""
        return rng.permutation(self.n_rows)


class CurriculumSampler(SeededSampler):
    """Easy prompts first, hard ones later, every row possible at any time.

        s[i] = (right + 1) / (all + 2)        completions of row i's prompt: its smoothed success rate
        p    = (epoch + j / n) / epochs       progress at draw j of the n of an epoch, at most 1
        P(row i) = (1 - p) * (s[i] + f) / sum(s + f) + p * (1 - s[i] + f) / sum(1 - s + f),   f = .1

    Rows are drawn with replacement, as many an epoch as there are rows. Easy prompts have more right rows, so the share
    of right rows falls with progress; at p = .5 it is about that of the data. `epochs` is the length of the way.

    Source: Bengio et al. 2009, Curriculum Learning: a weighting of examples that moves with training.
    """

    options = ("epochs",)
    window = 256

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0, epochs: float = 1) -> None:
        super().__init__(dataset, batch_size, seed)
        if not epochs > 0:
            raise ValueError(f"epochs is {epochs}: more than 0 is needed")
        self.epochs = epochs
        prompt = np.unique(column(dataset, "prompt_id"), return_inverse=True)[1]
        n_right = np.bincount(prompt, weights=is_right(column(dataset, "reward")))
        self.success_rate = ((n_right + 1) / (np.bincount(prompt) + 2))[prompt]
        """s of each row, [rows]."""

    def order(self, rng: np.random.Generator) -> Indices:
        """Each draw from the easy distribution or the hard one, by a coin whose odds move with progress."""
        easy, hard = self.success_rate + 0.1, 1.1 - self.success_rate
        draws = [rng.choice(self.n_rows, self.n_rows, p=weight / weight.sum()) for weight in (easy, hard)]
        progress = (self.epoch + np.arange(self.n_rows) / self.n_rows) / self.epochs
        return np.where(rng.random(self.n_rows) < progress, draws[1], draws[0])


class BalancedSampler(SeededSampler):
    """Right and wrong in equal share: each right row is followed by a wrong one of the same group. All are one group.

    A group of m rows gives m // 2 pairs an epoch: a random part of the class with more rows, of the other each row
    equally often (up to one). Rows of a group that lacks one class are never shown and are counted in `left_out`."""

    unit = 2
    nothing_to_pair: ClassVar[str] = ""
    """What to tell the user when no group has both right and wrong rows."""

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0) -> None:
        super().__init__(dataset, batch_size, seed)
        right = is_right(column(dataset, "reward"))
        if right.all() or not right.any():
            which = "right" if right.all() else "wrong"
            raise DataError(
                f"all {self.n_rows} rows are {which}: {type(self).__name__} needs right and wrong ones; "
                "use the sampler 'shuffled'"
            )
        self.groups: list[tuple[Indices, Indices]] = []
        """The right and the wrong rows of each group that has both."""
        self.left_out = 0
        """Rows that are never shown, because their group lacks the other class."""
        groups = self.group_of(dataset, right)
        by_group = np.argsort(groups, kind="stable")
        for rows in np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1):
            pair = rows[right[rows]], rows[~right[rows]]
            if len(pair[0]) and len(pair[1]):
                self.groups.append(pair)
            else:
                self.left_out += len(rows)
        if not self.groups:
            raise DataError(self.nothing_to_pair.format(rows=self.n_rows))

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """The number of each row's group, [rows]."""
        return np.zeros(self.n_rows, dtype=np.int64)

    def __len__(self) -> int:
        return 2 * sum(_n_pairs(*group) for group in self.groups)

    def order(self, rng: np.random.Generator) -> Indices:
        """The pairs of all groups, shuffled, one after the other."""
        pairs = np.concatenate([_pairs(right, wrong, rng) for right, wrong in self.groups])
        return rng.permutation(pairs).reshape(-1)


class PairSampler(BalancedSampler):
    """Pairs of a right and a wrong completion of the same prompt; the groups are the prompts."""

    nothing_to_pair = (
        "none of the {rows} rows shares its prompt with a row of the other label: PairSampler "
        "needs prompts with a right and a wrong completion; use the sampler 'balanced'"
    )

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0) -> None:
        if batch_size % 2:
            raise ValueError(f"batch_size is {batch_size}: PairSampler needs an even one, to hold whole pairs")
        super().__init__(dataset, batch_size, seed)

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """The prompts, numbered."""
        return np.unique(column(dataset, "prompt_id"), return_inverse=True)[1]


class LengthBalancedSampler(BalancedSampler):
    """Right and wrong equally frequent at every length, so that length does not predict the label: a known shortcut.

    The groups are `n_bins` bins of length (labelled tokens, EOS included), fewer where lengths repeat; their edges are
    quantiles of the lengths of the class with fewer rows, so that no bin has to repeat a handful of them. Rows shorter
    or longer than every row of that class have no counterpart and are left out."""

    options = ("n_bins",)
    nothing_to_pair = "right and wrong rows share no length: LengthBalancedSampler cannot balance them"

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0, n_bins: int = 10) -> None:
        if n_bins < 1:
            raise ValueError(f"n_bins is {n_bins}: at least 1 is needed")
        self.n_bins = n_bins
        super().__init__(dataset, batch_size, seed)

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """The bins, numbered by length; -1 for what is shorter or longer than all rows of the rarer class."""
        length = np.asarray([np.count_nonzero(np.asarray(labels) != IGNORED) for labels in dataset["labels"]])
        rarer = length[right if right.sum() <= (~right).sum() else ~right]
        edges = np.unique(np.quantile(rarer, np.linspace(0, 1, self.n_bins + 1)[:-1], method="lower"))
        bins = np.searchsorted(edges, length, side="right") - 1  # below the first edge, the minimum: -1
        return np.where(length > rarer.max(), -1, bins)


def _n_pairs(right: Indices, wrong: Indices) -> int:
    return (len(right) + len(wrong)) // 2


def _pairs(right: Indices, wrong: Indices, rng: np.random.Generator) -> Indices:
    """The pairs of one group, [pairs, 2]: right, wrong."""
    n = _n_pairs(right, wrong)
    return np.stack([_draw(right, n, rng), _draw(wrong, n, rng)], axis=1)


def _draw(rows: Indices, n: int, rng: np.random.Generator) -> Indices:
    """n of the rows in random order; where n is more than there are, each comes equally often, up to one."""
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate(rounds)[:n]


def column(dataset: Any, name: str) -> NDArray[Any]:
    """A column of a data set as one array."""
    return np.asarray(dataset[name][:])


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
        choices = dict.fromkeys([*nearest(name, SAMPLERS, at_most=len(SAMPLERS)), *SAMPLERS])
        raise ValueError(f"no sampler {name!r}: {', '.join(choices)}")
    kind = SAMPLERS[name]
    if unknown := sorted(set(options) - set(kind.options)):
        raise ValueError(
            f"the sampler {name!r} takes no {', '.join(unknown)}: it takes {', '.join(kind.options) or 'no options'}"
        )
    return kind(dataset, batch_size, seed, **options)
