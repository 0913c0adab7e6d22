"""Small critics from scratch by folds of a task's problems, and a language model of the same rows."""

import hashlib
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from research.on_policy.cells import Cell, trained
from research.on_policy.place import Budget, Place, Row
from research.real_teacher import dyck
from research.real_teacher.bpe import byte_pairs
from research.real_teacher.place import SPLIT
from research.real_teacher.steps import (
    critic_readings,
    found_steps,
    is_judged,
    language_model_readings,
    position_readings,
)
from research.real_teacher.traces import SOLUTIONS, TRACES, read_solutions, read_traces
from weighted_mtp.data import load_rows
from weighted_mtp.evaluation.critic_skill import log_odds_of_row
from weighted_mtp.models import MTPModel
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score

TASKS = ("dyck_languages", "logical_deduction", "multistep_arithmetic", "tracking_shuffled_objects", "word_sorting")
GSM8K = "gsm8k"
FOLD = "fold"
EVALUATIONS = 3
"""Of a critic, by which it stops early."""
GENERATIVE, VALUE_HEAD, PLAIN = "generative", "value head", "language model"


@dataclass(frozen=True)
class FoldSize(Budget):
    """Sizes of the models of a fold; those of `Budget` that speak of samples mean nothing here."""

    tokens: int = 40_000  # that each model reads while it is trained
    problems: int = 1_000  # of a task at most, drawn at random
    longest: int = 3_000  # tokens of a row
    vocabulary: int = 1_024  # of the byte-level BPE


@dataclass(frozen=True)
class Fold(Place):
    """A fold of a task: `seed` is its number, and models are trained on the others."""

    budget: FoldSize
    data: Path = field(default=Path(), kw_only=True)

    @property
    def name(self) -> str:
        """Of the folders."""
        return f"{self.task}-fold{self.seed}"

    @property
    def file(self) -> Path:
        """Where the task's rows lie."""
        return self.data / (SOLUTIONS if self.task == GSM8K else TRACES.format(task=self.task))

    @cached_property
    def every(self) -> list[Row]:
        """All rows of the task."""
        return read_solutions(self.data) if self.task == GSM8K else read_traces(self.data, self.task)

    @cached_property
    def tokenizer(self) -> Any:
        """Of all rows' texts: it holds no label."""
        texts = [row["prompt"] + row["completion"] for row in self.every]
        return dyck.tokenizer(texts) if self.task == TASKS[0] else byte_pairs(texts, self.budget.vocabulary)

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Text -> tokens."""
        texts = [row["prompt"] + row["completion"] for row in self.every]
        return {text: len(ids) for text, ids in zip(texts, self.tokenizer(texts)["input_ids"], strict=True)}

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """Rows to train on and those held out, of a problem all on one side; on none what is too long or too much.

        Problems of brackets that are renamings of one another are one problem.
        """
        some = [r for r in self.every if self.lengths[r["prompt"] + r["completion"]] <= self.budget.longest]
        of = [dyck.canonical(r["prompt"]) if self.task == TASKS[0] else r["prompt"] for r in some]
        problems = list(dict.fromkeys(of))
        random.Random(self.task).shuffle(problems)
        used = problems[: self.budget.problems]
        mine = set(used[self.seed :: self.budget.folds])
        sides = {"train": set(used) - mine, "held_out": mine}
        return {name: [row for row, one in zip(some, of, strict=True) if one in side] for name, side in sides.items()}

    @property
    def most_tokens(self) -> int:
        """Of a row, with an end and room for a condition."""
        return min(self.budget.longest, max(self.lengths.values())) + 4

    def as_dict(self) -> dict[str, Any]:
        """What a result says of its fold, and of the data."""
        digest = hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]
        return super().as_dict() | {"budget": asdict(self.budget), "rows": digest, "split": SPLIT}


@dataclass(frozen=True)
class FoldCell(Cell):
    """A fold with all that is trained on the others."""

    def first(self) -> set[str]:
        """Nothing must be there before."""
        return set()

    def work(self) -> Callable[[Place], dict[str, Any]]:
        """What makes it."""
        own: Any = _outcomes if self.place.task == GSM8K else _steps
        return own


def _models(place: Fold, kinds: Sequence[str]) -> dict[str, Path]:
    """Trained on the rows of the other folds: a share of their problems is kept back, by which critics stop early."""
    b, rows = place.budget, place.rows["train"]
    place.write_untrained()
    place.write("train", rows)
    place.write("held_out", place.rows["held_out"])
    mean = fmean(place.lengths[row["prompt"] + row["completion"]] for row in rows)
    steps = max(8, round(b.tokens / mean / b.batch_size))
    common = {"max_steps": steps, "learning_rate": b.learning_rate, "per_device_eval_batch_size": 16}
    critic = {"stage": "critic", "eval_share": 0.2, "eval_steps": max(2, steps // EVALUATIONS)}
    settings = {
        GENERATIVE: critic | {"critic": "generative", "value_coef": 0.5},
        VALUE_HEAD: critic | {"value_coef": 4.0},
        PLAIN: {"stage": "baseline"},
    }
    start = place.folder / "untrained"
    return {kind: trained(place, kind.replace(" ", "-"), start, "train", common | settings[kind]) for kind in kinds}


def _scoring(place: Fold, critic: Path) -> ScoreConfig:
    out = place.folder / f"{critic.name}-held-out"
    shutil.rmtree(out, ignore_errors=True)
    held_out = str(place.folder / "held_out.jsonl")
    return ScoreConfig(str(critic), held_out, str(out), max_length=place.most_tokens, batch_size=8)


def _steps(place: Fold) -> dict[str, Any]:
    """Who finds the marked steps of the fold."""
    rows, tokenizer = place.rows["held_out"], place.tokenizer
    models = _models(place, (GENERATIVE, VALUE_HEAD, PLAIN))
    readings = position_readings(rows, place.rows["train"])
    readings |= language_model_readings(MTPModel.from_pretrained(models[PLAIN]), tokenizer, rows, batch_size=8)
    log_odds: dict[str, list[float]] = {}
    for kind in (GENERATIVE, VALUE_HEAD):
        config = _scoring(place, models[kind])
        readings |= critic_readings(config, kind, tokenizer, rows)
        log_odds[kind] = [log_odds_of_row(row) for row in load_rows(config.out)[0]]
    shutil.rmtree(place.folder)
    return _told(place, log_odds) | {"found": found_steps(readings, rows)}


def _outcomes(place: Fold) -> dict[str, Any]:
    """What critics say of the fold's solutions."""
    log_odds: dict[str, list[float]] = {}
    for kind, critic in _models(place, (GENERATIVE, VALUE_HEAD)).items():
        config = _scoring(place, critic)
        score(config, quiet=True)
        log_odds[kind] = [log_odds_of_row(row) for row in load_rows(config.out)[0]]
    shutil.rmtree(place.folder)
    return _told(place, log_odds)


def _told(place: Fold, log_odds: dict[str, list[float]]) -> dict[str, Any]:
    """What is kept of each held-out row: its problem, its outcome, its length, and what critics say of it."""
    rows = place.rows["held_out"]
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(row["prompt"] for row in rows))}
    return {
        "all_rows": len(place.every),
        "judged": sum(map(is_judged, rows)),
        "problems": [number[row["prompt"]] for row in rows],
        "right": [int(row["label"]) for row in rows],
        "tokens": [place.lengths[row["prompt"] + row["completion"]] for row in rows],
        "writers": [row.get("writer") for row in rows],
        "log_odds": {kind: [round(x, 4) for x in some] for kind, some in log_odds.items()},
    }


def fold_cells(part: str, data: Path, out: Path, size: FoldSize) -> list[FoldCell]:
    """The folds of a part."""
    tasks = (GSM8K,) if part == GSM8K else TASKS
    return [FoldCell(Fold(t, 0, fold, out, size, data=data), FOLD) for t in tasks for fold in range(size.folds)]
