"""What `wmtp data split` is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass

from weighted_mtp.training.settings import ConfigError, settle


@dataclass(frozen=True)
class SplitConfig:
    """What is split, and into how many folds."""

    input: str
    """Rows as JSON lines; those of a task stay together."""
    out: str
    """Folder of fold0/train.jsonl, fold0/test.jsonl, fold1/..."""
    folds: int = 5
    """How many; each is the test set once."""
    task: str = "task_id"
    """The column that names a row's task; prompt where there is no other."""
    threshold: float = 0.5
    """Tasks of which this share of a prompt or a right completion stands in another's are kept together."""
    seed: int = 0
    """Another split for another number."""

    def __post_init__(self) -> None:
        settle(self, "input", "out")
        if self.folds < 2:
            raise ConfigError(f"folds is {self.folds}: give at least 2")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}: give a number in (0, 1]")
