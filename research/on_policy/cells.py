"""The trainings: each arm of each round of each draw is a cell, cached as a JSON file of its own."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from research.on_policy.arms import (
    ARMS,
    AWAY,
    DRAWN,
    EQUAL_COMPUTE,
    EVALUATED,
    FEW,
    GATED_BY_QUARTER,
    GUIDED,
    IMPLICIT_CRITIC,
    MORE_SAMPLES,
    OF_EVIDENCE,
    ORACLE_BEHIND,
    ROW_GATED,
    SKILL,
    START,
    TRIED,
    needs,
    skill_of,
)
from research.on_policy.critics import quality, skill
from research.on_policy.place import Place, Row
from research.on_policy.weights import write_by_quarter, write_change_point, write_drawn, write_row_gated
from research.weights import whitened_weights
from weighted_mtp.demo.arms import GENERATIVE, Arm
from weighted_mtp.files import write_text
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.run import train


@dataclass(frozen=True)
class Cell:
    """One arm, critic or start of one round; all that a worker needs to know."""

    place: Place
    name: str

    @property
    def file(self) -> Path:
        """Where its result is."""
        return self.place.out / "cells" / self.place.name / f"{self.name}.json"

    def needs(self, other: "Cell") -> bool:
        """Whether the other cell must be there first."""
        mine, theirs = self.place, other.place
        if mine.name == theirs.name:
            return other.name in self.first()
        before = mine.before
        return before is not None and before.name == theirs.name and other.name == mine.lineage[-1]

    def first(self) -> set[str]:
        """Cells of the same round that must be there first."""
        return needs(self.name)

    def work(self) -> Callable[[Place], dict[str, Any]]:
        """What makes it."""
        named = {START: start, GUIDED.name: _guided}
        named |= {skill_of(critic.name): partial(skill, critic=critic.name) for critic in (GENERATIVE, IMPLICIT_CRITIC)}
        return named.get(self.name) or Trained(ARMS[self.name])

    def finished(self) -> dict[str, Any] | None:
        """Its result, where it was made as it is asked for now."""
        if not self.file.exists():
            return None
        found = json.loads(self.file.read_text())
        return found if found["asked"] == self._asked() else None

    def _asked(self) -> dict[str, Any]:
        arm = ARMS.get(self.name)
        definition = None if arm is None else {**vars(arm), "options": dict(arm.options)}
        return json.loads(json.dumps(self.place.as_dict() | {"name": self.name, "definition": definition}))


def run_cell(cell: Cell) -> dict[str, Any]:
    """Makes one cell, or reads it where it is there."""
    if (finished := cell.finished()) is not None:
        return finished
    started = time.process_time()
    found = cell.work()(cell.place)
    result = {"asked": cell._asked(), "cpu_seconds": round(time.process_time() - started, 2), **found}
    write_text(cell.file, json.dumps(result, indent=1) + "\n")
    return result


def _begun(place: Place) -> dict[str, Any]:
    """The start of the draw's first round is trained; that of a later one is there."""
    if place.lineage:
        return {}
    b = place.budget
    place.write_first()
    settings = {"stage": "baseline", "learning_rate": b.start_learning_rate, "seed": place.seed}
    first = settings | {"max_steps": b.start_steps, "lr_scheduler_type": "constant_with_warmup"}
    until = _UntilShare(place)
    before = trained(place, "begun", place.folder / "untrained", "demonstrations", first, [until])
    last = settings | {"max_steps": b.last_steps, "warmup_steps": 0, "seed": place.seed + 1}
    trained(place, "start", before, "demonstrations", last)
    return {"start_steps": until.steps + b.last_steps}


def start(place: Place, begin: Callable[[Any], dict[str, Any]] = _begun) -> dict[str, Any]:
    """The start, which `begin` makes, and what it writes: its samples are the rows."""
    began, b = time.process_time(), place.budget
    told = begin(place)
    ended = time.process_time()
    prompts = [p for p in place.problems[f"round{len(place.lineage)}"] for _ in range(b.samples)]
    rows = place.judged(prompts, place.decode(place.start, prompts, sampled="train"))
    sampled = time.process_time()
    place.write("train", rows)
    for name, weigh in (("oracle", 0.0), ("signed_oracle", AWAY)):
        place.write(name, ({**row, "weights": _of_truth(row, weigh)} for row in rows))
    weights = whitened_weights([row["logprobs"] for row in rows])
    place.write("surprisal", ({**row, "weights": some} for row, some in zip(rows, weights, strict=True)))
    fresh = [p for p in place.problems["test"] for _ in range(b.fresh_samples)]
    place.write("fresh", judged := place.judged(fresh, place.decode(place.start, fresh, sampled="fresh")))
    greedy = place.judged(place.problems["test"], place.decode(place.start, place.problems["test"]))
    wrong = sum(sum(_errors(row)) for row in rows)
    return {
        "greedy": _share(greedy, b.test_prompts),
        "sampled": _share(judged, len(fresh)),
        "rows": len(rows),
        "share_right": _share(rows, len(rows)),
        "right_with_error": sum(row["label"] and any(row["token_error"]) for row in rows) / len(rows),
        "wrong_tokens_a_row": wrong / len(rows),
        **told,
        "train_cpu_seconds": round(ended - began, 2),
        "sampling_cpu_seconds": round(sampled - ended, 2),
    }


def _share(rows: list[Row], of: int) -> float:
    """Right ones; completions without a token are no rows, and wrong."""
    return sum(row["label"] for row in rows) / of


def _of_truth(row: Row, wrong: float) -> list[float]:
    """A weight for each token, the end included where one was written."""
    return [wrong if error else 1.0 for error in _errors(row)]


def _errors(row: Row) -> list[bool]:
    return [*row["token_error"], *([row["wrong_end"]] if "wrong_end" in row else [])]


class _UntilShare(TrainerCallback):
    """Ends the start's training at a constant rate once enough samples of the validation problems are right.

    A fixed number of steps would leave from 6 to 60 % right: what is learned comes late and at once.
    """

    def __init__(self, place: Place) -> None:
        self.place, self.steps = place, 0

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Looks every 10 steps; the random state is left as it was."""
        self.steps = state.global_step
        if self.steps % 10 == 0:
            prompts = self.place.problems["validation"]
            right = self.place.judged(prompts, self.place.decode(model, prompts, sampled=f"validation {self.steps}"))
            control.should_training_stop |= _share(right, len(prompts)) >= self.place.budget.start_share


def trained(
    place: Place, name: str, start: Path, rows: str, settings: dict[str, Any], watched: Sequence[TrainerCallback] = ()
) -> Path:
    """The folder of a model that was trained on a file of the place's rows."""
    b, folder = place.budget, place.folder / name
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted cell left
    common = {
        "model_name_or_path": str(start), "train_file": str(place.folder / f"{rows}.jsonl"), "output_dir": str(folder),
        "max_length": place.most_tokens, "per_device_train_batch_size": b.batch_size, "seed": place.seed,
        "per_device_eval_batch_size": 256, "weight_decay": 0.01, "warmup_steps": 10, "lr_scheduler_type": "cosine",
        "trainer_args": {"adam_beta2": 0.98}, "save_steps": 0, "logging_steps": 50, "tracking_uri": "none",
    } | place.training  # fmt: skip
    train(RunConfig.from_flat(common | settings), quiet=True, callbacks=watched)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return folder


@dataclass(frozen=True)
class Trained:
    """An arm or a critic."""

    arm: Arm

    def __call__(self, place: Place) -> dict[str, Any]:
        """Trains it, and says what it solves and knows."""
        arm, b, told = self.arm, place.budget, dict[str, Any]()
        rows, began = arm.rows, time.process_time()
        _, steps, rate = TRIED.get(arm.name, (arm, b.steps, b.learning_rate))
        if arm in EQUAL_COMPUTE:
            steps, told = self._more(place)
        stage, scheme, options = arm.stage, arm.scheme, self._options(place)
        if arm.name in DRAWN:
            rows = write_drawn(place, DRAWN[arm.name], options.get("skill", 0.0) if arm.scheme == "gated" else 1.0)
            stage, scheme, options = "baseline", "column", {}
        if arm in OF_EVIDENCE:
            write = write_row_gated if arm in ROW_GATED else write_change_point
            known = json.loads(Cell(place, skill_of(arm.rows)).file.read_text())["skill"]
            rows = write(place, arm.rows, min(1.0, known["slope"]["low"] or 0.0) if known["gate"] else 0.0)
        if arm == ORACLE_BEHIND:
            rows = write_oracle_behind(place)
        if arm == GATED_BY_QUARTER:
            rows = write_by_quarter(place)
        settings = {
            "stage": stage, "scheme": scheme, "scheme_options": options, "keep": arm.keep,
            "max_steps": steps, "learning_rate": rate, "n_future": arm.n_future,
        }  # fmt: skip
        if arm.stage == "critic":
            coefficient = 0.5 if arm.critic == "generative" else 4.0
            kind = None if arm.critic == "value_head" else arm.critic or None
            settings |= {"critic": kind, "value_coef": coefficient, "max_steps": b.critic_steps}
            settings |= {"eval_share": 0.1, "eval_steps": b.critic_steps // place.looks}
        elif stage == "verifiable":
            settings |= {"critic": str(place.folder / arm.critic)}
        folder = trained(place, arm.name, place.start, rows, settings)
        told["train_cpu_seconds"] = round(time.process_time() - began, 2)
        if arm.is_policy:
            told |= solved_by(place, folder, condition=arm.decode_under or None)
        if arm.stage == "critic":
            told |= quality(place, folder)
        elif arm not in FEW or b.rounds == 1:
            shutil.rmtree(folder)
        return told

    def _options(self, place: Place) -> dict[str, Any]:
        """Of the scheme; `gated` is told to mix, which by itself it does not on own samples."""
        if self.arm.scheme != "gated":
            return self.arm.options
        gate = json.loads(Cell(place, SKILL).file.read_text())["skill"]["gate"]
        return {"skill": gate} if gate else {}

    def _more(self, place: Place) -> tuple[int, dict[str, Any]]:
        """The compute of the generative critic and its folds, as samples or as steps; no more samples than the steps
        read once."""
        b = place.budget
        start, critic, skill = (json.loads(Cell(place, n).file.read_text()) for n in (START, GENERATIVE.name, SKILL))
        seconds = critic["train_cpu_seconds"] + skill["cpu_seconds"]
        told = {"critics_cpu_seconds": seconds}
        if self.arm != MORE_SAMPLES:
            plain = json.loads(Cell(place, "right_only").file.read_text())["train_cpu_seconds"]
            steps = round(b.steps * (1 + seconds / plain))
            return steps, told | {"steps": steps}
        affordable = seconds / start["sampling_cpu_seconds"]
        readable = b.steps * b.batch_size / max(1, start["share_right"] * start["rows"]) - 1
        again = min(affordable, max(0.0, readable))
        every = place.problems[f"round{len(place.lineage)}"]
        prompts = [every[i % len(every)] for i in range(round(again * start["rows"]))]
        more = place.judged(prompts, place.decode(place.start, prompts, sampled="more"))
        place.write("more", [*place.read("train"), *more])
        return b.steps, told | {"more_rows": len(prompts), "affordable_rows": round(affordable * start["rows"])}


def write_oracle_behind(place: Place) -> str:
    """Writes the rows with weight for what comes before their first wrong token, unless the start has."""
    name = ORACLE_BEHIND.rows
    if not (place.folder / f"{name}.jsonl").exists():
        rows = [{**row, "weights": np.cumprod(np.invert(_errors(row))).tolist()} for row in place.read("train")]
        place.write(name, [row for row in rows if any(row["weights"])])
    return name


def solved_by(place: Place, model: Path, **how: Any) -> dict[str, Any]:
    """Share of the test problems that greedy decoding solves, and of samples at temperature 1."""
    problems = place.problems["test"]
    several = [p for p in problems for _ in range(EVALUATED)]
    greedy = place.judged(problems, place.decode(model, problems, **how))
    sampled = place.judged(several, place.decode(model, several, sampled="test", **how))
    shares = {"greedy": _share(greedy, len(problems)), "sampled": _share(sampled, len(several))}
    return shares | {
        "right_by_problem": {"greedy": by_problem(problems, greedy), "sampled": by_problem(problems, sampled)}
    }


def by_problem(problems: Sequence[str], rows: Iterable[Row]) -> str:
    """A digit for each problem: how many of its completions are right."""
    right = Counter(row["prompt"] for row in rows if row["label"])
    return "".join(str(right[problem]) for problem in problems)


def _guided(place: Place) -> dict[str, Any]:
    return solved_by(place, place.folder / GENERATIVE.name, condition="right", guidance=1.0)
