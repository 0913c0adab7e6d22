"""What all samplers share: an order that is a pure function of the seed and the epoch."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from .schema import DataError

Indices = NDArray[np.int64]


class SeededSampler(Sampler[int]):
    """A sampler over a dataset of `tokenize_rows`, with a seed and an epoch.

    Args (of every sampler):
        dataset: rows with `reward`, `prompt_id` and `labels`.
        batch_size: rows of one batch on one process; it only checks that pairs fit into batches.
        seed: with the epoch, it decides the order.
    """

    options: ClassVar[tuple[str, ...]] = ()
    """Names of the further keyword arguments that the sampler takes."""

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
        raise NotImplementedError


def column(dataset: Any, name: str) -> NDArray[Any]:
    """A column of a data set as one array."""
    return np.asarray(dataset[name][:])
