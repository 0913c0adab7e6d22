"""What `wmtp score` is asked for; as light as the settings of a run."""

from dataclasses import dataclass, field
from typing import Any, Literal

from weighted_mtp.engine.settings import EngineSettings, place_of
from weighted_mtp.training.errors import require, settle


@dataclass(frozen=True)
class ScoreConfig(EngineSettings):
    """What is scored, by whom, and how."""

    critic: str
    """Directory of a critic of any kind, as `wmtp train critic` writes it."""
    data: str
    """Rows with prompt, completion and label: .jsonl, .json or .parquet, or hub:OWNER/NAME:SPLIT."""
    out: str
    """Folder of the scored rows; `train_file` may name it."""
    scheme: str = "td"
    """Scheme of the weights: its name, or package.module:Class."""
    scheme_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the scheme."""
    reference: str | None = None
    """Reference of an implicit critic, where it lies elsewhere than the critic says."""
    gamma: float = 1.0
    """Discount per token of the reward, in [0, 1]."""
    max_length: int = 1024
    """Tokens per row; what lies beyond gets weight 0."""
    turns: Literal["all", "last"] = "all"
    """Which of the assistant's turns in a conversation are scored, as in training."""
    batch_size: int = 16
    """Rows per forward pass."""
    bf16: bool = False
    """Autocast to bfloat16, as training with bf16 does."""
    format: Literal["rows", "tokens", "tinker", "llamafactory", "ms-swift"] = "rows"
    """What else is written, into a folder of that name in out, for other trainers; rows: nothing."""
    cross_fit: int = 0
    """Measure the critic's skill by so many folds of prompts: a critic is trained as its run.yaml says, without each
    fold, and asked about it. 0: it is measured where the rows are of prompts that the critic was not trained on."""
    shard: str = "1/1"
    """i/n: score the i-th of n equal parts of the rows, on a machine of its own."""

    def __post_init__(self) -> None:
        settle(self, "critic", "data", "out", "reference")
        require(0 <= self.gamma <= 1, f"gamma is {self.gamma}: give a discount in [0, 1]")
        require(
            self.max_length >= 2 and self.batch_size >= 1,
            f"max_length is {self.max_length} and batch_size {self.batch_size}: give at least 2 tokens and 1 row",
        )
        self.check_engine()
        require(self.cross_fit == 0 or self.cross_fit >= 2, f"cross_fit is {self.cross_fit}: give 2 folds or more")
        require(
            place_of(self.shard)[1] == 1 or not self.cross_fit,
            f"cross_fit trains on all rows, and shard is {self.shard}: leave shard out",
        )
