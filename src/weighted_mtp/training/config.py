"""What a run is made of: one frozen dataclass per concern, flat names as in `transformers.TrainingArguments`.

Defaults live here and nowhere else. Nothing heavy is imported, so that `wmtp --help` answers at once.
"""

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal


class ConfigError(ValueError):
    """A user's mistake in a configuration: one line that says what came, what is needed and how to fix it."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(math.isfinite(value) and value > 0, f"{name} is {value}: give a finite number above 0")


def _require_at_least_zero(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(math.isfinite(value) and value >= 0, f"{name} is {value}: give a finite number, 0 or more")


@dataclass(frozen=True)
class ModelConfig:
    """Which decoder is trained, and with how many prediction heads."""

    model_name_or_path: str
    """A Hugging Face directory, one saved by wmtp, a .gguf file, or package:NAME/FILE.gguf."""
    tokenizer_name_or_path: str | None = None
    """Where the tokenizer is, if not beside the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the parameters; auto takes the checkpoint's."""
    n_future: int = 1
    """Tokens predicted per position: 1 is plain next-token, 4 trains three extra heads."""
    value_link: Literal["sigmoid", "identity"] = "sigmoid"
    """How the value head's raw output becomes V: a probability, or as it is (the published head)."""
    head_warmup_steps: int = 0
    """Optimizer steps over which the loss weight of the extra heads rises linearly to 1."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""

    def __post_init__(self) -> None:
        _require(self.n_future >= 1, f"n_future is {self.n_future}: give 1 (next token) or more")
        _require_at_least_zero(self, "head_warmup_steps")


@dataclass(frozen=True)
class DataConfig:
    """Which verified completions are read, and in which order."""

    train_file: str
    """Rows to train on: .jsonl, .json or .parquet with prompt, completion and label."""
    eval_file: str | None = None
    """Rows for evaluation, in the same form."""
    max_length: int = 1024
    """Tokens per row, prompt included; longer rows are cut and counted."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What a malformed row does: stop the run, or be left out and listed."""
    keep: Literal["all", "right"] = "all"
    """Train on all completions, or only on those labelled right (rejection sampling)."""
    sampler: str = "shuffled"
    """Order of the rows: shuffled, balanced, pairs, curriculum or length_balanced."""

    def __post_init__(self) -> None:
        _require(self.max_length >= 2, f"max_length is {self.max_length}: give at least 2 tokens")


@dataclass(frozen=True)
class WeightingConfig:
    """How signals become token weights."""

    scheme: str = ""
    """Name in SCHEMES, or package.module:Class; empty takes the stage's own (uniform, td or rho1)."""
    scheme_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the scheme: beta, min_weight, max_weight, whitening, ..."""
    gamma: float = 1.0
    """Discount per token of the reward, in [0, 1]."""

    def __post_init__(self) -> None:
        _require(0 <= self.gamma <= 1, f"gamma is {self.gamma}: give a discount in [0, 1]")


KINDS_OF_CRITIC = ("value_head", "generative", "implicit")


@dataclass(frozen=True)
class CriticConfig:
    """Where values and credit come from, and how the critic learns."""

    critic: str | None = None
    """Stage critic: value_head (default), generative or implicit. Stage verifiable: directory of a separate frozen
    critic of any kind; none: the value head of the trained model."""
    value_loss: Literal["mse", "bce", "pairwise", "lambda"] = "mse"
    """Objective of the value head."""
    value_coef: float = 0.5
    """Weight of the value loss beside the language-model loss."""
    value_lam: float = 0.95
    """lambda of the returns that value_loss: lambda regresses on."""
    freeze_trunk: bool = False
    """Stage critic: train the value head alone."""
    lm_coef: float = 1.0
    """Stage critic: weight of the language-model term (it is 0 with a frozen trunk)."""
    label_tags: list[str] | None = None
    """Generative critic: texts [right, wrong] put before the prompt; none: a learned embedding of the label."""
    prior: Literal["base_rate", "head"] = "base_rate"
    """Generative critic: P(success | prompt) is the share of right rows, or learned from the last prompt token."""
    reward_beta: float = 0.05
    """Implicit critic: log-odds of success per nat of log-ratio to the reference."""

    def __post_init__(self) -> None:
        _require_at_least_zero(self, "value_coef", "lm_coef")
        _require_positive(self, "reward_beta")
        _require(0 <= self.value_lam <= 1, f"value_lam is {self.value_lam}: give a number in [0, 1]")
        tags = self.label_tags
        _require(
            tags is None or (len(tags) == 2 and tags[0] != tags[1] and all(tags)),
            f"label_tags is {tags}: give two different texts, [right, wrong]",
        )

    @property
    def kind(self) -> str:
        """Stage critic: which kind of critic is trained."""
        return self.critic or "value_head"


@dataclass(frozen=True)
class ReferenceConfig:
    """What Rho-1 and implicit critics compare with."""

    reference: str | None = None
    """Directory of the frozen reference model; it must share the tokenizer. Implicit critic: none is the model that
    training starts from."""


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation, in the names of `transformers.TrainingArguments`."""

    output_dir: str
    """Where the model, checkpoints, resolved configuration and metrics go."""
    max_steps: int = -1
    """Optimizer steps; above 0 it overrides num_train_epochs."""
    num_train_epochs: float = 1.0
    """Passes over the training rows."""
    per_device_train_batch_size: int = 8
    """Rows per micro-batch and process."""
    per_device_eval_batch_size: int = 8
    """Rows per evaluation batch and process."""
    gradient_accumulation_steps: int = 1
    """Micro-batches per optimizer step."""
    learning_rate: float = 5e-5
    """Peak learning rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    warmup_steps: int = 0
    """Optimizer steps of linear learning-rate warm-up."""
    lr_scheduler_type: str = "cosine"
    """A scheduler name of transformers."""
    max_grad_norm: float = 1.0
    """Gradient norm above which gradients are scaled down; 0 leaves them."""
    optim: str = "adamw_torch_fused"
    """An optimizer name of transformers."""
    bf16: bool = False
    """Autocast to bfloat16 over float32 parameters."""
    loss_backend: Literal["torch", "liger"] = "torch"
    """What computes the loss: torch, or Liger Kernel's Triton kernels on CUDA (pip install weighted-mtp[liger])."""
    seed: int = 0
    """Seed of initialisation, data order and random schemes."""
    logging_steps: int = 10
    """Optimizer steps between two log entries."""
    eval_steps: int = 0
    """Optimizer steps between evaluations; 0 evaluates at the end only."""
    save_steps: int = 500
    """Optimizer steps between checkpoints; 0 keeps only the final model."""
    save_total_limit: int = 2
    """Checkpoints kept; at least 2, because the newest may be incomplete after a kill."""
    trainer_args: dict[str, Any] = field(default_factory=dict)
    """Any further field of transformers.TrainingArguments (fsdp, deepspeed, dataloader_num_workers, ...)."""

    def __post_init__(self) -> None:
        _require(bool(self.output_dir), "output_dir is empty: give a directory")
        _require(
            self.max_steps > 0 or self.num_train_epochs > 0,
            f"max_steps is {self.max_steps} and num_train_epochs {self.num_train_epochs}: one must be above 0",
        )
        _require_positive(
            self,
            "per_device_train_batch_size",
            "per_device_eval_batch_size",
            "gradient_accumulation_steps",
            "learning_rate",
            "logging_steps",
        )
        _require_at_least_zero(
            self, "weight_decay", "warmup_steps", "max_grad_norm", "eval_steps", "save_steps"
        )
        _require(
            self.save_total_limit >= 2,
            f"save_total_limit is {self.save_total_limit}: give 2 or more, since a kill during a save leaves "
            "the newest checkpoint incomplete",
        )


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go."""

    tracking_uri: str | None = None
    """MLflow store; none: MLFLOW_TRACKING_URI, or mlflow.db in output_dir."""
    experiment_name: str = "weighted-mtp"
    """MLflow experiment."""
    run_name: str | None = None
    """MLflow run; none: the stage and the name of output_dir."""


STAGES = ("baseline", "critic", "verifiable", "rho1")
DEFAULT_SCHEME = {"baseline": "uniform", "critic": "uniform", "verifiable": "td", "rho1": "rho1"}


@dataclass(frozen=True)
class RunConfig:
    """One training run: a stage and its six concerns."""

    stage: str
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    weighting: WeightingConfig = field(default_factory=WeightingConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    PARTS: ClassVar[dict[str, type]] = {
        "model": ModelConfig,
        "data": DataConfig,
        "weighting": WeightingConfig,
        "critic": CriticConfig,
        "reference": ReferenceConfig,
        "train": TrainConfig,
        "tracking": TrackingConfig,
    }

    def __post_init__(self) -> None:
        _require(self.stage in STAGES, f"stage is {self.stage!r}: give one of {', '.join(STAGES)}")
        if self.stage == "rho1":
            _require(
                self.reference.reference is not None,
                "stage rho1 needs a reference model: give --reference DIR (a model trained on right rows, say)",
            )
        if self.stage == "critic":
            self._check_stage_critic()
        elif self.critic.critic in KINDS_OF_CRITIC:
            raise ConfigError(
                f"critic is {self.critic.critic!r}: stage {self.stage} reads a critic, so give the directory of one "
                f"that `wmtp train critic --critic {self.critic.critic}` left"
            )

    def _check_stage_critic(self) -> None:
        kind, n_future = self.critic.kind, self.model.n_future
        _require(n_future == 1, f"stage critic has one head, but n_future is {n_future}: leave it at 1")
        _require(
            kind in KINDS_OF_CRITIC,
            f"critic is {kind!r}: stage critic trains one of {', '.join(KINDS_OF_CRITIC)}",
        )
        if kind == "value_head":
            return
        _require(
            not self.critic.freeze_trunk,
            f"a {kind} critic is a language model: freeze_trunk would leave nothing to train",
        )
        _require(
            self.model.value_link == "sigmoid",
            f"a {kind} critic reckons in log-odds: leave value_link at sigmoid",
        )

    @property
    def scheme(self) -> str:
        """The scheme's name, the stage's own where none is given."""
        return self.weighting.scheme or DEFAULT_SCHEME[self.stage]

    def to_flat(self) -> dict[str, Any]:
        """All settings under their flat names, the stage first: what `run.yaml` holds."""
        flat: dict[str, Any] = {"stage": self.stage}
        for part in self.PARTS:
            config = getattr(self, part)
            flat |= {f.name: getattr(config, f.name) for f in fields(config)}
        return flat | {"scheme": self.scheme}

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> "RunConfig":
        """The inverse of `to_flat`; keys that belong to no part are ignored by name, so check them before."""
        parts = {
            part: kind(**{f.name: flat[f.name] for f in fields(kind) if f.name in flat})
            for part, kind in cls.PARTS.items()
        }
        return cls(stage=flat["stage"], **parts)

    @classmethod
    def load(cls, run_dir: str | Path) -> "RunConfig":
        """The resolved configuration that a run left in its directory."""
        import yaml

        path = Path(run_dir) / RUN_FILE
        _require(path.is_file(), f"{path} is not there: give the output_dir of a `wmtp train` run")
        return cls.from_flat(yaml.safe_load(path.read_text()))

    def of_finished(self, run_dir: str | Path) -> "RunConfig":
        """The same run with the model that it left in its directory, to be looked at."""
        reference = self.reference.reference
        if self.stage == "critic" and self.critic.kind == "implicit":
            reference = reference or self.model.model_name_or_path
        return replace(
            self,
            model=replace(self.model, model_name_or_path=str(run_dir)),
            reference=ReferenceConfig(reference),
        )

    def save(self) -> Path:
        """Writes the resolved configuration into the run's directory."""
        import yaml

        path = Path(self.train.output_dir) / RUN_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(self.to_flat(), sort_keys=False))
        return path


RUN_FILE = "run.yaml"
