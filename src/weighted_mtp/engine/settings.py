"""Where parts are made, and which of them this call makes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

_Item = TypeVar("_Item")


class EngineError(ValueError):
    """Settings that no engine takes, or an engine that cannot go on."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings of every command that makes rows in parts."""

    engine: Literal["local", "ray"] = "local"
    """Where parts are made: on this machine, or on a Ray cluster, the one that RAY_ADDRESS names or this machine's."""
    workers: int = 1
    """Processes that each hold the model, or the verifier; 1 of engine local is this one."""
    num_cpus: float | None = None
    """Of engine ray: cores that a worker asks for; none: 1."""
    num_gpus: float | None = None
    """Of engine ray: GPUs that a worker asks for; none: 0."""

    @property
    def alone(self) -> bool:
        """Whether this process makes all parts itself."""
        return self.engine == "local" and self.workers == 1

    def check_engine(self) -> None:
        """Raises EngineError for what cannot be."""
        if self.workers < 1:
            raise EngineError(f"workers is {self.workers}: give at least 1")
        for name in ("num_cpus", "num_gpus"):
            value = getattr(self, name)
            if value is not None and self.engine != "ray":
                raise EngineError(f"{name} is {value}, and engine local takes none: leave it out, or give engine ray")
            if value is not None and not 0 <= value < float("inf"):
                raise EngineError(f"{name} is {value}: give a number, 0 or more")


ALONE = EngineSettings()
"""This process."""
OF_ENGINES = tuple(field.name for field in fields(EngineSettings))
"""Names of settings that change nothing of what is made."""


def place_of(shard: str) -> tuple[int, int]:
    """Number of a shard i/n, from 1, and of all of them.

    Examples:
        >>> place_of("2/8")
        (2, 8)
    """
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise EngineError(f"shard is {shard!r}: give i/n with 1 <= i <= n, as 2/8")
    return int(number), int(count)


def shard_of(items: Sequence[_Item], shard: str) -> Sequence[_Item]:
    """The i-th of n parts of about one size; in order they are all items.

    Examples:
        >>> [list(shard_of(range(7), f"{i}/3")) for i in (1, 2, 3)]
        [[0, 1], [2, 3], [4, 5, 6]]
    """
    number, count = place_of(shard)
    return items[(number - 1) * len(items) // count : number * len(items) // count]


def sharded(path: str | Path, shard: str) -> Path:
    """The file of a shard, beside that of all: `cat` joins them in order.

    Examples:
        >>> str(sharded("runs/rows.jsonl", "2/8")), str(sharded("rows.jsonl", "1/1"))
        ('runs/rows-00002-of-00008.jsonl', 'rows.jsonl')
    """
    path, (number, count) = Path(path), place_of(shard)
    return path if count == 1 else path.with_name(f"{path.stem}-{number:05d}-of-{count:05d}{path.suffix}")
