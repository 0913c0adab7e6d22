"""`wmtp real-code`: on real code with known bugs, which critic finds the wrong token, and does its credit teach?"""

import difflib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from weighted_mtp.experiments.cells import start_worker
from weighted_mtp.experiments.real_code_config import RealCodeConfig
from weighted_mtp.experiments.real_code_heads import check_head
from weighted_mtp.experiments.real_code_jobs import UNTRAINED, Job, run_job
from weighted_mtp.experiments.real_code_results import RESULTS_FILE, write_results
from weighted_mtp.experiments.real_code_rows import FOLDS, SUMMARY_FILE, Row, Selection, prepare_rows
from weighted_mtp.models import load_tokenizer
from weighted_mtp.reports.real_code_terminal import print_real_code
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.settings import ConfigError


def run_real_code(config: RealCodeConfig, workers: int, console: Console) -> dict[str, Any]:
    """Runs what is not finished, judges what is, and writes results.json.

    Args:
        config: what to run; with `only`, no more than that now.
        workers: trainings at a time, each on one core.
        console: where progress goes.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: a configuration that does not fit, or other rows than the folder holds.
        DataError: a malformed row, or too few tasks.
    """
    folder = Path(config.configs)
    critics, students = read_configs(folder / "critics"), read_configs(folder / "students")
    model = common_model(critics | students)
    known = [UNTRAINED, *critics, *students]
    for name in config.only:
        if name not in known:
            raise ConfigError(f"only names {name!r}: give some of {', '.join(known)}")
    tokenizer = load_tokenizer(model)
    rows = prepare(config, tokenizer)
    heads = {name: run for name, run in critics.items() if run.critic.freeze_trunk}
    for run in heads.values():
        check_head(run)
    runs: dict[str, RunConfig | None] = {UNTRAINED: None}
    runs |= {f"critics/{name}": run for name, run in critics.items() if name not in heads}
    runs |= {f"students/{name}": run for name, run in students.items()}
    jobs = [
        Job(
            Path(config.out),
            name,
            fold,
            model,
            run,
            () if name.startswith("critics/") else tuple(config.solve),
        )
        for name, run in runs.items()
        for fold in range(FOLDS)
    ]
    for kind in (UNTRAINED, "critics/", "students/"):  # students read critics
        chosen = [job for job in jobs if job.name.startswith(kind) and _is_chosen(job, config)]
        run_all(chosen, workers, console)
    results = write_results(rows, jobs, heads, tokenizer)
    print_real_code(console, results)
    console.print(f"numbers: {Path(config.out) / RESULTS_FILE}", soft_wrap=True, markup=False)
    return results


def _is_chosen(job: Job, config: RealCodeConfig) -> bool:
    return not config.only or job.name == UNTRAINED or Path(job.name).name in config.only


def read_configs(folder: Path) -> dict[str, RunConfig]:
    """The runs that the YAML files of a folder describe, by file name; the experiment gives them files and folder.

    Raises:
        ConfigError: no file; one that is no mapping, has an unknown key, or a value that does not fit.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ConfigError(f"{folder} holds no .yaml: give the folder with critics/ and students/ as configs")
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
            near = difflib.get_close_matches(str(name), known, n=1)
            raise ConfigError(
                f"{path}: unknown setting {name!r}" + (f"; did you mean {near[0]}?" if near else "")
            )
    try:
        return RunConfig.from_flat(
            {**dict.fromkeys(("train_file", "eval_file", "output_dir"), "of the fold"), **flat}
        )
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def common_model(configs: dict[str, RunConfig]) -> str:
    """The model that all configurations start from."""
    models = {run.model.model_name_or_path for run in configs.values()}
    if len(models) > 1:
        raise ConfigError(f"the configurations start from {', '.join(sorted(models))}: give all of them one")
    return models.pop()


def prepare(config: RealCodeConfig, tokenizer: Any) -> list[Row]:
    """The rows of the experiment, chosen and split once."""
    out, data = Path(config.out), config.data
    if not data:
        summary = out / SUMMARY_FILE
        if not summary.exists():
            raise ConfigError(f"{out} holds no rows yet: name their files as --data")
        data = json.loads(summary.read_text())["selection"]["data"]
    return prepare_rows(Selection(data, config.max_length, config.rows_per_label), tokenizer, out)


def run_all(jobs: Sequence[Job], workers: int, console: Console) -> None:
    """Runs the jobs that are not finished, each in a worker on one core, under a progress bar."""
    waiting = [job for job in jobs if job.finished() is None]
    if not waiting:
        return
    MlflowClient(
        f"sqlite:///{(waiting[0].root / 'mlflow.db').resolve()}"
    ).search_experiments()  # makes its tables
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(jobs), completed=len(jobs) - len(waiting))
        for job in _finishing(waiting, workers):
            progress.update(task, advance=1, description=f"{job.name}, fold {job.fold}")


def _finishing(jobs: Sequence[Job], workers: int) -> Iterator[Job]:
    """Runs the jobs and gives each when it is finished. When one fails or all are stopped, none begins any more.

    No more are handed out than are at work: what a pool has queued for its workers cannot be called back.
    """
    waiting, running = list(jobs), dict[Future[None], Job]()
    os.environ["TQDM_DISABLE"] = "1"  # read by the workers, whose bars would write over each other
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool,
        _stopping_workers(),
    ):
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                running[pool.submit(run_job, job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                yield running.pop(future)


@contextmanager
def _stopping_workers() -> Iterator[None]:
    """While inside, SIGTERM is passed on to the workers, which save where they are; Ctrl-C reaches them by itself."""

    def stop(number: int, frame: Any) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's alone
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
