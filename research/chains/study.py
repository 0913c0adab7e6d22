"""`python -m research.chains.study`: flags into settings."""

import sys

from research.command import flags_of, run_cells
from weighted_mtp.cli.grammar import Parser, answer
from weighted_mtp.demo.jobs import workers

PROGRAM = "python -m research.chains.study"
HELP = "which credit finds the wrong tokens, and what it is worth: many arms, draws and settings"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_study, arguments, PROGRAM)


def _study(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_argument("--preset", choices=["full", "quick"], default="full", help="quick: two draws, ten minutes.")
    flags = flags_of(parser, words, out="study", draws=None, jobs=None)

    def run() -> None:
        from research.chains.run import run_study

        run_study(flags.preset, flags.out, workers(flags.jobs), flags.draws)

    return run_cells(PROGRAM, flags.out, run)


if __name__ == "__main__":
    sys.exit(main())
