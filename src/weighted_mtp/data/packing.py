"""Rows packed into sequences: which rows share one, by best fit, as a pure function of the order they come in."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from .samplers import SeededSampler

Pack = tuple[int, ...]
"""Indices of the rows of one sequence."""


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Packs of items of these lengths, at most `capacity`, each in the pack with the least room that is enough, the
    longest item first; the number of packs, by the lengths alone, is mostly the least possible.

    Source: Johnson 1974, "Fast Algorithms for Bin Packing" (best-fit decreasing); Krell et al. 2021, arXiv 2107.02027.

    Examples:
        >>> best_fit([3, 5, 2, 4, 1], capacity=6)
        [[1, 4], [3, 2], [0]]
    """
    packs: list[list[int]] = []
    rooms: list[int] = []  # sorted, each once; the open packs that have that room
    having: dict[int, list[int]] = {}
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect_left(rooms, lengths[item])
        if at == len(rooms):
            packs.append([])
            pack, room = len(packs) - 1, capacity
        else:
            room = rooms[at]
            pack = having[room].pop()
            if not having[room]:
                rooms.pop(at)
        packs[pack].append(item)
        left = room - lengths[item]
        if not having.setdefault(left, []):
            insort(rooms, left)
        having[left].append(pack)
    return packs


class PackedOrder(Sampler[Pack]):
    """The order of a sampler of rows, packed: an epoch of packs, as many in every epoch as in the first.

    Pairs of a sampler that gives pairs stay in one pack where both rows fit into one. A sampler that draws its rows may
    need a few packs more or fewer in a later epoch: those over are left out, missing ones drawn from the epoch again.
    """

    def __init__(self, sampler: SeededSampler, lengths: NDArray[np.int64], capacity: int) -> None:
        self.sampler, self.lengths, self.capacity = sampler, np.asarray(lengths), capacity
        self.n_packs = len(self._packs(list(sampler)))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose packs the next iteration gives."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return self.n_packs

    def __iter__(self) -> Iterator[Pack]:
        packs = self._packs(list(self.sampler))
        return iter([packs[i % len(packs)] for i in range(self.n_packs)])

    def _packs(self, order: list[int]) -> list[Pack]:
        """Best fit within windows of the order, their packs shuffled."""
        rng = np.random.default_rng([self.sampler.seed, self.sampler.epoch, 1])
        units = self._units(order)
        window = self.sampler.window or len(units)
        packs: list[Pack] = []
        for start in range(0, len(units), window):
            part = units[start : start + window]
            bins = best_fit([int(self.lengths[list(unit)].sum()) for unit in part], self.capacity)
            packs += [tuple(row for item in bins[i] for row in part[item]) for i in rng.permutation(len(bins))]
        return packs

    def _units(self, order: list[int]) -> list[Pack]:
        """What stays together: rows, or pairs that fit into one pack."""
        size, units = self.sampler.unit, list[Pack]()
        for start in range(0, len(order), size):
            unit = tuple(order[start : start + size])
            units += [unit] if self.lengths[list(unit)].sum() <= self.capacity else [(row,) for row in unit]
        return units


class PackedRows(Dataset[list[dict[str, Any]]]):
    """A data set of rows, looked up pack by pack; `NO_ROW` is a pack of its own.

    Kernels of flash attention tell rows apart in a single sequence only: with `in_one`, a batch is one long pack.
    """

    def __init__(self, rows: Any, in_one: bool = False) -> None:
        self.rows, self.in_one = rows, in_one

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, pack: Pack | int) -> list[Any]:
        return [self.rows[row] for row in ((pack,) if isinstance(pack, int) else pack)]

    def __getitems__(self, packs: Sequence[Pack | int]) -> list[list[Any]]:
        """A batch."""
        found = [self[pack] for pack in packs]
        return [list(chain.from_iterable(found))] if self.in_one else found


def row_lengths(dataset: Any) -> NDArray[np.int64]:
    """Tokens of every row of a data set of `tokenize_rows`."""
    column = dataset.with_format("arrow")["input_ids"][:]
    column = column if isinstance(column, pa.ChunkedArray | pa.Array) else pa.chunked_array(column)
    return np.asarray(pc.list_value_length(column), dtype=np.int64)  # pyright: ignore
