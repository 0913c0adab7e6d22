"""`wmtp inspect --page`: finished runs on one page."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from datasets import Dataset
from rich.console import Console
from rich.progress import Progress

from weighted_mtp.evaluation.results import provenance
from weighted_mtp.inspection.content import InspectedRun, RunPage, ValueQuality
from weighted_mtp.inspection.finished_run import FinishedRun, choose_evenly, find_rows, open_run
from weighted_mtp.inspection.page import write_run_page
from weighted_mtp.inspection.record import Record, read_record
from weighted_mtp.inspection.run_dirs import run_names
from weighted_mtp.inspection.tokens import Advance, view_tokens
from weighted_mtp.inspection.values import judge_values
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.skill import read_skill

_TITLE = 80  # characters
_SHOWN_APART = (
    "stage", "scheme", "model_name_or_path", "n_future", "max_steps", "output_dir", "run_name", "tracking_uri"
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which completions of a run's training file are shown token by token."""

    rows: list[int] | None = None  # row numbers; None takes `count` of them
    count: int = 24  # how many, where none are named: right and wrong ones evenly, for label any
    label: str = "any"  # right, wrong or any

    def positions(self, dataset: Dataset) -> list[int]:
        """Where they are in the data set."""
        if self.rows is not None:
            return find_rows(dataset["row_id"], self.rows)
        return choose_evenly(dataset["reward"], self.count, self.label)


def inspect_on_page(
    dirs: Sequence[Path],
    path: Path,
    selection: Selection,
    judged_rows: int,
    console: Console,
    moved: Mapping[str, str] | None = None,
) -> Path:
    """Writes finished runs, as `check_dirs` leaves them, as one HTML file; returns its path. The reliability of values
    is taken from `judged_rows` rows, evenly spaced, of the evaluation file where a run has one (`moved`: see
    `open_run`)."""
    names = run_names(dirs)
    found: list[tuple[InspectedRun, list[dict[str, Any]]]] = []
    with progress_bar(console if console.is_terminal else None, transient=True) as progress:
        task = progress.add_task("runs", total=len(dirs))
        for run_dir, name in zip(dirs, names, strict=True):
            found.append(_look_at(run_dir, name, selection, judged_rows, progress, moved))
            progress.advance(task)
            gc.collect()  # cycles hold a trainer, and with it its models
    by_row = zip_longest(*(views for _, views in found))  # of runs on the same rows, views of a row are neighbours
    page = RunPage(
        title=_title(dirs),
        lead=_lead(len(dirs), selection),
        runs=[run for run, _ in found],
        examples=[view for views in by_row for view in views if view is not None],  # pyright: ignore[reportArgumentType]
        facts=provenance(),
    )
    return write_run_page(path, page)


def _look_at(
    run_dir: Path,
    name: str,
    selection: Selection,
    judged_rows: int,
    progress: Progress,
    moved: Mapping[str, str] | None,
) -> tuple[InspectedRun, list[dict[str, Any]]]:
    """Everything the page shows of a run: what it is, and its views of completions."""
    run = open_run(run_dir, moved)
    chosen = run.inputs.train_dataset.select(selection.positions(run.inputs.train_dataset))
    with _bar(progress, f"{name}: tokens", chosen) as advance:
        views = view_tokens(run.trainer, chosen, run.inputs.tokenizer, name, advance)
    record = read_record(run_dir, run.config)
    flat = run.config.to_flat()
    seen = InspectedRun(
        name=name,
        stage=run.config.stage,
        scheme=run.config.scheme,
        start=Path(run.config.model.model_name_or_path).name,
        parameters=sum(p.numel() for p in run.inputs.model.parameters()),
        heads=run.config.model.n_future,
        steps=_steps(record, run.config),
        settings={key: value for key, value in flat.items() if key not in _SHOWN_APART},
        record=record,
        quality=_judge(run, run_dir, name, judged_rows, progress),
    )
    return seen, views


def _judge(run: FinishedRun, run_dir: Path, name: str, most: int, progress: Progress) -> ValueQuality | None:
    """How good the run's values are on its evaluation rows, else on those that it trained on."""
    dataset, kind, path = run.inputs.eval_dataset, "evaluation", run.config.data.eval_file or run.config.data.train_file
    if dataset is None:
        dataset, kind, path = run.inputs.train_dataset, "training", run.config.data.train_file
    rows = dataset.select(range(0, len(dataset), -(-len(dataset) // most)))
    source = f"{kind} rows of {Path(str(path)).name}"
    with _bar(progress, f"{name}: values", rows) as advance:
        fresh = kind == "evaluation"
        quality = judge_values(run.trainer, rows, source, run.config.weighting.gamma, advance, fresh=fresh)
    critics = [run_dir, *filter(None, [run.config.separate_critic])]
    measured = next(filter(None, map(read_skill, critics)), None)
    return replace(quality, verdict=measured["verdict"]) if quality and measured else quality


@contextmanager
def _bar(progress: Progress, words: str, rows: Dataset) -> Iterator[Advance]:
    """A bar while the rows are gone through."""
    task = progress.add_task(words, total=len(rows))
    yield lambda count: progress.advance(task, count)
    progress.remove_task(task)


def _steps(record: Record, config: RunConfig) -> int | None:
    logged = [series.steps[-1] for series in record.values() if series.steps]
    if logged:
        return max(logged)
    return config.train.max_steps if config.train.max_steps > 0 else None


def _title(dirs: Sequence[Path]) -> str:
    names = [folder.resolve().name for folder in dirs]
    together = ", ".join(names)
    return together if len(together) <= _TITLE else f"{names[0]} and {len(names) - 1} more"


def _lead(runs: int, selection: Selection) -> str:
    which = "" if selection.label == "any" else f"{selection.label} "
    rows = "the named rows" if selection.rows is not None else f"up to {selection.count} {which}rows"
    return f"What {'a run' if runs == 1 else f'{runs} runs'} logged, and made of {rows} of the training file."
