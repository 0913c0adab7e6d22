"""`wmtp real-code`: on real code with known bugs, which critic finds the wrong token, and does its credit teach?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from weighted_mtp.experiments.real_code_config import RealCodeConfig
from weighted_mtp.experiments.real_code_jobs import UNTRAINED, Job
from weighted_mtp.experiments.real_code_plan import Plan
from weighted_mtp.experiments.real_code_pool import run_all
from weighted_mtp.experiments.real_code_results import RESULTS_FILE, write_results
from weighted_mtp.experiments.real_code_rows import FOLDS, SUMMARY_FILE, Row, Selection, prepare_rows
from weighted_mtp.models import load_tokenizer
from weighted_mtp.reports.real_code_terminal import print_real_code
from weighted_mtp.training.settings import ConfigError, require


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
    plan = Plan.read(Path(config.configs))
    known = [UNTRAINED, *plan.names]
    for name in config.only:
        require(name in known, f"only names {name!r}: give some of {', '.join(known)}")
    tokenizer = load_tokenizer(plan.model)
    rows = prepare(config, tokenizer)
    jobs = plan_jobs(config, plan)
    for kind in (UNTRAINED, "critics/", "students/"):  # students read critics
        chosen = [job for job in jobs if job.name.startswith(kind) and _is_chosen(job, config)]
        run_all(chosen, workers, console)
    results = write_results(rows, jobs, plan.heads, tokenizer)
    print_real_code(console, results)
    console.print(f"numbers: {Path(config.out) / RESULTS_FILE}", soft_wrap=True, markup=False)
    return results


def plan_jobs(config: RealCodeConfig, plan: Plan) -> list[Job]:
    """The untrained model, every critic with a trunk to train, and every student, on every fold."""
    out, solve = Path(config.out), tuple(config.solve)
    jobs: list[Job] = []
    for fold in range(FOLDS):
        start = Job(out, UNTRAINED, fold, plan.model, solve=solve)
        jobs.append(start)
        jobs += [
            replace(start, name=f"critics/{name}", config=run, solve=()) for name, run in plan.critics.items()
        ]
        jobs += [
            replace(start, name=f"students/{name}", config=run, critic=plan.critic_of(run))
            for name, run in plan.students.items()
        ]
    return jobs


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
