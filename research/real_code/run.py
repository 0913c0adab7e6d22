"""Real code with known bugs: which critic finds the wrong token, and does its credit teach?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from research.drawing.markdown import table_text
from research.real_code.config import RealCodeConfig
from research.real_code.jobs import UNTRAINED, Job, run_job
from research.real_code.plan import Plan
from research.real_code.report.markdown import real_code_markdown
from research.real_code.report.pictures import write_pictures
from research.real_code.report.tables import localisation_table, outcome_table, students_table
from research.real_code.results import RESULTS_FILE, write_results
from research.real_code.rows import FOLDS, SUMMARY_FILE, Row, Selection, prepare_rows
from weighted_mtp.demo.jobs import job_progress, run_jobs
from weighted_mtp.files import write_text
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.errors import ConfigError, require
from weighted_mtp.training.tracking import make_store


def run_real_code(config: RealCodeConfig, workers: int, console: Console) -> dict[str, Any]:
    """Runs what is not finished, judges what is, and writes results.json, and real-code.md with pictures.

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
    plan = Plan.read(Path(config.configs))
    known = [UNTRAINED, *plan.names]
    for name in config.only:
        require(name in known, f"only names {name!r}: give some of {', '.join(known)}")
    tokenizer = load_tokenizer(plan.model)
    rows = prepare(config, tokenizer)
    jobs = plan_jobs(config, plan)
    _run_all([job for job in jobs if _is_chosen(job, config)], workers, console)
    results = write_results(rows, jobs, plan.heads, tokenizer)
    out = Path(config.out)
    pictures = {name: path.name for name, path in write_pictures(results, out).items()}
    write_text(out / "real-code.md", real_code_markdown(results, pictures))
    for table in (localisation_table, outcome_table, students_table):
        console.print(table_text(table(results)), soft_wrap=True, markup=False)
    console.print(f"look at {out / 'real-code.md'}; numbers: {out / RESULTS_FILE}", soft_wrap=True, markup=False)
    return results


def plan_jobs(config: RealCodeConfig, plan: Plan) -> list[Job]:
    """The untrained model, then every critic with a trunk to train, then every student, each on every fold."""
    out, solve = Path(config.out), tuple(config.solve)
    untrained = [Job(out, UNTRAINED, fold, plan.model, solve=solve) for fold in range(FOLDS)]
    critics = [
        replace(start, name=f"critics/{name}", config=run, solve=())
        for start in untrained
        for name, run in plan.critics.items()
    ]
    students = [
        replace(start, name=f"students/{name}", config=run, critic=plan.critic_of(run))
        for start in untrained
        for name, run in plan.students.items()
    ]
    return [*untrained, *critics, *students]


def _run_all(jobs: list[Job], workers: int, console: Console) -> None:
    """Runs the jobs that are not finished, under a progress bar."""
    waiting = [job for job in jobs if job.finished() is None]
    if not waiting:
        return
    make_store(waiting[0].store)
    with job_progress(console) as progress:
        task = progress.add_task("", total=len(jobs), completed=len(jobs) - len(waiting))
        for job, _ in run_jobs(waiting, workers, run_job):
            progress.update(task, advance=1, description=f"{job.name}, fold {job.fold}")


def _is_chosen(job: Job, config: RealCodeConfig) -> bool:
    return not config.only or job.name == UNTRAINED or Path(job.name).name in config.only


def prepare(config: RealCodeConfig, tokenizer: Any) -> list[Row]:
    """The rows of the experiment, chosen and split once."""
    out, data = Path(config.out), config.data
    if not data:
        summary = out / SUMMARY_FILE
        if not summary.exists():
            raise ConfigError(f"{out} holds no rows yet: name their files as --data")
        data = json.loads(summary.read_text())["selection"]["data"]
    return prepare_rows(Selection(data, config.max_length, config.rows_per_label), tokenizer, out)
