"""Rows dealt to processes, and one padded batch of them, per-token columns laid on the positions that predict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from weighted_mtp import IGNORED

from .chat import padding_token
from .schema import MADE_COLUMNS, TOKEN_COLUMNS

PER_TOKEN = (*TOKEN_COLUMNS, *MADE_COLUMNS)
NO_ROW = -1
"""The index, and the `row_id`, of a row of which nothing is learned."""


@dataclass(frozen=True)
class CompletionCollator:
    """Pads rows into a batch.

    Per-token columns come with one entry for each labelled token and leave *prediction-aligned*: the entry
    of the token at position p stands at p - 1, where that token is predicted; every other position is 0.

    Returns (of a call) a dict: `input_ids`, `attention_mask`, `labels` [batch, seq] int64; `rewards`, the rows'
    outcomes, and `pass_rate` [batch] float32; `row_ids`, `prompt_ids` [batch] int64; and, where the rows have them,
    `weights`, `values`, `td_errors`, `credit`, `steps`, `loss_weights`, `logprobs` and `step_rewards` (of the column
    `rewards`) [batch, seq] float32. Of packs, which are lists of rows, it is the batch of all of their rows; `packs`
    [packs, most] int64 says which share a sequence, -1 for none, and the int `pack_length` how many tokens that has.

    Raises (in a call):
        ValueError: when only some rows have a per-token column, or one does not fit its labels.

    Examples:
        >>> from weighted_mtp.data import chain_tokenizer, tokenize_rows
        >>> rows = [
        ...     {"prompt": "7 +3 :", "completion": "0", "label": True, "weights": [1.5, 1.0]},
        ...     {"prompt": "7 +3 *7 :", "completion": "0 3", "label": False, "weights": [1.0, 0.2, 0.9]},
        ... ]
        >>> data, _ = tokenize_rows(rows, chain_tokenizer())
        >>> batch = CompletionCollator(pad_token_id=24)([data[0], data[1]])
        >>> batch["input_ids"]
        tensor([[ 7, 11, 22,  0, 23, 24, 24],
                [ 7, 11, 20, 22,  0,  3, 23]])
        >>> batch["attention_mask"]
        tensor([[1, 1, 1, 1, 1, 0, 0],
                [1, 1, 1, 1, 1, 1, 1]])
        >>> batch["labels"]
        tensor([[-100, -100, -100,    0,   23, -100, -100],
                [-100, -100, -100, -100,    0,    3,   23]])
        >>> batch["weights"]
        tensor([[0.0000, 0.0000, 1.5000, 1.0000, 0.0000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000, 1.0000, 0.2000, 0.9000, 0.0000]])
        >>> batch["rewards"], batch["row_ids"]
        (tensor([1., 0.]), tensor([0, 1]))
    """

    pad_token_id: int
    """Fills `input_ids` where `attention_mask` is 0."""
    padding_side: Literal["right", "left"] = "right"
    """Where the padding goes."""
    pad_to_multiple_of: int | None = None
    """Rounds the batch's length up, in tokens; fewer different shapes for compiled kernels."""

    def __post_init__(self) -> None:
        if self.padding_side not in ("right", "left"):
            raise ValueError(f"padding_side is {self.padding_side!r}: 'right' or 'left' is needed")
        if self.pad_to_multiple_of is not None and self.pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of is {self.pad_to_multiple_of}: at least 1 is needed")

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **options: Any) -> "CompletionCollator":
        """A collator that pads with the tokenizer's pad token, else its EOS (masked, so never read)."""
        pad = padding_token(tokenizer)
        if pad is None:
            raise ValueError("the tokenizer has neither a pad nor an EOS token: set tokenizer.pad_token")
        return cls(pad, **options)

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The batch of these rows, or packs of rows."""
        if isinstance(rows[0], list):
            return self(list(chain.from_iterable(rows))) | _who_shares(rows)
        columns = [name for name in PER_TOKEN if any(row.get(name) is not None for row in rows)]
        input_ids = self._padded([row["input_ids"] for row in rows], self.pad_token_id)
        labels = self._padded([row["labels"] for row in rows], IGNORED)
        batch = {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(self._padded([[1] * len(row["input_ids"]) for row in rows], 0)),
            "labels": torch.from_numpy(labels),
            "rewards": torch.tensor([row["reward"] for row in rows], dtype=torch.float32),
            "row_ids": torch.tensor([row["row_id"] for row in rows]),
            "prompt_ids": torch.tensor([row["prompt_id"] for row in rows]),
        }
        if "pass_rate" in rows[0]:
            batch["pass_rate"] = torch.tensor([row["pass_rate"] for row in rows], dtype=torch.float32)
        aligned = {name: torch.from_numpy(_at_predictions(name, rows, labels)) for name in columns}
        return batch | {"step_rewards" if name == "rewards" else name: column for name, column in aligned.items()}

    def _padded(self, rows: Sequence[Sequence[int]], fill: int) -> NDArray[np.int64]:
        """The rows as one array [batch, seq], `fill` where they end (or before they begin)."""
        multiple = self.pad_to_multiple_of or 1
        length = -(-max(map(len, rows)) // multiple) * multiple
        padded = np.full((len(rows), length), fill, dtype=np.int64)
        for line, row in zip(padded, rows, strict=True):
            line[slice(len(row)) if self.padding_side == "right" else slice(length - len(row), None)] = row
        return padded


def _who_shares(packs: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    numbers, most = count(), max(map(len, packs))
    table = [[next(numbers) for _ in pack] + [-1] * (most - len(pack)) for pack in packs]
    longest = max(sum(len(row["input_ids"]) for row in pack) for pack in packs)
    return {"packs": torch.tensor(table), "pack_length": longest}


def _at_predictions(name: str, rows: Sequence[dict[str, Any]], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """A per-token column, [batch, seq]: the entry of the labelled token at p stands at p - 1, else 0."""
    predicts = np.zeros(labels.shape, dtype=np.bool_)
    predicts[:, :-1] = labels[:, 1:] != IGNORED
    for row, counted in zip(rows, predicts.sum(axis=1).tolist(), strict=True):
        if row.get(name) is None:
            raise ValueError(f"row {row['row_id']} has no `{name}`, which other rows of its batch have")
        if len(row[name]) != counted:
            raise ValueError(
                f"row {row['row_id']}: `{name}` has {len(row[name])} entries for {counted} labelled tokens "
                "that have a token before them"
            )
    aligned = np.zeros(labels.shape, dtype=np.float32)
    aligned[predicts] = list(chain.from_iterable(row[name] for row in rows))  # row by row, as the mask
    return aligned


class RankBatches(Sampler[list[int]]):
    """One process's part of an epoch, whose `sampler` gives the same order on every process.

        step s of one process of batch size world * B takes    order[s * world * B : (s + 1) * world * B]
        of it process r takes                                  the rows r * B to (r + 1) * B - 1, or [NO_ROW] if none

    Every process makes the same number of steps, each row is in one batch of one process, and batches of even size hold
    whole pairs. No row is repeated to even out a short last step, which would count it twice; `drop_last` leaves it
    out.

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
    columns = {name: [] for name in PER_TOKEN if row.get(name) is not None}
    return row | nothing | columns
