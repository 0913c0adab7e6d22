"""The study: which credit finds the wrong tokens, and what that is worth, on completions of known truth.

Two lines through the made task: the share of right completions, and their number. Every arm of a draw has the same
start, the same steps and the same unseen test prompts. A finished cell stays in the output directory, so that an
interrupted study goes on where it stopped.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console

from research.chains.cells import study_cell
from research.chains.report.markdown import study_markdown
from research.chains.report.pictures import write_pictures
from research.chains.report.tables import main_table
from research.chains.resampling import resample_right
from research.chains.results import study_results
from research.chains.study_arms import PRESETS, Setting, with_needs
from research.drawing.markdown import table_text
from weighted_mtp.data import LOW_SUCCESS, Chains, make_chains
from weighted_mtp.demo.cells import Cell, run_cells
from weighted_mtp.demo.draw import Budget, Draw
from weighted_mtp.demo.jobs import job_progress
from weighted_mtp.files import write_text
from weighted_mtp.training.errors import mlflow_store
from weighted_mtp.training.tracking import make_store

BUDGET = Budget(steps=150, critic_steps=300, curve_points=2)
"""Chosen on a draw outside the study, as what suits right_only, the strongest arm without a critic."""
POOL = 32_000
"""Traces that each draw's completions are taken from: enough right ones for 70 % of 8,000."""


def run_study(
    preset: str,
    out: Path,
    jobs: int,
    draws: int | None = None,
    budget: Budget | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Runs a preset and writes results.json, study.md with pictures, and mlflow.db into `out`.

    Args:
        preset: full or quick.
        out: output directory; finished cells found there are kept.
        jobs: trainings at a time, each on one core.
        draws: of task, initialisation and batch order; None: the preset's.
        budget: steps and sizes, the same for every arm.
        console: where progress and the table go.

    Returns:
        What results.json holds.
    """
    console, budget = console or Console(), budget or BUDGET
    settings, preset_draws = PRESETS[preset]
    out.mkdir(parents=True, exist_ok=True)
    cells = study_cells(settings, draws or preset_draws, out, budget)
    console.print(
        f"[bold]weighted-mtp study[/], preset {preset}: {len(cells)} short trainings on made data with known errors, "
        f"{draws or preset_draws} draws, {jobs} at a time; finished ones are kept in {out}"
    )
    make_store(mlflow_store(out))
    finished = _run_all(cells, jobs, console)
    results = study_results(preset, settings, finished, budget)
    write_text(out / "results.json", json.dumps(results, indent=1))
    report(results, out)
    console.print(table_text(main_table(results, several_heads=False)), soft_wrap=True, markup=False)
    console.print(f"Look at [bold]{out / 'study.md'}[/], or: mlflow ui --backend-store-uri {mlflow_store(out)}")
    return results


def report(results: dict[str, Any], out: Path) -> None:
    """The text with its pictures."""
    pictures = {name: path.name for name, path in write_pictures(results, out).items()}
    write_text(out / "study.md", study_markdown(results, pictures))


def study_cells(settings: Sequence[Setting], draws: int, out: Path, budget: Budget) -> list[Cell]:
    """Every arm of every setting and draw, and what they need; the arms of a draw are neighbours."""
    uri = mlflow_store(out)
    return [
        Cell(setting.name, seed, out / "cells" / f"{setting.name}-draw{seed}", uri, budget, arm)
        for setting in settings
        for seed in range(draws)
        for arm in with_needs(setting.arms)
    ]


def _run_all(cells: Sequence[Cell], jobs: int, console: Console) -> list[tuple[Cell, dict[str, Any]]]:
    settings = {setting.name: setting for preset in PRESETS.values() for setting in preset[0]}

    def prepare(cell: Cell) -> None:
        chains = study_chains(settings[cell.setting], cell.seed, cell.budget.test_prompts)
        Draw(cell.setting, chains, cell.seed, cell.root, cell.tracking_uri, cell.budget).prepare()

    finished: list[tuple[Cell, dict[str, Any]]] = []
    with job_progress(console) as progress:
        task = progress.add_task("", total=len(cells))
        for cell, result in run_cells(cells, jobs, prepare, study_cell):
            finished.append((cell, result))
            done = f"{cell.setting}, draw {cell.seed}: {cell.arm.name}"
            progress.update(task, advance=1, description=done)
    return sorted(finished, key=lambda one: cells.index(one[0]))


def study_chains(setting: Setting, seed: int, test_prompts: int) -> Chains:
    """The rows of one draw of a setting; for one seed they are nested, and the test prompts are the same."""
    pool = _pool(seed, test_prompts)
    return replace(pool, train=resample_right(pool.train, setting.n_traces, setting.share_right, seed))


@lru_cache(maxsize=1)
def _pool(seed: int, test_prompts: int) -> Chains:
    return make_chains(LOW_SUCCESS, seed, n_train_traces=POOL, n_test_prompts=test_prompts)
