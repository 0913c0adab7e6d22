"""What a model wrote for a prompt, wherever it stands, and why it stopped."""

from typing import Any, Literal, NamedTuple

from weighted_mtp.models.draft_counts import DraftCounts


class Written(NamedTuple):
    """One completion."""

    completion: str | list[dict[str, Any]]
    """Text, or the assistant's messages where there is more than text (thoughts)."""
    ended: Literal["eos", "stop", "length"]
    """End of text, a stop string, or cut off at the most tokens."""
    tokens: int
    """How many were written."""
    logprobs: list[float] | None = None
    """Of each token under the policy that drew it."""
    drafts: DraftCounts | None = None
    """What came of drafts; None: there were none."""


class Asked(NamedTuple):
    """One completion to be written."""

    problem: int
    sample: int
    row: dict[str, Any]
    """The problem's columns; `prompt` is text or messages."""
