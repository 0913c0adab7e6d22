"""`wmtp demo`: the main job in miniature, by the project's own stages, Trainer and loss: critics, twelve arms on the
made task, a control and a ceiling, and a page. A finished arm is kept, so that an interrupted demo goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from weighted_mtp.data import LOW_SUCCESS, make_chains, share_right
from weighted_mtp.demo.arms import CRITIC, FOUR_HEADS, GATED, LOG_ODDS, NEXT_TOKEN, ORACLE, RIGHT_ONLY, UNIFORM
from weighted_mtp.demo.cells import Cell, run_cells
from weighted_mtp.demo.draw import Budget, Draw
from weighted_mtp.demo.jobs import job_progress, workers
from weighted_mtp.demo.page.accuracy import print_summary
from weighted_mtp.demo.page.page import PageContent, write_page
from weighted_mtp.evaluation.intervals import summarise
from weighted_mtp.evaluation.results import provenance
from weighted_mtp.files import write_text
from weighted_mtp.reports.numbers import interval, points
from weighted_mtp.training.errors import mlflow_store
from weighted_mtp.training.skill import read_skill
from weighted_mtp.training.tracking import make_store

BUDGET = Budget(steps=150, critic_steps=200, folds=2)
"""Fewer steps of critics and folds than the study's, for time (README says what was seen before they were chosen)."""
UNWEIGHTED = {arm.name for arm in (*NEXT_TOKEN, *FOUR_HEADS) if arm.stage != "verifiable" and arm.scheme != "rho1"}


def run_demo(out: Path, seeds: int = 3, budget: Budget | None = None, console: Console | None = None) -> Path:
    """Runs the demo and writes results.json, report.html and mlflow.db into `out`; returns the page's path.

    Intervals need at least two `seeds`, draws of task, initialisation and batch order; every arm has the same budget.
    """
    console, budget = console or Console(), budget or BUDGET
    out.mkdir(parents=True, exist_ok=True)
    uri = mlflow_store(out)
    draws = [demo_draw(seed, out, uri, budget) for seed in range(seeds)]
    make_store(uri)
    cells = [Cell(d.setting, d.seed, d.root, uri, budget, arm) for d in draws for arm in (CRITIC, *NEXT_TOKEN)]
    cells += [replace(cells[0], arm=arm) for arm in FOUR_HEADS]
    jobs = workers(None)
    console.print(
        f"[bold]weighted-mtp demo[/]: {len(cells)} short trainings on made data with known errors, "
        f"{seeds} draw{'s' * (seeds > 1)}, {jobs} at a time; finished ones are kept in {out}"
    )
    results = _run_all(cells, jobs, {draw.seed: draw for draw in draws}, console)
    arms = [result for result in results if result["arm"] != CRITIC.name]
    baselines = {a.name: FOUR_HEADS[0].name if a.n_future > 1 else UNIFORM.name for a in (*NEXT_TOKEN, *FOUR_HEADS)}
    summary = summarise(arms, baselines)
    minutes = sum(result["seconds"] for result in results) / 60  # of finished arms too
    _write_results(out / "results.json", arms, summary, draws, budget, minutes)
    page = write_page(out / "report.html", _page(arms, summary, draws, budget, minutes))
    print_summary(console, summary)  # pyright: ignore[reportArgumentType]
    console.print(_to_right_only(arms))
    console.print(
        f"{minutes:.1f} minutes of training, added up. Look at [bold]{page}[/], or: mlflow ui --backend-store-uri {uri}"
    )
    return page


def demo_draw(seed: int, out: Path, tracking_uri: str, budget: Budget) -> Draw:
    """One draw of the setting in which few completions are right, in a folder of its own."""
    chains = make_chains(LOW_SUCCESS, seed, n_test_prompts=budget.test_prompts)
    return Draw(LOW_SUCCESS.name, chains, seed, out / f"draw{seed}", tracking_uri, budget)


def _run_all(cells: list[Cell], jobs: int, draws: dict[int, Draw], console: Console) -> list[dict[str, Any]]:
    """The results in the order of the cells."""
    there = [(cell, draws[cell.seed].finished(cell.arm)) for cell in cells]
    found = [(cell, result) for cell, result in there if result is not None]
    missing = [cell for cell, result in there if result is None]
    with job_progress(console) as progress:
        task = progress.add_task("", total=len(cells), completed=len(found))
        for cell, result in run_cells(missing, jobs, lambda cell: draws[cell.seed].prepare()):
            found.append((cell, result))
            progress.update(task, advance=1, description=f"draw {cell.seed}: {cell.arm.name}")
    return [result for _, result in sorted(found, key=lambda one: cells.index(one[0]))]


def _write_results(
    path: Path, arms: list[dict[str, Any]], summary: list[dict[str, Any]], draws: list[Draw], budget: Budget,
    minutes: float,
) -> None:  # fmt: skip
    kept = ("setting", "arm", "seed", "accuracy", "steps", "train_rows", "cpu_seconds", "curve")
    content = {
        "arms": [{key: result[key] for key in kept} for result in arms],
        "meta": {
            "summary": summary,
            "share_right": {draw.seed: share_right(draw.chains.train) for draw in draws},
            "budget": vars(budget),
            "rho1_reference": f"the right_only arm of the same draw, {budget.steps} steps",
            "controls": "shuffled_across carries the weights of log_odds without their information",
            "skill": {draw.seed: read_skill(draw.root / GATED.critic) for draw in draws},
            "minutes": round(minutes, 2),
            **dict(provenance()),
        },
    }
    write_text(path, json.dumps(content, indent=1))


def _page(
    arms: list[dict[str, Any]], summary: list[dict[str, Any]], draws: list[Draw], budget: Budget, minutes: float
) -> PageContent:  # fmt: skip
    right = np.mean([share_right(draw.chains.train) for draw in draws])
    first = draws[0]
    rows = _rows_worth_seeing(first)
    curves = [
        {"arm": r["arm"], "seed": r["seed"], "metric": metric, "steps": steps, "values": values}
        for r in arms
        for metric, steps, values in (
            ("accuracy", r["curve"]["steps"], r["curve"]["accuracy"]),
            ("loss", r["log"]["step"], r["log"]["ce_head_0"]),
        )
    ]
    return PageContent(
        title="Which tokens should teach?",
        lead=(
            f"A tiny language model learns digit chains from {LOW_SUCCESS.n_traces:,} completions of a teacher with "
            f"systematic errors. A program checked only the last digit: {right:.0%} are right. A critic turns that "
            "one bit per completion into a weight per token. Every arm has the same start, the same steps and the "
            f"same unseen test prompts; {len(draws)} draw{'s' if len(draws) > 1 else ''}."
        ),
        summary=summary,  # pyright: ignore[reportArgumentType]
        accuracies=[{k: r[k] for k in ("arm", "seed", "accuracy")} for r in arms],  # pyright: ignore
        curves=curves,  # pyright: ignore[reportArgumentType]
        histograms=[_histogram(r) for r in arms if r["seed"] == 0 and r["arm"] not in UNWEIGHTED],
        examples=first.views(GATED, rows),  # pyright: ignore[reportArgumentType]
        facts=[*provenance(), ("training time", f"{minutes:.1f} minutes, added up over all trainings")],
        notes=[
            _to_right_only(arms),
            f"Rho-1's reference is the right_only model of the same draw ({budget.steps} steps on right completions).",
            f"label_conditioned is the generative critic itself, decoded under the label right ({budget.critic_steps} "
            "steps at most: it stops early); log_odds weighs tokens by its credit; gated, the default, by right-only "
            "and credit mixed by its skill on prompts that it was not trained on.",
            "The control shuffled_across carries the weights of log_odds, dealt out at random over the batch.",
            "oracle drops the tokens that are truly wrong, which only a made task knows: the most that credit can win.",
            "right_only trains on fewer rows, so its batches are drawn from those; steps and batch size are equal.",
            "The arms with four heads ran for one draw: a single number, no interval.",
            "This is a made task whose teacher errs systematically; it shows that the method runs and can work, not "
            "that it wins on your data.",
        ],
    )


def _to_right_only(arms: list[dict[str, Any]]) -> str:
    """What credit wins over right completions alone, and the most that it could win."""
    shown = (LOG_ODDS.name, GATED.name, ORACLE.name)
    rows = summarise(arms, dict.fromkeys([arm["arm"] for arm in arms], RIGHT_ONLY.name))
    said = [
        f"{row['arm']} {points(row['diff'])}" + f" ({interval(row['low'], row['high'])})" * (row["low"] is not None)
        for row in rows
        if row["arm"] in shown
    ]
    return (
        f"Against {RIGHT_ONLY.name}, in points: {', '.join(said)}; {ORACLE.name} is the most that any credit can win."
    )


def _rows_worth_seeing(draw: Draw, each: int = 4) -> list[int]:
    """Wrong completions with a wrong token early on, then right ones."""
    rows = draw.chains.train[:2000]
    wrong = [i for i, row in enumerate(rows) if not row["label"] and any(row["token_error"][:-1])]
    right = [i for i, row in enumerate(rows) if row["label"]]
    return wrong[:: max(1, len(wrong) // each)][:each] + right[:: max(1, len(right) // each)][:each]


def _histogram(result: dict[str, Any]) -> Any:
    counts, edges = np.histogram(np.clip(result["weights"], 0, 5), bins=25, range=(0, 5))
    return {"arm": result["arm"], "edges": edges.tolist(), "counts": counts.tolist()}
