"""`python -m research.on_policy`: flags into cells."""

import sys
from typing import Literal

from research.command import flags_of, run_cells
from weighted_mtp.cli.grammar import Parser, UsageError, answer
from weighted_mtp.demo.jobs import workers

PROGRAM = "python -m research.on_policy"
HELP = "credit on a model's own samples: small models, three text tasks, every arm, and the oracle's lead"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_on_policy, arguments, PROGRAM)


def _on_policy(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_argument(
        "--part", type=Literal["main", "shares", "rounds", "rates", "drawn", "blame", "quarters"], default="main",
        help="main: all arms; shares: starts of 10 and 50 % right; rounds: three rounds; rates: steps and rates; "
        "drawn: rows drawn by their weight, and a gate by row; blame: a posterior over the first wrong token; "
        "quarters: a gate for each of a completion.",
    )  # fmt: skip
    parser.add_argument("--tasks", type=list[str] | None, default=None, help="Tasks; none: all three.")
    flags = flags_of(parser, words, out="on-policy", draws=None, jobs=1)
    from research.on_policy.tasks import TASKS

    tasks = flags.tasks or list(TASKS)
    if unknown := sorted(set(tasks) - TASKS.keys()):
        raise UsageError(f"--tasks holds {', '.join(unknown)}: give some of {', '.join(TASKS)}")

    def cells() -> None:
        from research.on_policy.run import cells_of, choice_cells, run

        jobs = workers(flags.jobs)
        run(choice_cells(tasks, flags.out), jobs)
        run(cells_of(flags.part, tasks, flags.draws, flags.out), jobs)

    return run_cells(PROGRAM, flags.out, cells)


if __name__ == "__main__":
    sys.exit(main())
