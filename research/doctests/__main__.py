"""`python -m research.doctests`: flags into settings, and what came of them in a table."""

import sys

from jsonargparse import set_parsing_settings

from research.doctests.config import DoctestsConfig
from weighted_mtp.cli.grammar import Parser, answer
from weighted_mtp.files import own_file
from weighted_mtp.training.errors import require_file

PROGRAM = "python -m research.doctests"
HELP = "problems with tests, from functions with doctests in installed packages"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_doctests, arguments, PROGRAM)


def _doctests(words: list[str]) -> int:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_class_arguments(DoctestsConfig)
    config = DoctestsConfig(**parser.parse(words))
    require_file("out", config.out)
    from rich.console import Console

    from research.doctests.build import build_doctests

    try:
        with own_file(config.out):
            report = build_doctests(config, Console(stderr=True))
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped; the same command goes on with the rows that are missing", file=sys.stderr)
        return 130
    Console().print(report.table())
    print(f"{config.out}: {report.summary()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
