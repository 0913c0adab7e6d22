"""`wmtp inspect`: the tokens of a finished run in the terminal, or several runs on one page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from jsonargparse import Namespace

from weighted_mtp.cli_grammar import PROGRAM, Parser, UsageError
from weighted_mtp.training.paths import expand_path, require_file
from weighted_mtp.training.quiet import quiet_libraries

_IN_TERMINAL, _ON_PAGE = 4, 24
_MOVED = {
    "train_file": "the training file",
    "eval_file": "the evaluation file",
    "critic": "the separate critic",
    "reference": "the reference model",
}
_HELP = (
    "Completions of a run in the terminal, every token coloured by its weight; with --page, runs side by side on one "
    "HTML page: curves, reliability of values, and every token with value, credit, weight and loss."
)


def inspect(words: list[str]) -> int:
    """Runs the command; returns the exit status."""
    if words and words[0] in ("--page", "--serve"):
        raise UsageError(f"runs come first: {PROGRAM} inspect RUN [RUN ...] {words[0]}")
    parsed = Namespace(**_parser().parse(words))
    _check(parsed)
    dirs = [Path(expand_path("run", run)) for run in parsed.run]
    moved = {name: expand_path(name, parsed[name]) for name in _MOVED if parsed[name]}
    path = Path(expand_path("--page", parsed.page)) if parsed.page else dirs[0] / "page.html"
    on_page = parsed.page is not None or parsed.serve
    from weighted_mtp.experiments.run_dirs import check_dirs

    check_dirs(dirs, moved)
    if on_page:
        require_file("--page", path)
    quiet_libraries()
    from rich.console import Console

    if not on_page:
        from weighted_mtp.experiments.inspect import inspect_run

        inspect_run(dirs[0], parsed.rows, parsed.count or _IN_TERMINAL, parsed.label, Console(), moved)
        return 0
    from weighted_mtp.experiments.run_page import Selection, inspect_on_page

    selection = Selection(parsed.rows, parsed.count or _ON_PAGE, parsed.label)
    write = partial(inspect_on_page, dirs, path, selection, parsed.judged_rows, Console(stderr=True), moved)
    if parsed.serve:
        _serve(path, parsed.port or 0, write)
    else:
        print(f"look at {write()}")
    return 0


def _parser() -> Parser:
    parser = Parser(prog=f"{PROGRAM} inspect", description=_HELP)
    parser.add_argument("run", type=str, nargs="+", help="output_dir of a finished wmtp train; with --page several.")
    parser.add_argument(
        "--page", type=str, nargs="?", const="", default=None, metavar="FILE.html",
        help="Write one HTML page; without a file RUN/page.html of the first run.",
    )  # fmt: skip
    parser.add_argument("--serve", action="store_true", help="Write the page, and serve it on 127.0.0.1.")
    parser.add_argument("--port", type=int | None, default=None, help="Of --serve; none: a free one.")
    parser.add_argument("--rows", type=list[int] | None, default=None, help="Row numbers, as [0,5,7].")
    parser.add_argument(
        "--count",
        type=int | None,
        default=None,
        help=f"How many rows, where none are named; none: {_IN_TERMINAL}, on a page {_ON_PAGE} of each run.",
    )
    parser.add_argument("--label", choices=["any", "right", "wrong"], default="any", help="Which rows.")
    for name, what in _MOVED.items():
        parser.add_argument(
            f"--{name}", type=str | None, default=None, help=f"Where {what} of the run lies now, if it was moved."
        )
    parser.add_argument(
        "--judged_rows", type=int, default=200, help="Rows that the reliability of values is taken from, on a page."
    )
    return parser


def _check(parsed: Namespace) -> None:
    on_page = parsed.page is not None or parsed.serve
    if parsed.page and not parsed.page.endswith(".html"):
        raise UsageError(f"--page {parsed.page}: give a file that ends with .html, and runs before --page")
    if len(parsed.run) > 1 and not on_page:
        raise UsageError(f"{len(parsed.run)} runs side by side need a page: add --page, or name one run")
    if parsed.port is not None and not parsed.serve:
        raise UsageError(f"--port {parsed.port} is of --serve: add --serve, or leave it out")
    if parsed.port is not None and not 0 <= parsed.port < 65536:
        raise UsageError(f"--port is {parsed.port}: give 0 (a free one) to 65535")
    for name in ("count", "judged_rows"):
        if getattr(parsed, name) is not None and getattr(parsed, name) < 1:
            raise UsageError(f"--{name} is {getattr(parsed, name)}: give at least 1")


def _serve(page: Path, port: int, write: Callable[[], Path]) -> None:
    """Until Ctrl-C, which `main` answers. A port that cannot be had is told before the page is made."""
    from weighted_mtp.reports.serve import page_server

    with page_server(page, port) as server:
        print(f"{write()} is at http://127.0.0.1:{server.server_port}/ until Ctrl-C", flush=True)
        server.serve_forever()
