"""The steps of a round, as commands, and what each costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.improve.settings import ImproveConfig
from weighted_mtp.improve.steps import Step
from weighted_mtp.training.config import RunConfig

_LOOKED_AT = 2_000  # rows whose mean length is taken for that of all


def round_dir(config: ImproveConfig, number: int) -> Path:
    """The folder of a round; 0 holds the evaluation of the start model."""
    return Path(config.out) / f"round{number}"


def model_after(config: ImproveConfig, number: int) -> str:
    """What a round left: it is evaluated, and writes the rows of the next one."""
    return str(round_dir(config, number) / "student") if number else config.model


def evaluation(config: ImproveConfig, number: int) -> Step:
    """The held-out problems, answered by what the round left."""
    folder = round_dir(config, number)
    settings = config.evaluation(model_after(config, number), str(folder / "evaluation"))
    return Step("evaluation", folder, "evaluate", settings)


def sampling(config: ImproveConfig, number: int) -> Step:
    """What the round trains on is written by what the round before left."""
    folder = round_dir(config, number)
    settings = config.sampling(model_after(config, number - 1), str(folder / "rows.jsonl"), number)
    return Step("sample", folder, "sample", settings)


def learning(config: ImproveConfig, number: int) -> Iterator[Step]:
    """Critic, its skill on held-out completions, scores, and student, as far as they are wanted."""
    folder = round_dir(config, number)
    rows, critic, scores = (str(folder / name) for name in ("train.jsonl", "critic", "scores"))
    if config.critic is not None:
        settings = config.training_critic(model_after(config, number - 1), rows, critic)
        yield Step("critic", folder, "train critic", settings, ("--resume=auto",))
        of_skill = config.scoring(critic, str(folder / "skill.jsonl"), str(folder / "skill"))
        plain = {
            name: x for name, x in of_skill.items() if name not in ("scheme", "scheme_options", "format", "cross_fit")
        }
        yield Step("skill", folder, "score", plain)
    if config.scored:
        yield Step("scores", folder, "score", config.scoring(critic, rows, scores))
    start = model_after(config, number - 1) if config.start_from == "previous" else config.model
    settings = config.training(start, scores if config.scored else rows, str(folder / "student"), critic)
    yield Step("student", folder, f"train {config.stage}", settings, ("--resume=auto",))


class Passes(NamedTuple):
    """What a training step does."""

    steps: int
    """Of the optimizer, at most where it may stop early."""
    rows: int
    """Seen, a row as often as it is."""
    sequence: int | None
    """Tokens of each where rows are packed."""


def passes(step: Step, rows: int) -> Passes:
    """How often a training step goes over so many rows."""
    config = RunConfig.from_flat({"stage": step.command.split()[1]} | dict(step.settings))
    train = config.train
    batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
    steps = train.max_steps if train.max_steps > 0 else max(1, round(rows * train.num_train_epochs / batch + 0.4999))
    return Passes(steps, steps * batch, config.data.max_length if config.data.packing else None)


class Tokens:
    """Counts tokens by a model's tokenizer, which is loaded when the first are counted."""

    def __init__(self, model: str) -> None:
        self.model = model

    @cached_property
    def _tokenizer(self) -> Any:
        from weighted_mtp.models import load_tokenizer

        return load_tokenizer(self.model)

    def of(self, texts: list[Any]) -> int:
        """All tokens of some completions or prompts, text or messages."""
        plain = [text_of(text) for text in texts]
        return sum(map(len, self._tokenizer(plain, add_special_tokens=False)["input_ids"])) if plain else 0

    def of_rows(self, rows: Sequence[Mapping[str, Any]], most: int) -> float:
        """Mean tokens of a row, prompt included, of at most so many a row."""
        some = rows[:: -(-len(rows) // _LOOKED_AT)]
        both = [self.of([row["prompt"]]) + self.of([row["completion"]]) + 1 for row in some]
        return sum(min(length, most) for length in both) / len(both)


def text_of(value: Any) -> str:
    """A prompt or completion as text; of messages what each says, by its role."""
    if isinstance(value, str):
        return value
    return "\n".join(f"{message.get('role')}: {message.get('content') or ''}" for message in value)


def account_of(step: Step, tokens: Tokens) -> Callable[[], dict[str, Any]]:
    """What a finished step made, and its tokens: written (sample, evaluation), or read (about, in training)."""

    def sampled() -> dict[str, Any]:
        rows = read_json_lines(step.settings["out"])
        counts = {"rows": len(rows), "right": sum(row["verdict"] == "pass" for row in rows)}
        counts |= {"judged": sum(row["verdict"] != "error" for row in rows)}
        counts |= {"cut": sum("truncated" in row for row in rows)}
        return counts | {"tokens": tokens.of([row["completion"] for row in rows])}

    def evaluated() -> dict[str, Any]:
        rows = read_json_lines(Path(step.settings["out"]) / "samples.jsonl")
        return {"rows": len(rows), "tokens": tokens.of([row["completion"] for row in rows])}

    def scored() -> dict[str, Any]:
        rows = read_json_lines(step.folder / ("skill.jsonl" if step.name == "skill" else "train.jsonl"))
        found = {
            "rows": len(rows),
            "tokens": round(len(rows) * tokens.of_rows(rows, step.settings.get("max_length", 1024))),
        }
        return found | (_skill(step) if step.name == "skill" else {})

    def trained() -> dict[str, Any]:
        rows = read_json_lines(step.folder / "train.jsonl")
        used = [row for row in rows if row["label"]] if step.settings.get("keep") == "right" else rows
        done = passes(step, len(used))
        length = done.sequence or tokens.of_rows(used, step.settings.get("max_length", 1024))
        return {"rows": len(used), "steps": done.steps, "tokens": round(done.rows * length)}

    by_name = {"sample": sampled, "evaluation": evaluated, "scores": scored, "skill": scored}
    return by_name.get(step.name, trained)


def _skill(step: Step) -> dict[str, Any]:
    """How well the critic's values tell right from wrong on completions that it was not trained on."""
    from weighted_mtp.evaluation.critic_checks import quality_of_scores
    from weighted_mtp.training.skill import read_skill

    settings = step.settings
    quality, _ = quality_of_scores(
        settings["out"], settings["critic"], settings.get("gamma", 1.0), settings.get("turns", "all")
    )
    said = (read_skill(settings["out"]) or {}).get("verdict")
    return {"auc": quality.outcome_auc, "length_auc": quality.length_only_outcome_auc, "verdict": said}
