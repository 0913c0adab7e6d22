"""`python -m research.real_teacher`: flags into cells, and Ctrl-C into one line."""

import sys
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from weighted_mtp.cli.grammar import Parser, UsageError, answer
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training.errors import expand_path, require_folder

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
    parser.add_argument("--out", type=str, default="real-teacher", help="Output directory; finished cells are kept.")
    parser.add_argument(
        "--part", type=Literal["dyck", "mistakes", "gsm8k"] | None, default=None,
        help="dyck: students of the traces; mistakes: who finds the marked step; gsm8k: outcomes; none: all three.",
    )  # fmt: skip
    parser.add_argument("--draws", type=int, default=5, help="Draws of the students.")
    parsed = Namespace(**parser.parse(words))
    if parsed.draws < 1:
        raise UsageError(f"--draws is {parsed.draws}: give at least 1")
    if not parsed.data:
        raise UsageError("--data is missing: name the folder that holds the traces")
    data, out = Path(expand_path("--data", parsed.data)), expand_path("--out", parsed.out)
    if not data.is_dir():
        raise UsageError(f"--data is {data}, which is no folder")
    require_folder("--out", out)
    quiet_libraries()
    from research.real_teacher.run import run_part
    from weighted_mtp.training.run import Interrupted

    parts = [parsed.part] if parsed.part else ["dyck", "mistakes", "gsm8k"]
    try:
        with own_folder(out):
            for part in parts:
                run_part(part, data, Path(out), parsed.draws)
    except (Interrupted, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped; the same command goes on with the unfinished cells", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
