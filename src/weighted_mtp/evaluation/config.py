"""What `wmtp evaluate` is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass
from typing import Literal

from weighted_mtp.training.settings import require, require_positive, settle

USUAL_K = (1, 5, 10)


@dataclass(frozen=True)
class EvaluationConfig:
    """Which model answers which problems, how, and who checks."""

    model: str
    """A directory saved by wmtp train, or any model path."""
    problems: str
    """JSON lines with prompt and the columns that the verifier reads; task_id is passed on. Or humaneval."""
    verifier: str
    """exact, numeric, python-tests or reasoning-gym."""
    out: str
    """Folder of samples.jsonl and results.json; what is there already is gone on with."""
    samples: int = 10
    """Sampled completions a problem, for pass@k; 0: greedy ones alone."""
    temperature: float = 0.8
    """Of the sampling."""
    top_p: float = 0.95
    """Of the sampling: the fewest tokens that together hold this probability; 1 keeps all."""
    max_new_tokens: int = 512
    """Tokens a completion at most, end of text included."""
    batch_size: int = 16
    """Completions generated together; may change from call to call."""
    k: list[int] | None = None
    """For which k pass@k is told, as [1,5]; none: those of 1, 5 and 10 that the samples allow."""
    seed: int = 0
    """Of the samples; each depends on it, on its problem's number and on its own, not on its batch."""
    stop: list[str] | None = None
    """Strings that end a completion, as ["\\ndef"]; none: HumanEval's for python-tests with text prompts."""
    timeout: float | None = None
    """Seconds a completion, of verifiers that run programs; none: the verifier's own."""
    limit: int | None = None
    """Only the first problems."""
    label: Literal["right", "wrong"] | None = None
    """What a generative critic is told."""
    chat: bool = False
    """Prompts that are text are what a user says: through the chat template. Not for python-tests."""

    def __post_init__(self) -> None:
        settle(self, "model", "problems", "out")
        for name in ("max_new_tokens", "batch_size"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: give at least 1")
        for name in ("samples", "seed"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}: give 0 or more")
        require(self.limit is None or self.limit >= 1, f"limit is {self.limit}: give at least 1")
        if self.samples:
            require_positive(self, "temperature")
        require(0 < self.top_p <= 1, f"top_p is {self.top_p}: give a probability in (0, 1]")
        require("" not in (self.stop or []), "stop holds an empty string, which would end every completion")
        require(
            not (self.chat and self.verifier == "python-tests"),
            "chat is true: python-tests runs prompt and completion as one program, so it wants prompts as text",
        )
        for k in self.k or []:
            require(
                1 <= k <= self.samples,
                f"k is {k} and samples {self.samples}: pass@{k} needs a k from 1 to the number of samples",
            )

    def tries(self) -> list[int]:
        """The k for which pass@k is told."""
        return sorted(set(self.k)) if self.k is not None else [k for k in USUAL_K if k <= self.samples]
