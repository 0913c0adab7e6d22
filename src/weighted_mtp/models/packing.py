"""Rows that share sequences in the decoder: where their tokens lie. Before and behind it a batch is padded rows, so
that signals, weights and value losses need not know; the language-model loss reads the hidden states as they lie."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


class Layout(NamedTuple):
    """Places of the tokens of padded rows [rows, seq] in packed sequences [packs, length]."""

    place: Int[Tensor, "rows seq"]
    """Where the token of a row lies among all packed positions; beyond the last one where `mask` is 0."""
    source: Int[Tensor, "packs length"]
    """Which token of all rows lies at a packed position, -1 for none."""
    positions: Int[Tensor, "packs length"]
    """`position_ids`: from 0 in each row and behind the last one, by which decoders tell rows apart."""

    def pack(self, x: Shaped[Tensor, "rows seq *more"], fill: float = 0) -> Shaped[Tensor, "packs length *more"]:
        """What belongs to the tokens of rows, in the places of the tokens; `fill` where none lies."""
        taken = x.flatten(0, 1)[self.source.clamp(min=0)]
        return torch.where(_beside(self.source >= 0, taken), taken, fill)

    def rows(self, x: Shaped[Tensor, "packs length *more"]) -> Shaped[Tensor, "rows seq *more"]:
        """What lies at packed positions, by row; 0 where a row is padded."""
        flat = x.flatten(0, 1)
        inside = self.place < len(flat)
        taken = flat[torch.where(inside, self.place, 0)]
        return torch.where(_beside(inside, taken), taken, 0)


@dataclass(frozen=True)
class Packing:
    """Which rows of a batch share a sequence.

    Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", arXiv 2107.02027.

    Examples:
        >>> packing = Packing(torch.tensor([[0, 2], [1, -1]]), length=4)
        >>> layout = packing.layout(torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]]))
        >>> ids = torch.tensor([[5, 6, 0], [7, 8, 9], [4, 0, 0]])
        >>> layout.pack(ids).tolist(), layout.positions.tolist()
        ([[5, 6, 4, 0], [7, 8, 9, 0]], [[0, 1, 0, 0], [0, 1, 2, 0]])
        >>> layout.rows(layout.pack(ids)).tolist()
        [[5, 6, 0], [7, 8, 9], [4, 0, 0]]
    """

    packs: Int[Tensor, "packs most"]
    """Numbers of the rows in a sequence, in order; -1 for none."""
    length: int
    """Tokens of a sequence, enough for its rows."""

    def layout(self, mask: Shaped[Tensor, "rows seq"]) -> Layout:
        """Places of the tokens that the attention mask shows; no synchronisation."""
        mask = mask.bool()
        lengths, packs = mask.sum(1), len(self.packs)
        there = self.packs >= 0
        row = torch.where(there, self.packs, len(mask))  # one place more, for what is not there
        taken = torch.where(there, lengths[self.packs.clamp(min=0)], 0)
        first = torch.arange(packs, device=mask.device)[:, None] * self.length + taken.cumsum(1) - taken
        start = first.new_zeros(len(mask) + 1).scatter_(0, row.flatten(), first.flatten())[:-1]
        within = mask.cumsum(1) - 1
        beyond = packs * self.length
        place = torch.where(mask, start[:, None] + within, beyond)
        source = place.new_full((beyond + 1,), -1).scatter_(
            0, place.flatten(), torch.arange(mask.numel(), device=mask.device)
        )
        rest = torch.arange(self.length, device=mask.device) - taken.sum(1, keepdim=True)
        source = source[:-1].view(packs, self.length)
        positions = torch.where(source < 0, rest, within.flatten()[source.clamp(min=0)])
        return Layout(place, source, positions)

    def spans(self, mask: Shaped[Tensor, "rows seq"]) -> list[tuple[int, int, int]]:
        """(sequence, begin, end) of every row that has tokens, read on the host."""
        found, lengths = list[tuple[int, int, int]](), [*mask.sum(1).tolist(), 0]
        for pack, rows in enumerate(self.packs.tolist()):
            ends = [0, *accumulate(lengths[row] for row in rows)]
            found += [(pack, begin, end) for begin, end in pairwise(ends) if begin < end]
        return found

    def repeated(self, times: int, rows: int) -> "Packing":
        """Of a batch that holds each of `rows` rows so many times, one copy of all behind the other."""
        copies = [torch.where(self.packs < 0, -1, self.packs + copy * rows) for copy in range(times)]
        return Packing(torch.cat(copies), self.length)

    def lengthened(self, tokens: int) -> "Packing":
        """With room for so many more tokens in each row."""
        return Packing(self.packs, self.length + tokens * self.packs.shape[1])


def _beside(mask: Tensor, x: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
