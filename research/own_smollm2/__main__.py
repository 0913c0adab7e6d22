"""`python -m research.own_smollm2`: flags into cells, and Ctrl-C into one line."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from weighted_mtp.cli.grammar import Parser, UsageError, answer
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training.errors import expand_path, require_folder

PROGRAM = "python -m research.own_smollm2"
HELP = "credit on the samples of a pretrained model: SmolLM2-135M on two tasks that a rule takes"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_own_smollm2, arguments, PROGRAM)


def _own_smollm2(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_argument("--out", type=str, default="own-smollm2", help="Output directory; finished cells are kept.")
    parser.add_argument("--draws", type=int, default=3, help="Draws of each task.")
    parser.add_argument("--jobs", type=int, default=1, help="Trainings at a time, each on a core and in 4 GB.")
    parsed = Namespace(**parser.parse(words))
    for name in ("draws", "jobs"):
        if getattr(parsed, name) < 1:
            raise UsageError(f"--{name} is {getattr(parsed, name)}: give at least 1")
    out = expand_path("--out", parsed.out)
    require_folder("--out", out)
    quiet_libraries()
    from research.own_smollm2.run import run_all
    from weighted_mtp.training.run import Interrupted

    try:
        with own_folder(out):
            run_all(Path(out), parsed.draws, parsed.jobs)
    except (Interrupted, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped; the same command goes on with the unfinished cells", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
