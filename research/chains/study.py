"""`python -m research.chains.study`: flags into settings, and Ctrl-C into one line."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from weighted_mtp.cli.grammar import Parser, UsageError, answer
from weighted_mtp.demo.jobs import workers
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training.errors import expand_path, require_folder

PROGRAM = "python -m research.chains.study"
HELP = "which credit finds the wrong tokens, and what it is worth: many arms, draws and settings"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_study, arguments, PROGRAM)


def _study(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_argument("--preset", choices=["full", "quick"], default="full", help="quick takes minutes.")
    parser.add_argument("--out", type=str, default="study", help="Output directory; finished cells there are kept.")
    parser.add_argument("--draws", type=int | None, default=None, help="Draws; none: the preset's.")
    parser.add_argument(
        "--jobs", type=int | None, default=None, help="Trainings at a time; none: a core each, at most 8."
    )
    parsed = Namespace(**parser.parse(words))
    for name in ("draws", "jobs"):
        if getattr(parsed, name) is not None and getattr(parsed, name) < 1:
            raise UsageError(f"--{name} is {getattr(parsed, name)}: give at least 1")
    out = expand_path("--out", parsed.out)
    require_folder("--out", out)
    quiet_libraries()
    from research.chains.run import run_study
    from weighted_mtp.training.run import Interrupted

    try:
        with own_folder(out):
            run_study(parsed.preset, Path(out), workers(parsed.jobs), parsed.draws)
    except (Interrupted, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped; the same command goes on with the unfinished cells", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
