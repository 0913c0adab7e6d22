"""One draw of the students: PaLM 2's traces split anew, the model that all arms start from, and fresh problems."""

import hashlib
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from research.on_policy.place import Budget, Place, Row
from research.real_teacher import dyck
from research.real_teacher.traces import TRACES, read_traces, step_of_tokens
from weighted_mtp.evaluation.decoding import Completion

TASK = "dyck_languages"
SPLIT = "by renaming"
"""What is kept on one side of train and test: prompts that are renamings of one another."""


@dataclass(frozen=True)
class Size(Budget):
    """Sizes, steps and rates; those of `Budget` that speak of own samples mean nothing here."""

    most_brackets: int = 24  # of a problem with its closing sequence
    most_trace: int = 160  # tokens of a trace
    held_out: float = 0.15  # share of the traces that nothing is trained on


@dataclass(frozen=True)
class Students(Place):
    """A draw; its folder has the layout of a round of `research.on_policy`."""

    budget: Size
    data: Path = field(default=Path(), kw_only=True)
    """Folder that holds the teacher's traces."""

    @cached_property
    def every(self) -> list[Row]:
        """All of the teacher's traces."""
        return read_traces(self.data, TASK)

    @cached_property
    def traces(self) -> list[Row]:
        """The teacher's traces that are short enough, all of them."""
        b = self.budget
        some = [r for r in self.every if _shape(r)[0] <= b.most_brackets]
        return [r for r in some if len(self.tokenizer(r["completion"])["input_ids"]) <= b.most_trace]

    @cached_property
    def tokenizer(self) -> Any:
        """Of all traces: it holds no label."""
        return dyck.tokenizer(row["prompt"] + row["completion"] for row in self.every)

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """The traces to train on and those that are held out, drawn anew with each draw.

        The start learns every renaming of what it is trained on, so traces whose prompts are renamings of one another
        lie on one side.
        """
        groups: dict[str, list[Row]] = {}
        for row in self.traces:
            groups.setdefault(dyck.canonical(row["prompt"]), []).append(row)
        order = list(groups.values())
        random.Random(f"split {self.seed}").shuffle(order)
        most = round(self.budget.held_out * len(self.traces))
        train, held_out = list[Row](), list[Row]()
        for group in order:
            (held_out if len(held_out) + len(group) <= most else train).extend(group)
        return {"train": train, "held_out": held_out}

    @cached_property
    def problems(self) -> dict[str, list[str]]:
        """Fresh problems; the teacher was given none of them, and no renaming of one."""
        known = [row["prompt"].strip() for row in self.every]
        rng = random.Random(f"{TASK} {self.seed}")
        fresh = dyck.problems(rng, [_shape(row) for row in self.traces], self.budget.test_prompts, known)
        return {"test": [text + "\n" for text in fresh]}

    @property
    def most_new_tokens(self) -> int:
        """Of a completion, its end included."""
        return self.budget.most_trace + 1

    @property
    def most_tokens(self) -> int:
        """Of a prompt and a completion."""
        return self.budget.most_brackets + 1 + self.most_new_tokens

    @property
    def start(self) -> Path:
        """What every arm and critic starts from."""
        return self.folder / "start"

    def judged(self, prompts: Iterable[str], completions: Iterable[Completion]) -> list[Row]:
        """Completions as rows, with what the program says: whether the closing sequence is right."""
        return [
            {"prompt": prompt, "label": one.ended == "eos" and dyck.answer(one.text) == dyck.closing(prompt)}
            for prompt, one in zip(prompts, completions, strict=True)
        ]

    def weighed(self, row: Row, wrong: float, *, behind: bool) -> list[float]:
        """A weight for each learned token: 1, or `wrong` in the marked step, and in all behind it if asked for."""
        marked, steps = row["marked"], step_of_tokens(self.tokenizer, row["completion"])
        if marked is None:
            return [1.0] * len(steps)
        return [wrong if step == marked or (behind and step > marked) else 1.0 for step in steps]

    def as_dict(self) -> dict[str, Any]:
        """What a result says of its draw, and of the data."""
        digest = hashlib.sha256((self.data / TRACES.format(task=TASK)).read_bytes()).hexdigest()[:16]
        return super().as_dict() | {"budget": asdict(self.budget), "traces": digest, "split": SPLIT}


def _shape(row: Row) -> tuple[int, int]:
    """Brackets of a problem with its closing sequence, and of that."""
    last = len(row["target"].split())
    return len(row["prompt"].split()) + last, last
