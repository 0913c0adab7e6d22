"""`python -m research.own_smollm2`: flags into cells."""

import sys

from research.command import flags_of, run_cells
from weighted_mtp.cli.grammar import Parser, answer
from weighted_mtp.demo.jobs import workers

PROGRAM = "python -m research.own_smollm2"
HELP = "credit on the samples of a pretrained model: SmolLM2-135M on two tasks that a rule takes"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_own_smollm2, arguments, PROGRAM)


def _own_smollm2(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    flags = flags_of(parser, words, out="own-smollm2", draws=3, jobs=1)

    def run() -> None:
        from research.own_smollm2.run import run_all

        run_all(flags.out, flags.draws, workers(flags.jobs))

    return run_cells(PROGRAM, flags.out, run)


if __name__ == "__main__":
    sys.exit(main())
