"""`wmtp inspect` and `wmtp generate`: look at what a run made of its tokens, and at what its model writes."""

from pathlib import Path

from rich.console import Console

from weighted_mtp.evaluation.decoding import decode
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.reports.terminal import print_tokens
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.inspection import view_tokens
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.run import make_trainer
from weighted_mtp.training.settings import ConfigError


def inspect_run(run_dir: Path, rows: list[int] | None, count: int, label: str, console: Console) -> None:
    """Prints completions of a run's training file with every token coloured by its weight.

    Args:
        run_dir: output directory of a finished `wmtp train`.
        rows: row numbers to show; None takes the first `count` with the wanted label.
        count: how many rows are shown.
        label: right, wrong or any.
        console: where they go.
    """
    saved = RunConfig.load(run_dir)
    if not (run_dir / "config.json").exists():
        raise ConfigError(
            f"{run_dir} holds no finished model: end the run first (wmtp train ... --resume auto)"
        )
    config = saved.of_finished(run_dir)
    inputs = load_inputs(config)
    trainer = make_trainer(config, inputs, quiet=True)
    trainer.load_weighting(run_dir)
    dataset = inputs.train_dataset
    chosen = _choose(dataset["reward"], count, label) if rows is None else _find(dataset["row_id"], rows)
    views = view_tokens(trainer, dataset.select(chosen), inputs.tokenizer, run_dir.name)
    print_tokens(console, views)  # pyright: ignore[reportArgumentType]


def _choose(rewards: list[float], count: int, label: str) -> list[int]:
    wanted = {"right": (True,), "wrong": (False,), "any": (True, False)}[label]
    return [i for i, reward in enumerate(rewards) if (reward > 0.5) in wanted][:count]


def _find(row_ids: list[int], wanted: list[int]) -> list[int]:
    """Positions of rows by the number that errors name them by; dropped rows have none."""
    position = {row_id: i for i, row_id in enumerate(row_ids)}
    missing = [row for row in wanted if row not in position]
    if missing:
        raise ConfigError(
            f"row {missing[0]} is not there: the run trained on {len(row_ids)} rows, up to {max(row_ids)}"
        )
    return [position[row] for row in wanted]


def generate_text(
    model_dir: str, prompt: str, max_new_tokens: int, temperature: float, label: str | None = None
) -> str:
    """One completion of a prompt by head 0; a generative critic may be told the label."""
    model, tokenizer = MTPModel.from_pretrained(model_dir), load_tokenizer(model_dir)
    if label is not None and model.label_condition is None:
        raise ConfigError(f"--label {label}: {model_dir} is no generative critic, so it takes no label")
    return decode(
        model,
        tokenizer,
        [prompt],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        condition=label,
    )[0]
