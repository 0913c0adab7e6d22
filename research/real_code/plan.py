"""Which critics and students an experiment trains: one YAML file for each row of its tables."""

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from research.real_code.config import RealCodeConfig
from research.real_code.rows import SUMMARY_FILE
from weighted_mtp.choices import nearest
from weighted_mtp.data.sources import first_row
from weighted_mtp.models import sources
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.early_checks import require_all_read
from weighted_mtp.training.errors import ConfigError, require, require_folder
from weighted_mtp.training.settings import TrainConfig

NOT_READ = ("max_steps", "gradient_accumulation_steps", "warmup_steps", "new_learning_rate")
"""Settings of `wmtp train` that would be passed over in silence."""


@dataclass(frozen=True)
class Plan:
    """The configurations of an experiment, by file name."""

    model: str
    """The model that all start from."""
    critics: dict[str, RunConfig]
    """Critics whose trunk is trained."""
    heads: dict[str, RunConfig]
    """Value heads on the frozen trunk."""
    students: dict[str, RunConfig]
    """Students; one that is of stage verifiable names its critic as critics/NAME."""

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """Reads FOLDER/critics/*.yaml and FOLDER/students/*.yaml, settings of `wmtp train` with their `stage`.

        Raises:
            ConfigError: no file; one that is no mapping, has an unknown key, a value that does not fit, the wrong
                stage, or a critic that is not there; models that differ.
        """
        all_critics, students = _read_all(folder / "critics"), _read_all(folder / "students")
        for name, run in all_critics.items():
            require(run.stage == "critic", f"{folder}/critics/{name}.yaml is of stage {run.stage}: give critic")
            if run.critic.freeze_trunk:
                check_head(run)
        heads = {name: run for name, run in all_critics.items() if run.critic.freeze_trunk}
        critics = {name: run for name, run in all_critics.items() if name not in heads}
        for name, run in students.items():
            _check_student(f"{folder}/students/{name}.yaml", run, critics)
        models = {run.model.model_name_or_path for run in (*all_critics.values(), *students.values())}
        require(
            len(models) == 1,
            f"the configurations in {folder} start from {', '.join(sorted(models))}: give all of them one",
        )
        return cls(models.pop(), critics, heads, students)

    @property
    def names(self) -> list[str]:
        """Of all configurations."""
        return [*self.critics, *self.heads, *self.students]

    def critic_of(self, student: RunConfig) -> RunConfig | None:
        """The critic that a student reads, if it reads one."""
        name = student.critic.critic
        return None if name is None else self.critics[Path(name).name]


def check_head(config: RunConfig) -> None:
    """Refuses what a head on cached states does not follow.

    Raises:
        ConfigError: an objective other than mse and bce, no early stopping, or a setting that would not be read.
    """
    objective = config.critic.value_loss
    require(objective in ("mse", "bce"), f"value_loss is {objective!r}: a head on cached states takes mse or bce")
    require(
        (config.train.early_stopping_patience or 0) > 0,
        "early_stopping_patience is 0: a head on cached states needs 1 or more, since it keeps the best",
    )
    for setting in fields(TrainConfig):
        given = getattr(config.train, setting.name)
        require(
            setting.name not in NOT_READ or given == setting.default,
            f"{setting.name} is {given}, which a head on cached states does not follow: leave it out",
        )


def check_real_code(config: RealCodeConfig) -> None:
    """Raises for what the experiment would stumble over.

    Raises:
        ConfigError: as `Plan.read`; a folder that cannot be written.
        DataError: as `load_rows`, for the first row of each file that will be read.
        ValueError: the model is not there.
    """
    require_folder("out", config.out)
    sources.require(Plan.read(Path(config.configs)).model)
    if not (Path(config.out) / SUMMARY_FILE).exists():
        for file in config.data:
            first_row(file)


def _check_student(path: str, run: RunConfig, critics: dict[str, RunConfig]) -> None:
    require(run.stage != "critic", f"{path} is of stage critic: put it among the critics")
    known = [f"critics/{name}" for name in critics]
    require(
        run.critic.critic in (None, *known), f"{path}: critic is {run.critic.critic!r}: give one of {', '.join(known)}"
    )


def _read_all(folder: Path) -> dict[str, RunConfig]:
    paths = sorted(folder.glob("*.yaml"))
    require(bool(paths), f"{folder} holds no .yaml: give the folder with critics/ and students/ as configs")
    return {path.stem: _read_config(path) for path in paths}


def _read_config(path: Path) -> RunConfig:
    known = {f.name for part in RunConfig.PARTS.values() for f in fields(part)} | {"stage"}
    try:
        flat = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(flat, dict) or "stage" not in flat:
        raise ConfigError(f"{path}: a mapping of settings with `stage` is needed")
    for name in flat:
        if name not in known:
            near = nearest(str(name), known)
            raise ConfigError(f"{path}: unknown setting {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        config = RunConfig.from_flat(
            {**dict.fromkeys(("train_file", "eval_file", "output_dir"), "of the fold"), **flat}
        )
        require_all_read(config)
        return config
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
