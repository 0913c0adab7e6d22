"""MLflow: one run per training run, on an embedded sqlite file unless a server is named. Only the main process logs,
every metric once per step, resumed or not; what a server that is down did not get waits for it, training never does."""

import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from weighted_mtp.files import sync, write_text
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.errors import mlflow_store, without_password
from weighted_mtp.training.skill import measured_skill

logger = logging.getLogger(__name__)

_MAX_PARAM_LENGTH = 500
_BATCH = 1000
"""Metrics of one call, as many as MLflow takes."""
MOST_WAITING = 100_000
"""Metrics kept for a server that is down; then the oldest are dropped."""
_ASIDE = ".mlflow-????????"
"""Folders in which stores are made."""
UNSENT = "mlflow_unsent.jsonl"
"""In a run's directory: metrics that its server never got."""
_KEPT = ("key", "value", "timestamp", "step")
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds to the next try; doubled after each."""


def tracking_uri(config: RunConfig) -> str | None:
    """The setting, else MLFLOW_TRACKING_URI, else mlflow.db in the run's directory; None where either says none."""
    uri = config.tracking.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    uri = uri or mlflow_store(config.train.output_dir)
    return None if uri.strip().lower() == "none" else uri


def metric_name(key: str) -> str:
    """MLflow name of a Trainer log key: eval_x becomes eval/x, everything else train/x."""
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"


def store_file(uri: str | None) -> Path | None:
    """The file of an sqlite address; None where the address is of something else."""
    path = (uri or "").removeprefix("sqlite:///")
    return None if path == uri or not path or path == ":memory:" or "?" in path else Path(path)


class MLflowLogger(TrainerCallback):
    """Logs the resolved configuration as parameters and artifact, every log entry as metrics; `tags` are further
    tags."""

    anew = False
    """Whether a resume begins another run, since it goes on with other settings."""

    def __init__(self, config: RunConfig, tags: dict[str, str] | None = None) -> None:
        self.config = config
        self.tags = {"stage": config.stage, "scheme": config.scheme} | (tags or {})
        if skill := measured_skill(config):
            self.tags["critic_skill"] = skill["verdict"]
        self.uri = tracking_uri(config)
        self._client: Any = None
        self._run_id: str | None = None
        self._waiting: list[Any] | None = None
        self._there: Counter[tuple[str, int]] | None = None
        self._pause, self._next_try, self._dropped = 0.0, 0.0, 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Opens the run, again where training was resumed, and sends what the checkpoint has and the store lacks."""
        if state.is_world_process_zero and self.uri is not None:
            self._waiting = []
            for entry in state.log_history:
                self._add(entry, int(entry["step"]))
            self._deliver()

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Sends one log entry."""
        if self._waiting is not None and logs:
            self._add(logs, state.global_step)
            if time.monotonic() >= self._next_try:
                self._deliver()

    def close(self, status: str) -> None:
        """Ends the run: FINISHED, KILLED (interrupted) or FAILED."""
        if self._waiting is None:
            return
        self._deliver(status)
        if not self._waiting:
            self._unsent().unlink(missing_ok=True)
            return
        kept = [{name: getattr(metric, name) for name in _KEPT} for metric in self._waiting]
        write_text(self._unsent(), "".join(json.dumps(one) + "\n" for one in kept))
        count = f"{len(self._waiting)} values of metrics" + f", and {self._dropped} older ones" * bool(self._dropped)
        said = (
            f"MLflow at {self.uri} never got {count}: the last {len(self._waiting)} are in {self._unsent()}, and the "
            "same command with --resume auto sends them"
        )
        logger.warning(without_password(said))

    def finish(self) -> None:
        """Sends what a server that was down never got; FINISHED too where a kill came between the model's save and
        it."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        if self.uri is not None and self._unsent().is_file():
            self._waiting = [Metric(**json.loads(line)) for line in self._unsent().read_text().splitlines()]
            return self.close("FINISHED")
        file = store_file(self.uri)
        if self.uri is None or not self._run_file().is_file() or (file is not None and not file.is_file()):
            return
        with suppress(Exception):  # whatever the store does, the model is there
            client, run_id = MlflowClient(tracking_uri=self.uri), self._run_file().read_text().strip()
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "FINISHED")

    def _add(self, logs: Mapping[str, Any], step: int) -> None:
        """Has metrics wait, with a time that makes sending them twice do no harm."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {key: float(x) for key, x in logs.items() if isinstance(x, int | float) and key != "step"}
        if "loss" not in numbers:  # of a step's entries one says the epoch
            numbers.pop("epoch", None)
        new = [Metric(metric_name(key), x, now, step) for key, x in numbers.items()]
        assert self._waiting is not None, "nothing waits before training"
        waiting = [*self._waiting, *filter(self._is_new, new)]
        self._waiting = waiting[-MOST_WAITING:]
        self._dropped += len(waiting) - len(self._waiting)

    def _is_new(self, metric: Any) -> bool:
        """Whether the store has it not, from before a resume; all are where that is not known yet."""
        point = metric.key, metric.step
        if self._there is None or not self._there[point]:
            return True
        self._there[point] -= 1
        return False

    def _deliver(self, status: str | None = None) -> None:
        """Sends what waits, and at the end how the run ended."""
        try:
            if self._there is None:
                self._there = self._open()
                self._waiting = [*filter(self._is_new, self._waiting or ())]
            while self._waiting:
                self._client.log_batch(self._run_id, metrics=self._waiting[:_BATCH])
                del self._waiting[:_BATCH]
            if status is not None:
                self._client.set_terminated(self._run_id, status)
            self._pause = 0.0
        except Exception as error:  # whatever the network or the server does, training goes on
            if not self._pause:
                lines = [line for line in str(error).splitlines() if not line.startswith("(raised as a result of")]
                reason = (lines or [type(error).__name__])[0]  # SQLAlchemy puts an advice before it
                said = f"MLflow at {self.uri} does not answer, metrics wait for it: {reason}"
                logger.warning(without_password(said))
            self._pause = min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE)
            self._next_try = time.monotonic() + self._pause

    def _open(self) -> Counter[tuple[str, int]]:
        """Begins or continues the run; how often its record has which metric of which step."""
        # A dead server should cost seconds, not the client's default of minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        make_store(self.uri)
        self._client = MlflowClient(tracking_uri=self.uri)
        run_yaml = Path(self.config.train.output_dir) / RUN_FILE
        self._run_id = self._run_id or self._reopened() or self._created()
        known = self._client.get_run(self._run_id).data
        missing = [(key, value) for key, value in self.config.to_flat().items() if key not in known.params]
        params = [Param(key, str(value)[:_MAX_PARAM_LENGTH]) for key, value in missing]
        self._client.log_batch(self._run_id, params=params)
        if run_yaml.is_file():
            self._client.log_artifact(self._run_id, str(run_yaml))
        history = (self._client.get_metric_history(self._run_id, key) for key in known.metrics)
        return Counter((metric.key, metric.step) for metrics in history for metric in metrics)

    def _run_file(self) -> Path:
        return Path(self.config.train.output_dir) / "mlflow_run_id.txt"

    def _unsent(self) -> Path:
        return Path(self.config.train.output_dir) / UNSENT

    def _created(self) -> str:
        run = self._client.create_run(self._experiment_id(), run_name=self.config.run_name, tags=self.tags)
        write_text(self._run_file(), run.info.run_id)
        return run.info.run_id

    def _reopened(self) -> str | None:
        """The run of an interrupted training; None where this store does not know it, or another is to begin."""
        from mlflow.exceptions import MlflowException

        if not self._run_file().is_file():
            return None
        run_id = self._run_file().read_text().strip()
        try:
            self._client.update_run(run_id, status="KILLED" if self.anew else "RUNNING")
        except MlflowException:
            return None
        return None if self.anew else run_id

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        name, file = self.config.tracking.experiment_name, store_file(self.uri)
        known = self._client.get_experiment_by_name(name)
        if known is None:
            # Beside the database; the default would be a folder in whatever directory the user stands in.
            location = None if file is None else (file.resolve().parent / "mlartifacts").as_uri()
            try:
                return self._client.create_experiment(name, artifact_location=location)
            except MlflowException:  # another run was faster
                known = self._client.get_experiment_by_name(name)
                if known is None:
                    raise
        return known.experiment_id


def make_store(uri: str | None) -> None:
    """Makes an sqlite store and its folder, the store aside and linked into place: a kill leaves none half made; what
    killed runs left goes."""
    file = store_file(uri)
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not any(file.parent.glob(_ASIDE)):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _one_at_a_time(file.parent) as alone:
        for left in file.parent.glob(_ASIDE) if alone else ():
            shutil.rmtree(left, ignore_errors=True)
        if file.exists():
            return
        with tempfile.TemporaryDirectory(prefix=_ASIDE.strip("?"), dir=file.parent) as folder:
            made = Path(folder) / file.name
            SqlAlchemyStore(f"sqlite:///{made}", str(file.resolve().parent / "mlartifacts")).engine.dispose()
            sync(made)
            with suppress(OSError):  # it is there; or this file system has no links, and MLflow makes it in place
                os.link(made, file)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[bool]:
    """Waits until no other process is inside for this folder; whether that is known. The kernel frees a dead one's."""
    descriptor, alone = os.open(folder, os.O_RDONLY), False
    try:
        with suppress(OSError):  # this file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            alone = True
        yield alone
    finally:
        os.close(descriptor)
