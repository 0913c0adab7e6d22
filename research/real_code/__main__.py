"""`python -m research.real_code`: flags into settings, and Ctrl-C into one line."""

import sys

from jsonargparse import set_parsing_settings

from research.real_code.config import RealCodeConfig
from weighted_mtp.cli.grammar import Parser, answer
from weighted_mtp.demo.jobs import workers
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries

PROGRAM = "python -m research.real_code"
HELP = "real code with known bugs: which critic finds the wrong token, and does its credit teach?"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_real_code, arguments, PROGRAM)


def _real_code(words: list[str]) -> int:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_class_arguments(RealCodeConfig)
    config = RealCodeConfig(**parser.parse(words))
    from research.real_code.plan import check_real_code

    check_real_code(config)
    quiet_libraries()
    from rich.console import Console

    from research.real_code.run import run_real_code
    from weighted_mtp.training.run import Interrupted

    try:
        with own_folder(config.out):
            run_real_code(config, workers(config.jobs), Console())
    except (Interrupted, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
