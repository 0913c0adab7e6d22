"""What the experiment on real code is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass, field

from weighted_mtp.training.errors import ConfigError, settle


@dataclass(frozen=True)
class RealCodeConfig:
    """Which rows and which configurations an experiment is made of."""

    data: list[str] = field(default_factory=list)
    """Files of rows with task_id, prompt, completion, label and, where wrong, span, as `wmtp data mutants` writes them.
    What --out holds already is gone on with, and needs none."""
    out: str = "real-code"
    """Output directory; what is finished there is kept."""
    configs: str = "research/real_code/configs"
    """Folder with critics/*.yaml and students/*.yaml, one for each row of the tables."""
    only: list[str] = field(default_factory=list)
    """Names of configurations to run now; none: all. Tables show whatever is finished."""
    max_length: int = 192
    """Tokens of prompt and completion at most; longer rows are left out."""
    rows_per_label: int = 2
    """Right rows, and wrong rows, of a task at most."""
    solve: list[str] = field(default_factory=list)
    """Names of data files, without ending, whose held-out tasks students are also asked to solve: the greedy completion
    is run against the tests in the sandbox (pass@1)."""
    jobs: int = 0
    """Trainings at a time, each on one core; 0: one a core, at most 8."""

    def __post_init__(self) -> None:
        settle(self, "data", "out", "configs")
        for name, least in (("max_length", 2), ("rows_per_label", 1), ("jobs", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: give {least} or more")
