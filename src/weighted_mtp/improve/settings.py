"""What `wmtp improve` is told: the settings of every step are checked as the step's own command would, ahead of all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.problems import EvaluationConfig, Problems, check_evaluation, read_problems
from weighted_mtp.models import sources
from weighted_mtp.sampling.settings import SERVER, SampleConfig, check_sample
from weighted_mtp.training.config import STAGES, RunConfig, settings_from
from weighted_mtp.training.early_checks import require_all_read
from weighted_mtp.training.errors import ConfigError, mlflow_store, require, require_folder, settle
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.stage_table import STAGE_TABLE
from weighted_mtp.training.trainer_fields import check_trainer_args
from weighted_mtp.value_weighting.registry import scheme_path

_NOT_MADE = "-"
"""Stands for a path that a round makes, where settings are checked ahead."""
_SET = {
    "sample": ("model", "problems", "out", "verifier", "shard"),
    "evaluate": ("model", "problems", "out", "verifier"),
    "score": ("critic", "data", "out", "shard"),
    "critic": ("train_file", "output_dir"),
    "student": ("train_file", "output_dir", "model_name_or_path", "critic"),
}
"""Settings of each step that the round gives."""


@dataclass(frozen=True)
class ImproveConfig:
    """From which model, by which prompts and verifier, and what is done in a round."""

    model: str
    """The model to improve: a directory, or any model path."""
    problems: str
    """Training prompts, with what the verifier reads: as of wmtp sample."""
    held_out: str
    """Problems that every round is judged on, and that nothing is trained on: as of wmtp evaluate."""
    verifier: str
    """Who judges."""
    out: str
    """Folder of the rounds and of improve.html; what is there already is gone on with."""
    rounds: int = 3
    """Rounds at most; more may be asked for later."""
    sample: dict[str, Any] = field(default_factory=dict)
    """Settings of wmtp sample."""
    critic: dict[str, Any] | None = None
    """Settings of wmtp train critic; none: no critic is trained."""
    score: dict[str, Any] = field(default_factory=dict)
    """Settings of wmtp score, where the student is a baseline that trains on what the critic scored."""
    student: dict[str, Any] = field(default_factory=dict)
    """Settings of wmtp train, with `stage`: baseline, verifiable, ..."""
    evaluate: dict[str, Any] = field(default_factory=dict)
    """Settings of wmtp evaluate."""
    keep: bool = False
    """Train on the rows of earlier rounds too, on no more of a prompt than prompts have on average."""
    start_from: Literal["start", "previous"] = "start"
    """Which weights a student starts from: those of `model`, or those that the round before left."""
    dry_run: bool = False
    """Print the steps and what they cost at most; nothing is done."""

    def __post_init__(self) -> None:
        settle(self, "model", "problems", "held_out", "out")
        require(self.rounds >= 1, f"rounds is {self.rounds}: give at least 1")
        require(not self.model.startswith(SERVER), f"model is {self.model}: give a directory, which can be trained")
        for section, given in _SET.items():
            for name in given:
                require(
                    name not in (getattr(self, section) or {}),
                    f"{section} sets {name}, which the round gives itself: leave it out",
                )
        scored = self.stage == "baseline" and self.critic is not None
        require(
            self.critic is None or self.stage in ("baseline", "verifiable"),
            f"critic is trained, and nothing reads it in stage {self.stage}: give student stage baseline or verifiable",
        )
        require(
            self.critic is not None or self.stage != "verifiable",
            "student stage verifiable reads a critic: give settings of one, as `critic: {max_steps: 500}`",
        )
        require(scored or not self.score, "score is read with a critic and student stage baseline: leave it out")
        for name in ("chat", "stop"):
            require(
                self.sample.get(name) == self.evaluate.get(name),
                f"{name} differs between sample and evaluate: both are to ask in the same way",
            )

    @property
    def stage(self) -> str:
        """Of the student."""
        return self.student.get("stage", "baseline")

    @property
    def scored(self) -> bool:
        """Whether the rows get weights from the critic ahead of training."""
        return self.critic is not None and self.stage == "baseline"

    def sampling(self, model: str = _NOT_MADE, out: str = _NOT_MADE, round_number: int = 1) -> dict[str, Any]:
        """Settings of a round's `wmtp sample`; each round draws from a seed of its own."""
        given = {"model": model, "problems": self.problems, "verifier": self.verifier, "out": out}
        return given | self.sample | {"seed": self.sample.get("seed", 0) + round_number - 1}

    def evaluation(self, model: str = _NOT_MADE, out: str = _NOT_MADE) -> dict[str, Any]:
        """Settings of `wmtp evaluate`."""
        return {"model": model, "problems": self.held_out, "verifier": self.verifier, "out": out} | self.evaluate

    def training_critic(self, model: str, rows: str = _NOT_MADE, out: str = _NOT_MADE) -> dict[str, Any]:
        """Settings of `wmtp train critic`, which starts from the model that wrote the rows unless another is named."""
        given = {"model_name_or_path": model, "train_file": rows, "output_dir": out}
        return given | self._tracking(out) | (self.critic or {})

    def training(
        self, model: str, rows: str = _NOT_MADE, out: str = _NOT_MADE, critic: str = _NOT_MADE
    ) -> dict[str, Any]:
        """Settings of the student's `wmtp train`."""
        given = {"model_name_or_path": model, "train_file": rows, "output_dir": out}
        given |= {"critic": critic} if self.stage == "verifiable" else {}
        given |= {"scheme": "column"} if self.scored else {}
        return given | self._tracking(out) | {name: x for name, x in self.student.items() if name != "stage"}

    def scoring(self, critic: str = _NOT_MADE, rows: str = _NOT_MADE, out: str = _NOT_MADE) -> dict[str, Any]:
        """Settings of `wmtp score`; rows are cut where the critic's training cut them."""
        limits = {name: value for name, value in (self.critic or {}).items() if name in ("max_length", "bf16", "gamma")}
        return {"critic": critic, "data": rows, "out": out} | limits | self.score

    def _tracking(self, out: str) -> dict[str, Any]:
        round_dir = Path(out)
        named = {"experiment_name": "improve", "run_name": f"{round_dir.parent.name}-{round_dir.name}"}
        return {"tracking_uri": mlflow_store(self.out)} | named


def check_improve(config: ImproveConfig) -> tuple[Problems, Problems]:
    """Training and held-out problems, before torch is imported. ConfigError: a setting that a step's command would
    refuse, with its section; DataError: problems that are not there, cannot be checked, or are both trained on and held
    out."""
    sources.require(config.model)
    asked = _section("sample", SampleConfig, config.sampling(config.model))
    judged = _section("evaluate", EvaluationConfig, config.evaluation(config.model))
    if config.critic is not None:
        _check_run("critic", "critic", config.training_critic(config.model))
        scores = _section("score", ScoreConfig, config.scoring())
        scheme_path(scores.scheme)
    require(config.stage in STAGES, f"student: stage is {config.stage!r}: give baseline or verifiable")
    require(not STAGE_TABLE[config.stage].trains_critic, "student: stage critic trains no student: give baseline")
    _check_run("student", config.stage, config.training(config.model))
    require_folder("out", config.out)
    problems = check_sample(asked)
    check_evaluation(judged)
    held_out = read_problems(judged)
    known = {json.dumps(row.get("prompt")) for row in problems.values()}
    shared = [i for i, row in held_out.items() if json.dumps(row.get("prompt")) in known]
    if shared:
        raise DataError(
            f"{config.held_out}: {len(shared)} of {len(held_out)} prompts are in {config.problems} too (problem "
            f"{shared[0]} is the first): what is trained on cannot be held out; `wmtp data split` makes two files"
        )
    return problems, held_out


def _section(name: str, kind: type, given: Mapping[str, Any]) -> Any:
    """Settings of one command; what is wrong with them is told with their section."""
    try:
        return kind(**settings_from([kind], given))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _check_run(section: str, stage: str, given: Mapping[str, Any]) -> None:
    try:
        run = RunConfig.from_flat({"stage": stage} | settings_from(RunConfig.PARTS.values(), given))
        scheme_path(run.scheme)
        require_all_read(run)
        check_trainer_args(run.train, run.model, run.data.evaluates)
    except ValueError as error:
        raise ConfigError(f"{section}: {error}") from None
