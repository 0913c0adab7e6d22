"""The sizes, and the order: the rule, steps and rate, the draws."""

from pathlib import Path

from research.on_policy.arms import OF_ADAPTERS
from research.on_policy.run import run
from research.own_smollm2.cells import HIGHEST, LOWEST, TAKEN, cells_of, choice_cells, rule_cells, taken
from research.own_smollm2.place import Own, Size
from weighted_mtp.training.errors import ConfigError

SIZE = Size(
    0.0, *OF_ADAPTERS[0], critic_steps=30, start_learning_rate=3e-3, start_steps=40, batch_size=16, demonstrations=640,
    prompts=320, samples=4, test_prompts=200, validation_prompts=200, fresh_samples=2, rounds=1,
)  # fmt: skip


def run_all(out: Path, draws: int, jobs: int, size: Size = SIZE) -> None:
    """Makes the cells that are not there.

    Raises:
        ConfigError: the rule takes too few tasks.
    """
    tasks = rule(out, size)
    run(choice_cells(tasks, out, size), jobs)
    run(list(cells_of(tasks, out, size, draws)), jobs)


def rule(out: Path, size: Size) -> list[str]:
    """The tasks: candidates are looked at one after another until enough are taken."""
    seen: dict[str, float] = {}
    Own("", 0, 0, out, size).write_base()
    for cell in rule_cells(out, size):
        run([cell], 1)
        task = cell.place.task
        seen[task] = (cell.finished() or {})["sampled"]
        print(f"{task}: {seen[task]:.1%} of the samples right, {'taken' if task in taken(seen) else 'not taken'}")
        if len(taken(seen)) == TAKEN:
            return taken(seen)
    raise ConfigError(
        f"only {len(taken(seen))} of the candidates are {100 * LOWEST:.0f} to {100 * HIGHEST:.0f} % right"
    )
