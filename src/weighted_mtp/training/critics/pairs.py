"""Right and wrong completions of one prompt: what a ranking loss learns from, in the rows and in a batch."""

from collections.abc import Iterable, Sequence

from datasets import Dataset

from weighted_mtp.training.settings import ConfigError


def require_pairs(rows: Dataset, what: str) -> None:
    """Raises ConfigError where no prompt has both a right and a wrong completion.

    Args:
        rows: encoded rows.
        what: what learns from them, for the message.
    """
    if not _holds_pair(zip(rows["prompt_id"], rows["reward"], strict=True)):
        raise ConfigError(
            f"{what} with value_loss pairwise learns from right and wrong completions of one prompt, and none of the "
            f"{len(rows)} rows shares its prompt with a row of the other label: give such rows, or another value_loss"
        )


def count_without_pairs(batches: Iterable[Sequence[int]], rows: Dataset) -> tuple[int, int]:
    """How many of these batches, lists of row numbers, hold no pair, and how many there are; NO_ROW counts for nothing.

    Examples:
        >>> rows = Dataset.from_dict({"prompt_id": [5, 5, 6, 6], "reward": [1.0, 0.0, 1.0, 1.0]})
        >>> count_without_pairs([[0, 1], [2, 3], [0, 3]], rows)
        (2, 3)
    """
    told = list(zip(rows["prompt_id"], rows["reward"], strict=True))
    holds = [_holds_pair(told[i] for i in batch if i >= 0) for batch in batches]
    return holds.count(False), len(holds)


def _holds_pair(told: Iterable[tuple[int, float]]) -> bool:
    outcomes: set[tuple[int, bool]] = set()
    for prompt, reward in told:
        if (prompt, reward <= 0.5) in outcomes:
            return True
        outcomes.add((prompt, reward > 0.5))
    return False
