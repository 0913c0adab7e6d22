"""`wmtp data`: rows with labels that a program has verified."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from jsonargparse import Namespace, set_parsing_settings

from weighted_mtp.cli_grammar import PROGRAM, Parser, UsageError, moved, unknown
from weighted_mtp.data.json_lines import require_objects
from weighted_mtp.evaluation.verifier_table import VERIFIERS, make_verifier
from weighted_mtp.files import own_file, own_folder
from weighted_mtp.labelling.mutants_config import MutantsConfig
from weighted_mtp.labelling.reasoning_gym_config import ReasoningGymConfig
from weighted_mtp.labelling.split_config import SplitConfig
from weighted_mtp.training.paths import expand_path, require_file, require_folder

DATA_COMMANDS = {
    "verify": "label completions with a verifier",
    "mutants": "right and wrong completions, by mutating reference solutions that have tests",
    "reasoning-gym": "prompts of procedural tasks, with verified completions",
    "split": "training and test files by task, near-duplicates on one side",
}
MOVED = {"doctests": "python -m research.doctests"}
_Settings = TypeVar("_Settings")


def data(words: list[str]) -> int:
    """Runs `wmtp data COMMAND ...`; returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, DATA_COMMANDS)) + 2
        print(f"usage: {PROGRAM} data COMMAND [options]\n")
        print("\n".join(f"  {name:<{width}}{text}" for name, text in DATA_COMMANDS.items()))
        print(f"\n{PROGRAM} data COMMAND --help explains one. Labels are test-verified, no more.")
        return 0
    command, *rest = words
    commands = {"verify": _verify, "mutants": _mutants, "reasoning-gym": _reasoning_gym, "split": _split}
    if command in MOVED:
        raise UsageError(moved(f"data {command}", MOVED[command]))
    if command not in commands:
        raise UsageError(unknown("data command", command, DATA_COMMANDS))
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    try:
        return commands[command](rest)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped; the same command goes on with the rows that are missing", file=sys.stderr)
        return 130


def _parser(command: str) -> Parser:
    return Parser(prog=f"{PROGRAM} data {command}", description=DATA_COMMANDS[command])


def _config(command: str, settings: type[_Settings], words: list[str]) -> _Settings:
    """The flags of a command whose settings are a dataclass."""
    parser = _parser(command)
    parser.add_class_arguments(settings)
    return settings(**parser.parse(words))


def _verify(words: list[str]) -> int:
    parser = _parser("verify")
    parser.add_argument("--verifier", type=str, required=True, help=f"One of {', '.join(VERIFIERS)}.")
    parser.add_argument("--input", type=str, required=True, help="Rows as JSON lines: prompt, completion, ...")
    parser.add_argument("--output", type=str, required=True, help="The rows, with label and verdict.")
    parser.add_argument(
        "--timeout", type=float | None, default=None, help="Seconds a row; none: 5, where there is a limit."
    )
    parsed = Namespace(**parser.parse(words))
    source, out = (Path(expand_path(f"--{name}", getattr(parsed, name))) for name in ("input", "output"))
    require_objects(source)
    require_file("--output", out)
    verifier = make_verifier(parsed.verifier, timeout=parsed.timeout)
    from rich.console import Console

    from weighted_mtp.labelling.verify import label_file, summary

    with own_file(out):
        print(summary(label_file(source, out, verifier, Console(stderr=True)), out))
    return 0


def _mutants(words: list[str]) -> int:
    config = _config("mutants", MutantsConfig, words)
    if config.input is not None:
        require_objects(config.input)
    require_file("out", config.out)
    from rich.console import Console

    from weighted_mtp.labelling.mutants import build_mutants

    with own_file(config.out):
        report = build_mutants(config, Console(stderr=True))
    Console().print(report.table())
    print(f"{config.out}: {report.summary()}")
    return 0


def _split(words: list[str]) -> int:
    config = _config("split", SplitConfig, words)
    require_folder("out", config.out)
    from weighted_mtp.labelling.split import split_file

    with own_folder(config.out):
        report = split_file(config)
    print(report.summary())
    if report.warning():
        print(f"{PROGRAM}: warning: {report.warning()}", file=sys.stderr)
    return 0


def _reasoning_gym(words: list[str]) -> int:
    parser = _parser("reasoning-gym")
    parser.add_class_arguments(ReasoningGymConfig)
    parser.add_argument("--list", action="store_true", help="Print all tasks, and which scorers hold.")
    settings = parser.parse(words)
    listed = settings.pop("list")
    if not listed:
        config = ReasoningGymConfig(**settings)
        for name in ("out", "problems"):
            if getattr(config, name) is not None:
                require_file(name, getattr(config, name))
    from rich.console import Console

    from weighted_mtp.evaluation.reasoning_gym import ReasoningGym
    from weighted_mtp.labelling.reasoning_gym_rows import make_rows, print_tasks

    if listed:
        print_tasks(ReasoningGym(), Console())
        return 0
    config = ReasoningGymConfig(**settings)
    with ExitStack() as owned:
        for path in (config.out, config.problems):
            if path is not None:
                owned.enter_context(own_file(path))
        print(make_rows(config, ReasoningGym(config.timeout), Console(stderr=True)).summary())
    return 0
