"""The long jobs of the experiment: each is a training with what it leaves to be judged, in its own process, once."""

import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from research.real_code.decoding import solved_tasks
from research.real_code.signals import SIGNALS_FILE, write_signals
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.files import write_text
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import mlflow_store
from weighted_mtp.training.run import train
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score

RESULT_FILE, ASKED_FILE, SPENT_FILE = "result.json", "asked.json", "spent.json"
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Job:
    """One row of a table on one fold."""

    root: Path
    """The experiment's output directory."""
    name: str
    """What is trained, as critics/generative or students/uniform; or the untrained model."""
    fold: int
    model: str
    """The model that all start from."""
    config: RunConfig | None = None
    """How it is trained; None: it is not."""
    solve: tuple[str, ...] = ()
    """Sources whose held-out tasks a language model is asked to solve."""
    critic: RunConfig | None = None
    """How the critic that it reads was trained."""

    @property
    def folder(self) -> Path:
        """Where its model and scores go."""
        return self.root / self.name / f"fold{self.fold}"

    @property
    def trained(self) -> Path:
        """Where its model goes."""
        return self.folder / "model"

    @property
    def scores(self) -> Path:
        """Where a critic's scores of the test rows go."""
        return self.folder / "scores"

    @property
    def signals(self) -> Path:
        """Where a language model's signals of the test rows go."""
        return self.folder / SIGNALS_FILE

    @property
    def store(self) -> str:
        """The experiment's MLflow store."""
        return mlflow_store(self.root)

    def data(self, side: str) -> Path:
        """A file of the fold's rows: train, valid or test."""
        return self.root / f"fold{self.fold}" / f"{side}.jsonl"

    def needs(self, other: "Job") -> bool:
        """Whether the other job must be finished first: a student reads the critic of its fold."""
        config = self.config
        return config is not None and (other.name, other.fold) == (config.critic.critic, self.fold)

    @property
    def asked_for(self) -> dict[str, Any]:
        """What its model and scores depend on beside the rows."""
        settings, critic = (run and run.to_flat() for run in (self.config, self.critic))
        return {"model": self.model, "settings": settings} | ({"critic": critic} if critic else {})

    def finished(self) -> dict[str, Any] | None:
        """Its result, if it is there, was made as it is asked for now, and has solved what is to be solved."""
        path = self.folder / RESULT_FILE
        result = json.loads(path.read_text()) if path.exists() else None
        if result is None or result["asked_for"] != self.asked_for:
            return None
        return result if set(self.solve) <= set(result["solve"]) else None


def run_job(job: Job) -> None:
    """Runs a job, or goes on with it; result.json says that all is there, and what it cost."""
    # A line at each run's end would break the one progress bar; result.json has it.
    logging.getLogger(train.__module__).setLevel(logging.ERROR)
    _begin(job)
    with _counted(job, "train"):
        if job.config is not None:
            train(of_fold(job, job.config), resume="auto", quiet=True)
    with _counted(job, "test"):
        passed = _test(job)
    result = {
        "asked_for": job.asked_for,
        "solve": list(job.solve),
        "passed": passed,
        "curve": _curve(job.trained),
        **_spent(job),
    }
    write_text(job.folder / RESULT_FILE, json.dumps(result, indent=1))
    for checkpoint in job.trained.glob("checkpoint-*"):  # half a gigabyte each, and the run is over
        shutil.rmtree(checkpoint)


def _test(job: Job) -> dict[str, bool]:
    """Scores the test rows, a critic's computed as training did; gives which tasks a language model has solved."""
    if job.config is not None and job.config.stage == "critic":
        data, out = str(job.data("test")), str(job.scores)
        score(ScoreConfig(critic=str(job.trained), data=data, out=out, bf16=job.config.train.bf16))
        return {}
    language_model = job.model if job.config is None else str(job.trained)
    write_signals(language_model, job.data("test"), job.signals, with_states=job.config is None)
    asked = [row for row in read_json_lines(job.data("test")) if row["source"] in job.solve]
    return solved_tasks(language_model, asked)


@contextmanager
def _counted(job: Job, part: str) -> Iterator[None]:
    """Adds the CPU seconds that are spent inside, to the end or not, to the job's account."""
    started, key = time.process_time(), f"{part}_cpu_seconds"
    try:
        yield
    finally:
        spent = _spent(job)
        spent[key] = round(spent.get(key, 0.0) + time.process_time() - started, 1)
        write_text(job.folder / SPENT_FILE, json.dumps(spent))


def _spent(job: Job) -> dict[str, float]:
    """The job's account: CPU seconds of training and testing, over all attempts."""
    path = job.folder / SPENT_FILE
    return json.loads(path.read_text()) if path.exists() else {}


def _begin(job: Job) -> None:
    """Makes the folder; what was made otherwise, finished or not, is removed."""
    path, asked_for = job.folder / ASKED_FILE, json.dumps(job.asked_for, indent=1)
    if job.folder.exists() and not (path.exists() and path.read_text() == asked_for):
        shutil.rmtree(job.folder)
    write_text(path, asked_for)


def _curve(model: Path) -> list[dict[str, float]]:
    """The evaluations of a finished run on its valid rows, as its newest checkpoint has them."""
    checkpoints = sorted(model.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if not checkpoints:
        return []
    history = json.loads((checkpoints[-1] / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "eval_loss" in entry]


def of_fold(job: Job, config: RunConfig) -> RunConfig:
    """The run of a fold: its files, its seed, and its critic where it reads one."""
    critic = config.critic
    if config.stage != "critic" and critic.critic is not None:
        critic = replace(critic, critic=str(replace(job, name=critic.critic).trained))
    return replace(
        config,
        critic=critic,
        data=replace(config.data, train_file=str(job.data("train")), eval_file=str(job.data("valid"))),
        train=replace(config.train, output_dir=str(job.trained), seed=job.fold),
        tracking=replace(
            config.tracking, tracking_uri=job.store, experiment_name="real-code", run_name=f"{job.name}/fold{job.fold}"
        ),
    )
