"""The students' trainings: each arm of each draw is a cell, as in `research.on_policy`, on the teacher's traces."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from research.on_policy.arms import ARMS, AWAY, CHOICES, GUIDED, MORE_STEPS, ORACLE_BEHIND, START, with_needs
from research.on_policy.cells import Cell, solved_by, trained
from research.on_policy.place import Place
from research.real_teacher.dyck import deepest, renamed
from research.real_teacher.place import SPLIT, Size, Students
from research.real_teacher.steps import (
    critic_readings,
    found_steps,
    is_judged,
    language_model_readings,
    position_readings,
    surprisal_and_entropy,
)
from research.weights import whitened_weights
from weighted_mtp.demo.arms import (
    CRITIC,
    GATED,
    GENERATIVE,
    LOG_ODDS,
    ORACLE,
    RIGHT_ONLY,
    SHUFFLED_ACROSS,
    TD_WHITENED,
    UNIFORM,
)
from weighted_mtp.models import MTPModel
from weighted_mtp.training.score_settings import ScoreConfig

SIGNED_ORACLE = "signed_oracle"
LOCATED = "located"
"""The cell in which the critics look for the marked steps of the traces held out."""
FIRST = (UNIFORM, RIGHT_ONLY, ORACLE, ORACLE_BEHIND, LOG_ODDS, GATED)
"""Of every draw before any other arm."""
MAIN = (
    *FIRST,
    TD_WHITENED,
    GUIDED,
    *(ARMS[name] for name in ("surprisal", "dft_right", "return_weighted")),
    SHUFFLED_ACROSS,
    MORE_STEPS,
    *(ARMS[name] for name in ("implicit", "signed", "w_reinforce", SIGNED_ORACLE)),
)
TRIED = tuple(CHOICES)[:2]
"""Steps and rates that right_only is tried with on the draw outside."""
OUTSIDE = 1_000


@dataclass(frozen=True)
class StudentCell(Cell):
    """A cell of a draw of the students."""

    def first(self) -> set[str]:
        """Cells that must be there before it."""
        return {START, GENERATIVE.name, CRITIC.name} if self.name == LOCATED else super().first()

    def work(self) -> Callable[[Place], dict[str, Any]]:
        """What makes it."""
        own: dict[str, Callable[[Any], dict[str, Any]]] = {START: _start, LOCATED: _located}
        return own.get(self.name) or super().work()


def _start(place: Students) -> dict[str, Any]:
    """One model learns all traces alike, with brackets renamed in every way; every arm and critic starts from it."""
    b, rows, began = place.budget, place.rows, time.process_time()
    place.write_untrained()
    place.write("train", rows["train"])
    place.write("fresh", rows["held_out"])
    texts = [(row["prompt"], row["completion"]) for row in rows["train"]]
    copies = [pair for given, trace in texts for pair in zip(renamed(given), renamed(trace), strict=True)]
    place.write("renamed", ({"prompt": given, "completion": trace, "label": True} for given, trace in copies))
    settings = {"stage": "baseline", "learning_rate": b.start_learning_rate, "max_steps": b.start_steps}
    folder = trained(place, "start", place.folder / "untrained", "renamed", settings)
    seconds = time.process_time() - began
    write_marked(place)
    told = surprisal_and_entropy(MTPModel.from_pretrained(folder), place.tokenizer, rows["train"])
    weights = whitened_weights([[-x for x in surprisal] for surprisal, _ in told])
    place.write("surprisal", ({**r, "weights": w} for r, w in zip(rows["train"], weights, strict=True)))
    every = place.traces
    return solved_by(place, folder) | {
        "rows": len(rows["train"]),
        "held_out": len(rows["held_out"]),
        "split": SPLIT,
        "share_right": fmean(row["label"] for row in every),
        "marked_wrong": sum(is_judged(row) for row in every),
        "marked_right": sum(row["label"] and row["marked"] is not None for row in every),
        "depth": [
            fmean(deepest(text) for text in texts) for texts in ([r["prompt"] for r in every], place.problems["test"])
        ],
        "train_cpu_seconds": round(seconds, 2),
    }


def write_marked(place: Students) -> None:
    """The training traces as the oracles weigh them."""
    for name, behind, marked in (
        (ORACLE.rows, False, 0.0),
        (ORACLE_BEHIND.rows, True, 0.0),
        (ARMS[SIGNED_ORACLE].rows, False, AWAY),
    ):
        rows = place.rows["train"]
        place.write(name, ({**row, "weights": place.weighed(row, marked, behind=behind)} for row in rows))


def _located(place: Students) -> dict[str, Any]:
    """Credit by step of the traces held out, against the marks."""
    rows = place.rows["held_out"]
    readings = position_readings(rows, place.rows["train"])
    readings |= language_model_readings(MTPModel.from_pretrained(place.start), place.tokenizer, rows)
    for critic in (GENERATIVE, CRITIC):
        out = place.folder / f"{critic.name}-held-out"
        shutil.rmtree(out, ignore_errors=True)
        config = ScoreConfig(
            str(place.folder / critic.name), str(place.folder / "fresh.jsonl"), str(out), max_length=place.most_tokens
        )
        readings |= critic_readings(config, critic.name, place.tokenizer, rows)
        shutil.rmtree(out)
    found = found_steps(readings, rows)
    return {"judged": sum(map(is_judged, rows)), "found": found}


def choice_cells(data: Path, out: Path, size: Size) -> list[StudentCell]:
    """Right-only on the draw outside, with every candidate's steps and rate."""
    place = Students("dyck", 0, OUTSIDE, out, size, data=data)
    return [StudentCell(place, name) for name in (START, *TRIED)]


def cells_of(data: Path, out: Path, size: Size, draws: int) -> Iterator[StudentCell]:
    """The cells of all draws, some of them twice, with what served right_only best on the draw outside."""
    outside = {c.name: c.finished() or {} for c in choice_cells(data, out, size) if c.name != START}
    steps, rate = CHOICES[max(outside, key=lambda name: outside[name].get("greedy", -1.0))]
    chosen = replace(size, steps=steps, learning_rate=rate)
    places = [Students("dyck", 0, seed, out, chosen, data=data) for seed in range(draws)]
    for names in (with_needs(FIRST), [*with_needs(MAIN), LOCATED]):
        yield from (StudentCell(place, name) for place in places for name in names)
