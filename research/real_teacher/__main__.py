"""`python -m research.real_teacher`: flags into cells."""

import sys
from pathlib import Path
from typing import Literal

from research.command import flags_of, run_cells
from weighted_mtp.cli.grammar import Parser, UsageError, answer
from weighted_mtp.training.errors import expand_path

PROGRAM = "python -m research.real_teacher"
HELP = "a real teacher's real errors: students of PaLM 2's traces, and who finds the step that went wrong"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return answer(_real_teacher, arguments, PROGRAM)


def _real_teacher(words: list[str]) -> int:
    parser = Parser(prog=PROGRAM, description=HELP)
    parser.add_argument(
        "--data", type=str, help="Folder with bigbench_mistake/TASK.jsonl and gsm8k/model_solutions.jsonl."
    )
    parser.add_argument(
        "--part", type=Literal["dyck", "mistakes", "gsm8k"] | None, default=None,
        help="dyck: students of the traces; mistakes: who finds the marked step; gsm8k: outcomes; none: all three.",
    )  # fmt: skip
    flags = flags_of(parser, words, out="real-teacher", draws=5)
    if not flags.data:
        raise UsageError("--data is missing: name the folder that holds the traces")
    data = Path(expand_path("--data", flags.data))
    if not data.is_dir():
        raise UsageError(f"--data is {data}, which is no folder")

    def run() -> None:
        from research.real_teacher.run import run_part

        for part in [flags.part] if flags.part else ["dyck", "mistakes", "gsm8k"]:
            run_part(part, data, flags.out, flags.draws)

    return run_cells(PROGRAM, flags.out, run)


if __name__ == "__main__":
    sys.exit(main())
