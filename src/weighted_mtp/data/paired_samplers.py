"""Samplers that follow every right row with a wrong one: any, or of the same prompt, or of like length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighted_mtp import IGNORED

from .sampler_base import Indices, SeededSampler, column
from .schema import DataError


class PairedSampler(SeededSampler):
    """Right, wrong, right, wrong ...: each right row is followed by a wrong one of the same group.

    A group of m rows gives m // 2 pairs an epoch, so an epoch is about as long as without pairing. Of the
    class with more rows an epoch shows a random part, of the other each row equally often (up to one). The
    pairs of all groups are shuffled; batches of even size hold whole pairs. Rows of a group that lacks one
    class are never shown and are counted in `left_out`.

    Subclasses say what a group is.
    """

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0) -> None:
        super().__init__(dataset, batch_size, seed)
        right = column(dataset, "reward") > 0.5
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
            raise DataError(self.nothing_to_pair())

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """The number of each row's group, [rows]."""
        raise NotImplementedError

    def nothing_to_pair(self) -> str:
        """What to tell the user when no group has both right and wrong rows."""
        return "no group has both right and wrong rows"

    def __len__(self) -> int:
        return 2 * sum(_n_pairs(*group) for group in self.groups)

    def order(self, rng: np.random.Generator) -> Indices:
        """The pairs of all groups, shuffled, one after the other."""
        pairs = np.concatenate([_pairs(right, wrong, rng) for right, wrong in self.groups])
        return rng.permutation(pairs).reshape(-1)


class BalancedSampler(PairedSampler):
    """Right and wrong in equal share, in every batch of even size; all rows are one group."""

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """One group."""
        return np.zeros(self.n_rows, dtype=np.int64)


class PairSampler(PairedSampler):
    """Pairs of a right and a wrong completion of the same prompt; the groups are the prompts."""

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0) -> None:
        if batch_size % 2:
            raise ValueError(f"batch_size is {batch_size}: PairSampler needs an even one, to hold whole pairs")
        super().__init__(dataset, batch_size, seed)

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """The prompts, numbered."""
        return np.unique(column(dataset, "prompt_id"), return_inverse=True)[1]

    def nothing_to_pair(self) -> str:
        """No prompt was answered both ways."""
        return (
            f"none of the {self.n_rows} rows shares its prompt with a row of the other label: PairSampler "
            "needs prompts with a right and a wrong completion; use the sampler 'balanced'"
        )


class LengthBalancedSampler(PairedSampler):
    """Right and wrong equally frequent at every length, so that length does not predict the label.

    The field's known shortcut is that wrong answers are longer: a critic can learn the length and no more.
    The groups are bins of length (labelled tokens, EOS included); their edges are quantiles of the lengths of
    the class with fewer rows, so that no bin has to repeat a handful of them. Rows shorter or longer than
    every row of that class have no counterpart and are left out.

    Args:
        n_bins: bins asked for; fewer where lengths repeat. More bins leave less of the shortcut and repeat
            the rarer class more unevenly.
    """

    options = ("n_bins",)

    def __init__(self, dataset: Any, batch_size: int, seed: int = 0, n_bins: int = 10) -> None:
        if n_bins < 1:
            raise ValueError(f"n_bins is {n_bins}: at least 1 is needed")
        self.n_bins = n_bins
        super().__init__(dataset, batch_size, seed)

    def group_of(self, dataset: Any, right: NDArray[np.bool_]) -> Indices:
        """The bins, numbered by length; -1 for what is shorter or longer than all rows of the rarer class."""
        length = _labelled_lengths(dataset)
        rarer = length[right if right.sum() <= (~right).sum() else ~right]
        edges = np.unique(np.quantile(rarer, np.linspace(0, 1, self.n_bins + 1)[:-1], method="lower"))
        bins = np.searchsorted(edges, length, side="right") - 1  # below the first edge, the minimum: -1
        return np.where(length > rarer.max(), -1, bins)

    def nothing_to_pair(self) -> str:
        """The lengths of right and wrong rows are apart."""
        return "right and wrong rows share no length: LengthBalancedSampler cannot balance them"


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


def _labelled_lengths(dataset: Any) -> Indices:
    return np.asarray([np.count_nonzero(np.asarray(labels) != IGNORED) for labels in dataset["labels"]])
