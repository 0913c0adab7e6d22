"""`wmtp evaluate`: flags into settings, and Ctrl-C into one line."""

import sys

from jsonargparse import set_parsing_settings

from weighted_mtp.cli_grammar import PROGRAM, Parser
from weighted_mtp.experiments.evaluation_config import EvaluationConfig
from weighted_mtp.files import own_folder
from weighted_mtp.training.quiet import quiet_libraries

HELP = "exact match and pass@k of a model on problems that a program checks"


def evaluate(words: list[str]) -> int:
    """Runs the command; returns the exit status.

    Raises:
        UsageError: a mistake on the command line.
        ValueError: a mistake in a setting or a file.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog=f"{PROGRAM} evaluate", description=HELP)
    parser.add_argument("model", type=str, help="A directory saved by wmtp train, or any model path.")
    parser.add_class_arguments(EvaluationConfig, skip={"model"})
    config = EvaluationConfig(**parser.parse(words))
    from weighted_mtp.experiments.evaluation_problems import check_evaluation

    check_evaluation(config)
    quiet_libraries()
    from rich.console import Console

    from weighted_mtp.experiments import evaluate as evaluation

    try:
        with own_folder(config.out):
            evaluation.evaluate(config, Console())
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0
