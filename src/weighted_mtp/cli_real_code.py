"""`wmtp real-code`: flags into settings, and Ctrl-C into one line."""

import sys

from jsonargparse import set_parsing_settings

from weighted_mtp.cli_grammar import PROGRAM, Parser
from weighted_mtp.evaluation.verifiers import available_cores
from weighted_mtp.experiments.real_code_config import RealCodeConfig
from weighted_mtp.files import own_folder
from weighted_mtp.training.quiet import quiet_libraries

HELP = "real code with known bugs: which critic finds the wrong token, and does its credit teach?"
MOST_JOBS = 8
"""A worker takes some gigabytes, and a machine may have more cores than memory for them."""


def real_code(words: list[str]) -> int:
    """Runs the command; returns the exit status.

    Raises:
        UsageError: a mistake on the command line.
        ValueError: a mistake in a setting, a configuration or a file.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog=f"{PROGRAM} real-code", description=HELP)
    parser.add_class_arguments(RealCodeConfig)
    config = RealCodeConfig(**parser.parse(words))
    from weighted_mtp.experiments.real_code_plan import check_real_code

    check_real_code(config)
    quiet_libraries()
    from rich.console import Console

    from weighted_mtp.experiments.real_code import run_real_code
    from weighted_mtp.training.run import Interrupted

    try:
        with own_folder(config.out):
            run_real_code(config, config.jobs or min(available_cores(), MOST_JOBS), Console())
    except (Interrupted, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0
