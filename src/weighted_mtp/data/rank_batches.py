"""Rows dealt to processes so that together they take the steps that one process of their joint batch size would."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from weighted_mtp import IGNORED

from .schema import TOKEN_COLUMNS

NO_ROW = -1
"""The index, and the `row_id`, of a row of which nothing is learned."""


class RankBatches(Sampler[list[int]]):
    """One process's part of an epoch.

        step s of one process of batch size world * B takes    order[s * world * B : (s + 1) * world * B]
        of it process r takes                                  the rows r * B to (r + 1) * B - 1, or [NO_ROW] if none

    Every process makes the same number of steps, each row of the order is in one batch of one process, and batches of
    even size hold whole pairs. No row is repeated to even out a short last step, which would count it twice.

    Args:
        sampler: the order of an epoch, the same on every process.
        batch_size: B, rows of one batch on one process.
        rank: number of this process, from 0.
        world: number of processes.
        drop_last: leave out a short last step.

    Examples:
        >>> [list(RankBatches(range(5), batch_size=2, rank=rank, world=2)) for rank in range(2)]
        [[[0, 1], [4]], [[2, 3], [-1]]]
    """

    def __init__(self, sampler: Any, batch_size: int, rank: int = 0, world: int = 1, drop_last: bool = False) -> None:
        # these three names are looked for by Accelerate, which tells `sampler` the epoch
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        joint = self.world * self.batch_size
        return len(self.sampler) // joint if self.drop_last else -(-len(self.sampler) // joint)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        for step in range(len(self)):
            start = (step * self.world + self.rank) * self.batch_size
            yield order[start : start + self.batch_size] or [NO_ROW]


class WithNoRow(Dataset[dict[str, Any]]):
    """A dataset of `tokenize_rows` that also has `NO_ROW`: two tokens to run a model on, without a label.

    Args:
        rows: the data set.

    Examples:
        >>> rows = [{"input_ids": [7, 3, 9], "labels": [-100, 3, 9], "reward": 1.0, "row_id": 0, "prompt_id": 5}]
        >>> WithNoRow(rows)[NO_ROW]
        {'input_ids': [7, 3], 'labels': [-100, -100], 'reward': 0.0, 'row_id': -1, 'prompt_id': -1}
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return _emptied(self.rows[0]) if index == NO_ROW else self.rows[index]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """A batch, with one look-up where the rows can do that."""
        look_up = getattr(self.rows, "__getitems__", None)
        if look_up is None or NO_ROW in indices:
            return [self[index] for index in indices]
        return look_up(list(indices))


def _emptied(row: dict[str, Any]) -> dict[str, Any]:
    """The row without its labels; it keeps its columns, since a batch has those that its rows have."""
    ids = list(row["input_ids"][:2])
    nothing = {"input_ids": ids, "labels": [IGNORED] * len(ids), "reward": 0.0, "row_id": NO_ROW, "prompt_id": NO_ROW}
    columns = {name: [] for name in TOKEN_COLUMNS if row.get(name) is not None}
    return row | nothing | columns
