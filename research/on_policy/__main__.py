"""`python -m research.on_policy`: flags into cells, and Ctrl-C into one line."""

import sys
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from weighted_mtp.cli.grammar import Parser, UsageError, answer
from weighted_mtp.demo.jobs import workers
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training.errors import expand_path, require_folder

PROGRAM = "python -m research.on_policy"
HELP = "credit on a model's own samples: small models, three text tasks, every arm, and the oracle's lead"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_on_policy, arguments, PROGRAM)


def _on_policy(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_argument("--out", type=str, default="on-policy", help="Output directory; finished cells there are kept.")
    parser.add_argument(
        "--part", type=Literal["main", "shares", "rounds", "rates", "drawn"], default="main",
        help="main: all arms; shares: starts of 10 and 50 % right; rounds: three rounds; rates: steps and rates; "
        "drawn: rows drawn by their weight, and a gate by row.",
    )  # fmt: skip
    parser.add_argument("--draws", type=int | None, default=None, help="Draws; none: the part's.")
    parser.add_argument("--tasks", type=list[str] | None, default=None, help="Tasks; none: all three.")
    parser.add_argument("--jobs", type=int | None, default=1, help="Trainings at a time; none: a core each, at most 8.")
    parsed = Namespace(**parser.parse(words))
    for name in ("draws", "jobs"):
        if getattr(parsed, name) is not None and getattr(parsed, name) < 1:
            raise UsageError(f"--{name} is {getattr(parsed, name)}: give at least 1")
    from research.on_policy.tasks import TASKS

    tasks = parsed.tasks or list(TASKS)
    if unknown := sorted(set(tasks) - TASKS.keys()):
        raise UsageError(f"--tasks holds {', '.join(unknown)}: give some of {', '.join(TASKS)}")
    out = expand_path("--out", parsed.out)
    require_folder("--out", out)
    quiet_libraries()
    from research.on_policy.run import cells_of, choice_cells, run
    from weighted_mtp.training.run import Interrupted

    jobs = workers(parsed.jobs)
    try:
        with own_folder(out):
            run(choice_cells(tasks, Path(out)), jobs)
            run(cells_of(parsed.part, tasks, parsed.draws, Path(out)), jobs)
    except (Interrupted, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped; the same command goes on with the unfinished cells", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
