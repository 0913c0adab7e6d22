"""What the command is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass, field

from weighted_mtp.training.errors import ConfigError, settle


@dataclass(frozen=True)
class DoctestsConfig:
    """Whose functions become problems, and which of them."""

    out: str
    """Problems in HumanEval's columns, as .jsonl; a second call goes on where the first one stopped."""
    packages: list[str] = field(default_factory=list)
    """Import names of packages or modules, of Python's library too: '[more_itertools, sympy.ntheory, heapq]'."""
    paths: list[str] = field(default_factory=list)
    """Folders where packages are looked for first, such as `pip install --target` fills."""
    min_examples: int = 2
    """Examples a function must have, at the least, that call it and that it passes."""
    max_prompt: int = 6000
    """Characters of a prompt at most, with all the definitions that the function needs."""
    timeout: float = 5.0
    """Seconds that the examples of a function may take."""

    def __post_init__(self) -> None:
        settle(self, "out", "paths")
        if not self.packages:
            raise ConfigError("no package given: --packages '[more_itertools, toolz, statistics]'")
        for name in ("min_examples", "max_prompt"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
