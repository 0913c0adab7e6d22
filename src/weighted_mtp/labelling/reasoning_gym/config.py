"""What `wmtp data reasoning-gym` is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass, field

from weighted_mtp.training.settings import ConfigError, settle


@dataclass(frozen=True)
class ReasoningGymConfig:
    """Which problems are made, how many, and where they go."""

    tasks: list[str] = field(default_factory=list)
    """Names of tasks; `--list` prints them."""
    out: str | None = None
    """JSON lines for training: prompts with a right completion and wrong ones. A second call goes on."""
    count: int = 500
    """Problems of each task in `out`."""
    wrong: int = 1
    """Wrong completions of each problem, at most."""
    seed: int = 0
    """Other problems for another number."""
    problems: str | None = None
    """JSON lines for `wmtp evaluate`: problems without completions, none of which is in `out`."""
    problem_count: int = 100
    """Problems of each task in `problems`."""
    timeout: float = 5.0
    """Seconds that scoring an answer may take."""
    list: bool = False
    """Print all tasks, and which scorers hold."""

    def __post_init__(self) -> None:
        settle(self, "out", "problems")
        if self.list:
            return
        if not self.tasks:
            raise ConfigError("no task given: --tasks '[basic_arithmetic, leg_counting]'; --list prints all")
        for name in ("count", "wrong", "problem_count"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 or more")
        if self.problems == self.out:
            given = "missing" if self.out is None else f"both {self.out}"
            raise ConfigError(f"out and problems are {given}: give one file, or two different ones")
