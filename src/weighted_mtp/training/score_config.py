"""What `wmtp score` is told. Nothing heavy is imported, so that `--help` answers at once."""

from dataclasses import dataclass, field
from typing import Any

from weighted_mtp.training.settings import ConfigError, settle


@dataclass(frozen=True)
class ScoreConfig:
    """What is scored, by whom, and how."""

    critic: str
    """Directory of a critic of any kind, as `wmtp train critic` writes it."""
    data: str
    """Rows with prompt, completion and label: .jsonl, .json or .parquet."""
    out: str
    """Folder of the scored rows; `train_file` may name it."""
    scheme: str = "td"
    """Scheme of the weights: a name in SCHEMES, or package.module:Class."""
    scheme_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the scheme."""
    reference: str | None = None
    """Reference of an implicit critic, where it lies elsewhere than the critic says."""
    gamma: float = 1.0
    """Discount per token of the reward, in [0, 1]."""
    max_length: int = 1024
    """Tokens per row; what lies beyond gets weight 0."""
    batch_size: int = 16
    """Rows per forward pass."""
    bf16: bool = False
    """Autocast to bfloat16, as training with bf16 does."""
    shard: str = "1/1"
    """i/n: score the i-th of n equal parts of the rows, on a machine of its own."""

    def __post_init__(self) -> None:
        settle(self, "critic", "data", "out", "reference")
        if not 0 <= self.gamma <= 1:
            raise ConfigError(f"gamma is {self.gamma}: give a discount in [0, 1]")
        if self.max_length < 2 or self.batch_size < 1:
            raise ConfigError(
                f"max_length is {self.max_length} and batch_size {self.batch_size}: give at least 2 tokens and 1 row"
            )
        self.place()

    def place(self) -> tuple[int, int]:
        """Number of this shard, from 1, and of all of them."""
        number, _, count = self.shard.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ConfigError(f"shard is {self.shard!r}: give i/n with 1 <= i <= n, as 2/8")
        return int(number), int(count)
