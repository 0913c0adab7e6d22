"""`wmtp inspect`: look at what a run made of its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from weighted_mtp.data import is_right
from weighted_mtp.inspection.run_dirs import check_finished
from weighted_mtp.inspection.tokens import view_tokens
from weighted_mtp.reports.terminal import print_tokens
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import Inputs, load_inputs
from weighted_mtp.training.run import make_trainer
from weighted_mtp.training.trainer import WeightedMTPTrainer


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended, with everything in memory that is needed to look at its tokens."""

    config: RunConfig  # as it was trained
    inputs: Inputs  # its rows, and the model that it left
    trainer: WeightedMTPTrainer  # with stage, scheme and the scheme's statistics; it trains no more


def open_run(run_dir: Path, moved: Mapping[str, str] | None = None) -> FinishedRun:
    """Reads a finished run; `moved` are those of train_file, eval_file, critic and reference that lie elsewhere now."""
    saved = check_finished(run_dir, moved)
    config = saved.of_finished(run_dir)
    inputs = load_inputs(config, trains=False)
    trainer = make_trainer(config, inputs, quiet=True)
    trainer.load_weighting(run_dir)
    return FinishedRun(saved, inputs, trainer)


def inspect_run(
    run_dir: Path,
    rows: list[int] | None,
    count: int,
    label: str,
    console: Console,
    moved: Mapping[str, str] | None = None,
) -> None:
    """Prints completions of a run's training file with every token coloured by its weight: the rows of these numbers;
    where `rows` is None, the first `count` that are right, wrong or any."""
    run = open_run(run_dir, moved)
    dataset = run.inputs.train_dataset
    chosen = _choose(dataset["reward"], count, label) if rows is None else find_rows(dataset["row_id"], rows)
    views = view_tokens(run.trainer, dataset.select(chosen), run.inputs.tokenizer, run_dir.name)
    print_tokens(console, views)  # pyright: ignore[reportArgumentType]


def _choose(rewards: Sequence[float], count: int, label: str) -> list[int]:
    wanted = {"right": (True,), "wrong": (False,), "any": (True, False)}[label]
    return [i for i, reward in enumerate(rewards) if is_right(reward) in wanted][:count]


def choose_evenly(rewards: Sequence[float], count: int, label: str) -> list[int]:
    """The first rows of the wanted label; of any, as many right ones as wrong ones, as far as there are.

    >>> choose_evenly([1, 1, 1, 0, 0, 0], 4, "any"), choose_evenly([1, 1, 1, 0], 4, "any")
    ([0, 1, 3, 4], [0, 1, 2, 3])
    """
    if label != "any":
        return _choose(rewards, count, label)
    right, wrong = _choose(rewards, count, "right"), _choose(rewards, count, "wrong")
    n_wrong = max(count // 2, count - len(right))
    chosen = wrong[:n_wrong]
    return sorted(chosen + right[: count - len(chosen)])


def find_rows(row_ids: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Positions of rows by the number that errors name them by; dropped rows have none."""
    position = {row_id: i for i, row_id in enumerate(row_ids)}
    missing = [row for row in wanted if row not in position]
    if missing:
        raise ConfigError(
            f"row {missing[0]} is not there: the run trained on {len(row_ids)} rows, up to {max(row_ids)}"
        )
    return [position[row] for row in wanted]
