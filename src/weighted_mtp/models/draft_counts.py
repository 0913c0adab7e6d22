"""How well drafts went, in numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class DraftCounts:
    """What writing some tokens took, and which guesses held.

    Examples:
        >>> counts = DraftCounts(tokens=9, forwards=4, drafted=(3, 3), accepted=(3, 2))
        >>> counts.tokens_per_forward, counts.acceptance[0]
        (2.25, 1.0)
        >>> print(DraftCounts.total([counts, counts]))
        2.25 tokens a forward; drafts accepted, by head: 100, 67 %
    """

    tokens: int
    """Written."""
    forwards: int
    """Of the decoder for a row, that of its prompt included; plain decoding takes one a token."""
    drafted: Sequence[int]
    """Guesses of head 1, 2, ..."""
    accepted: Sequence[int]
    """Of these the ones that head 0 agreed with, those before them too."""

    @property
    def tokens_per_forward(self) -> float:
        """Of a row, at least 1."""
        return self.tokens / self.forwards

    @property
    def acceptance(self) -> list[float]:
        """Share of the guesses of head 1, 2, ... that held; 0 where there was none."""
        return [held / max(1, made) for held, made in zip(self.accepted, self.drafted, strict=True)]

    @classmethod
    def total(cls, counts: Iterable["DraftCounts"]) -> "DraftCounts":
        """Of several rows of one model, at least one."""
        tokens, forwards, drafted, accepted = zip(
            *((c.tokens, c.forwards, c.drafted, c.accepted) for c in counts), strict=True
        )
        by_head = [[sum(head) for head in zip(*rows, strict=True)] for rows in (drafted, accepted)]
        return cls(sum(tokens), sum(forwards), *by_head)

    def summary(self) -> dict[str, Any]:
        """All of it by name, for a file of results."""
        return {"tokens_per_forward": self.tokens_per_forward, "acceptance": self.acceptance, **asdict(self)}

    def __str__(self) -> str:
        shares = ", ".join(f"{100 * share:.0f}" for share in self.acceptance)
        return f"{self.tokens_per_forward:.2f} tokens a forward; drafts accepted, by head: {shares} %"
