"""What the commands of experiments share: --out, --draws and --jobs, and the one line that a stop ends with."""

import sys
from collections.abc import Callable
from pathlib import Path

from jsonargparse import Namespace

from weighted_mtp.cli.grammar import Parser, UsageError
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.training.errors import expand_path, require_folder

HELP = {
    "out": "Output directory; finished cells there are kept.",
    "draws": "Draws; none, where there is a choice of parts or presets: as many as that one has.",
    "jobs": "Trainings at a time; none: a core each, at most 8.",
}


def flags_of(parser: Parser, words: list[str], **defaults: str | int | None) -> Namespace:
    """The flags of a command, with those of `HELP` that `defaults` names; `out` is a folder, or can become one."""
    kinds = {"out": str, "draws": int | None if defaults["draws"] is None else int, "jobs": int | None}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=kinds[name], default=default, help=HELP[name])
    flags = Namespace(**parser.parse(words))
    for name in ("draws", "jobs"):
        if flags.get(name) is not None and flags[name] < 1:
            raise UsageError(f"--{name} is {flags[name]}: give at least 1")
    flags.out = Path(expand_path("--out", flags.out))
    require_folder("--out", flags.out)
    return flags


def run_cells(program: str, out: Path, run: Callable[[], None]) -> int:
    """The exit status of `run`, in a folder that is this process's own meanwhile; Ctrl-C ends it in one line."""
    quiet_libraries()
    from weighted_mtp.training.run import Interrupted

    try:
        with own_folder(out):
            run()
    except (Interrupted, KeyboardInterrupt):
        print(f"{program}: stopped; the same command goes on with the unfinished cells", file=sys.stderr)
        return 130
    return 0
