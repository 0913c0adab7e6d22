"""What a run is made of: a stage and the settings of each concern. Imports nothing heavy: `wmtp --help` is quick."""

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Real
from os import PathLike, fspath
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from weighted_mtp.files import write_text
from weighted_mtp.training.critics.table import critic_kind
from weighted_mtp.training.errors import ConfigError, require
from weighted_mtp.training.settings import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    CriticConfig,
    DataConfig,
    ModelConfig,
    ReferenceConfig,
    TrackingConfig,
    TrainConfig,
    WeightingConfig,
)
from weighted_mtp.training.stage_table import STAGE_TABLE, stage_row
from weighted_mtp.training.trainer_fields import unknown_setting

logger = logging.getLogger(__name__)

STAGES = tuple(STAGE_TABLE)
SET_BY_EARLY_STOPPING = (
    "eval_strategy", "eval_steps", "save_strategy", "save_steps", "load_best_model_at_end", "metric_for_best_model",
    "greater_is_better",
)  # fmt: skip
PATIENCE = 5
"""Evaluations of a critic, where nothing is said."""
RUN_FILE = "run.yaml"
CHANGES_KEY = "resumed_with_changes"
"""In `run.yaml`: at which step a run was resumed with which other settings, [old, new]. No setting."""
_OF_TRAINING = {
    "trainer_args", "optim", "lr_scheduler_type", "loss_backend", "early_stopping_patience", "save_total_limit",
}  # fmt: skip
"""What says how a run was trained, and may ask for what is not here: sharding, other machines' kernels and packages."""


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
        stage_row(self.stage).check(self)
        heads, longest = self.model.n_future, self.data.max_length
        require(heads <= longest, f"n_future is {heads}, and rows have {longest} tokens at most: give less, 4 say")
        object.__setattr__(self, "train", self._with_early_stopping())
        self._check_early_stopping()

    def _with_early_stopping(self) -> TrainConfig:
        """The optimisation, early stopping settled where nothing is said: critics with held-out rows have it."""
        train, trains_critic = self.train, stage_row(self.stage).trains_critic
        patience, metric = train.early_stopping_patience, train.best_metric
        if patience is None:
            by_hand = any(name in train.trainer_args for name in SET_BY_EARLY_STOPPING)
            patience = PATIENCE if trains_critic and self.data.evaluates and not by_hand else 0
        if patience and not metric:
            metric = "outcome_auc" if trains_critic else "loss"
        return replace(train, early_stopping_patience=patience, best_metric=metric)

    def _check_early_stopping(self) -> None:
        train, n_future, metric = self.train, self.model.n_future, self.train.best_metric
        known = (*LOWER_IS_BETTER, *HIGHER_IS_BETTER, *(f"ce_head_{k}" for k in range(n_future)))
        require(not metric or metric in known, f"best_metric is {metric!r}: give one of {', '.join(known)}")
        if not train.early_stopping_patience:
            return
        require(
            self.data.evaluates,
            "early_stopping_patience is set, but there are no held-out rows: give --eval_file FILE or --eval_share .1",
        )
        require(
            n_future == 1 or self.model.head_warmup_steps == 0 or metric not in ("loss", "weighted_ce"),
            f"best_metric {metric} counts the extra heads more and more over head_warmup_steps, so that early and late "
            "evaluations do not compare: give --best_metric ce_head_0",
        )
        for name in SET_BY_EARLY_STOPPING:
            require(
                name not in train.trainer_args, f"trainer_args sets {name}, which early stopping sets itself: remove it"
            )

    @property
    def scheme(self) -> str:
        """The scheme's name, the stage's own where none is given."""
        return self.weighting.scheme or stage_row(self.stage).scheme

    @property
    def scheme_options(self) -> dict[str, Any]:
        """The scheme's options."""
        return self.weighting.scheme_options

    @property
    def separate_critic(self) -> str | None:
        """Directory of the frozen critic that the run reads, None where it has none of the kind."""
        return None if stage_row(self.stage).trains_critic else self.critic.critic

    @property
    def run_name(self) -> str:
        """What MLflow and other reporters call the run."""
        return self.tracking.run_name or f"{self.stage}-{Path(self.train.output_dir).name}"

    def to_flat(self) -> dict[str, Any]:
        """All settings under their flat names, the stage first: what `run.yaml` holds."""
        flat: dict[str, Any] = {"stage": self.stage}
        for part in self.PARTS:
            config = getattr(self, part)
            flat |= {f.name: getattr(config, f.name) for f in fields(config)}
        return flat | {"scheme": self.scheme, "scheme_options": self.scheme_options}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The settings that need not be given, under their flat names."""
        every = [f for kind in cls.PARTS.values() for f in fields(kind)]
        made = {f.name: f.default_factory() for f in every if f.default_factory is not MISSING}
        return made | {f.name: f.default for f in every if f.default is not MISSING}

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
        """The resolved configuration that a run left in its directory, for whoever looks at the run.

        It may come from another version: unknown settings are passed over with a warning, those that it does not
        mention have their defaults. What only training reads is not checked.
        """
        import yaml

        path = Path(run_dir) / RUN_FILE
        require(path.is_file(), f"{path} is not there: give the output_dir of a `wmtp train` run")
        try:
            flat = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
        known = {f.name for kind in cls.PARTS.values() for f in fields(kind)}
        whole = isinstance(flat, dict) and {"stage", "model_name_or_path", "train_file"} <= flat.keys()
        require(whole, f"{path} holds no settings of a run: give the output_dir of a `wmtp train` run")
        strange = sorted(map(str, flat.keys() - known - {"stage", CHANGES_KEY}))
        if strange:
            logger.warning("%s has settings that this version does not know: %s", path, ", ".join(strange))
        flat = {"output_dir": str(run_dir)} | flat
        hints = {name: hint for kind in cls.PARTS.values() for name, hint in get_type_hints(kind).items()}
        for name, value in flat.items():
            if name in hints and name not in _OF_TRAINING and not fits(value, hints[name]):
                raise ConfigError(f"{path}: {name} is {value!r}, which no run has: mend the line")
        try:
            return cls.from_flat(flat)
        except ConfigError:  # perhaps about something that this version does not take any more, and only training reads
            unread = (*_OF_TRAINING, "dtype", "max_steps", "num_train_epochs")
            return cls.from_flat({name: value for name, value in flat.items() if name not in unread})

    def of_finished(self, run_dir: str | Path) -> "RunConfig":
        """The same run with the model that it left in its directory, to be looked at."""
        reference = self.reference.reference
        if stage_row(self.stage).trains_critic and critic_kind(self.critic.kind).needs_reference:
            reference = reference or self.model.model_name_or_path
        plain = TrainConfig(output_dir=self.train.output_dir, early_stopping_patience=0)
        return replace(
            self,
            # adapters were saved merged, and the tokenizer beside the model
            model=replace(
                self.model,
                model_name_or_path=str(run_dir),
                tokenizer_name_or_path=None,
                lora_rank=0,
                load_in_4bit=False,
            ),
            data=replace(self.data, sampler="shuffled"),
            train=replace(self.train, **{name: getattr(plain, name) for name in _OF_TRAINING}),
            reference=ReferenceConfig(reference),
        )

    def save(self, changes: list[dict[str, Any]] | None = None) -> Path:
        """Writes the resolved configuration into the run's directory, with what was changed on the way to it."""
        import yaml

        path = Path(self.train.output_dir) / RUN_FILE
        # A value that two settings share would be written once and referred to, which nobody can edit.
        flat = {name: copy.deepcopy(value) for name, value in self.to_flat().items()}
        if changes:
            flat[CHANGES_KEY] = copy.deepcopy(changes)
        write_text(path, yaml.safe_dump(flat, sort_keys=False))
        return path


_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list", dict: "a mapping",
    type(None): "None",
}  # fmt: skip


def settings_from(kinds: Iterable[type], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of these dataclasses as Python gives them; ConfigError: no setting, or a value of another kind."""
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items() if name != "PARTS"}
    settings: dict[str, Any] = {}
    for name, value in given.items():
        require(name in hints, unknown_setting(name, list(hints)))
        if isinstance(value, PathLike):
            value = fspath(value)
        elif hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:
            value = value.item()
        require(fits(value, hints[name]), f"{name} is {value!r}: give {_words(hints[name])}")
        settings[name] = value
    return settings


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType, Literal):
        return " or ".join(str(kind) if get_origin(hint) is Literal else _words(kind) for kind in get_args(hint))
    return _WORDS[get_origin(hint) or hint]


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that a setting is annotated with; a whole number is a number, true is none.

    >>> fits(1, float), fits(True, int), fits(None, str | None), fits([1], list[str]), fits("a", dict[str, int])
    (True, False, True, True, False)
    """
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, kind) for kind in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, Real if kind is float else kind)
