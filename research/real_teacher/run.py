"""The parts, and the sizes that they have."""

from dataclasses import replace
from pathlib import Path

from research.on_policy.run import run
from research.real_teacher.cells import cells_of, choice_cells
from research.real_teacher.folds import GSM8K, FoldSize, fold_cells
from research.real_teacher.place import Size

SIZE = Size(0.0, 80, 1e-3, critic_steps=80, start_steps=400, start_learning_rate=5e-3, batch_size=16, test_prompts=250)


FOLDS = FoldSize(0.0, 0, 3e-3, batch_size=8, width=96, layers=2)
SOLUTIONS = replace(FOLDS, batch_size=16, tokens=120_000, problems=600)


def run_part(part: str, data: Path, out: Path, draws: int, size: Size = SIZE, folds: FoldSize | None = None) -> None:
    """Makes the cells of a part that are not there, one after another."""
    if part == "dyck":
        run(choice_cells(data, out, size), 1)
        run(list(dict.fromkeys(cells_of(data, out, size, draws))), 1)
    else:
        run(fold_cells(part, data, out, folds or (SOLUTIONS if part == GSM8K else FOLDS)), 1)
