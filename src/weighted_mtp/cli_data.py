"""`wmtp data`: rows with labels that a program has verified."""

import sys
from pathlib import Path

from weighted_mtp.cli_grammar import PROGRAM, Parser, UsageError, check_flags, unknown

DATA_COMMANDS = {
    "verify": "label completions with a verifier",
    "mutants": "right and wrong completions, by mutating reference solutions that have tests",
    "reasoning-gym": "prompts of procedural tasks, with verified completions",
}


def data(words: list[str]) -> int:
    """Runs `wmtp data COMMAND ...`; returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, DATA_COMMANDS)) + 2
        print(f"usage: {PROGRAM} data COMMAND [options]\n")
        print("\n".join(f"  {name:<{width}}{text}" for name, text in DATA_COMMANDS.items()))
        print(f"\n{PROGRAM} data COMMAND --help explains one. Labels are test-verified, no more.")
        return 0
    command, *rest = words
    commands = {"verify": _verify}
    if command not in commands:
        raise UsageError(unknown("data command", command, DATA_COMMANDS))
    try:
        return commands[command](rest)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: stopped; the same command goes on with the rows that are missing", file=sys.stderr)
        return 130


def _verify(words: list[str]) -> int:
    from weighted_mtp.evaluation.verifier_table import VERIFIERS, make_verifier

    parser = Parser(prog=f"{PROGRAM} data verify", description=DATA_COMMANDS["verify"])
    parser.add_argument("--verifier", type=str, required=True, help=f"One of {', '.join(VERIFIERS)}.")
    parser.add_argument(
        "--input", type=str, required=True, help="Rows as JSON lines: prompt, completion, ..."
    )
    parser.add_argument("--output", type=str, required=True, help="The rows, with label and verdict.")
    parser.add_argument(
        "--timeout", type=float | None, default=None, help="Seconds a row; none: 5, where there is a limit."
    )
    check_flags(words, ["verifier", "input", "output", "timeout"])
    parsed = parser.parse_args(words)
    from rich.console import Console

    from weighted_mtp.labelling.verify import label_file, summary

    verifier = make_verifier(parsed.verifier, timeout=parsed.timeout)
    out = Path(parsed.output)
    print(summary(label_file(Path(parsed.input), out, verifier, Console(stderr=True)), out))
    return 0
