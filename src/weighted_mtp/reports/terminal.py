"""What commands show in the terminal: a progress bar, and completions with their tokens shaded by weight, or, without
colour (a pipe, `NO_COLOR`), above a line of digits: 1 to 9, 5 for a weight near 1."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.style import Style
from rich.text import Text

from weighted_mtp.reports.scale import LEVELS, weight_level
from weighted_mtp.reports.token_view import TokenView, check_token_view, finite, shown_piece

# Dark text on these, so that they read the same on light and dark terminals. Level 0 is left alone.
_LESS = ("#fde7cd", "#fbd3a5", "#f7bd7b", "#f2a650", "#ea8f2a", "#dd7a0e")
_MORE = ("#dcebfb", "#bfdaf7", "#9fc8f2", "#7fb4ec", "#5f9fe4", "#458bda")
_INK = "#14181c"
_TICKS = ((-6, "<=0.2"), (-3, "0.45"), (0, "1"), (3, "2.2"), (6, ">=5"))
_PROMPT_LINES = 8  # of each prompt that are shown


def progress_bar(console: Console | None, *, transient: bool = False) -> Progress:
    """What is done, how many of how many, the time it took and the time it will take; None: no bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, *times, console=console, disable=console is None, transient=transient)


def print_tokens(console: Console, views: Sequence[TokenView]) -> None:
    """Print completions with every token shaded by its weight, truly wrong ones underlined; ValueError as
    `check_token_view`."""
    for view in views:
        check_token_view(view)
    plain = console.no_color or console.color_system is None
    _print_legend(console, plain=plain)
    for number, view in enumerate(views, 1):
        console.print()
        console.print(_header(number, view, console))
        _print_prompt(console, view["prompt"])
        (_print_marked if plain else _print_shaded)(console, view)


def _header(number: int, view: TokenView, console: Console) -> Text:
    right = bool(view["label"])
    header = Text(f"{number}  ", style="bold")
    header.append("right" if right else "WRONG", style="bold green" if right else "bold red")
    header.append(f"  {view['arm']}", style="bold")
    weights = finite(view["weights"])
    if weights:
        header.append(f"  mean weight {sum(weights) / len(weights):.2f}")
    td_errors = finite(view["td_errors"] or ())
    if td_errors and view["td_errors"] is not None:
        lowest = min(td_errors)
        where = list(view["td_errors"]).index(lowest)
        token = _printable(repr(shown_piece(view["tokens"][where])), console)
        header.append(f"  lowest TD {lowest:+.2f} at token {where + 1} {token}")
    return header


def _print_prompt(console: Console, prompt: str) -> None:
    lines = prompt.strip("\n").split("\n")
    shown = lines[:_PROMPT_LINES]
    if len(lines) > _PROMPT_LINES:
        shown.append(f"... {len(lines) - _PROMPT_LINES} more lines of the prompt")
    console.print(Text(_printable("\n".join(shown), console), style="dim"))


def _style(level: int, *, wrong: bool) -> Style:
    background = None if level == 0 else (_LESS[-level - 1] if level < 0 else _MORE[level - 1])
    return Style(color=_INK if background else None, bgcolor=background, underline=wrong or None, bold=wrong or None)


def _tokens(view: TokenView) -> list[tuple[str, int, bool]]:
    """Each token with its level and whether it is truly wrong."""
    wrong = view["token_error"] or [False] * len(view["tokens"])
    return [
        (token, weight_level(weight), bool(error))
        for token, weight, error in zip(view["tokens"], view["weights"], wrong, strict=True)
    ]


def _printable(text: str, console: Console) -> str:
    """Text that cannot steer the terminal: control characters are spelled out, line breaks stay."""
    text = "".join(char if char == "\n" or char.isprintable() else repr(char)[1:-1] for char in text.expandtabs(4))
    return text.encode("ascii", "backslashreplace").decode() if console.options.ascii_only else text


def _lines(token: str, console: Console) -> list[str]:
    """A token cut at its line breaks, each of which is marked at the end of its line."""
    mark = "\\n" if console.options.ascii_only else "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
    *ended, last = _printable(shown_piece(token), console).split("\n")
    return [line + mark for line in ended] + [last]


def _print_shaded(console: Console, view: TokenView) -> None:
    text = Text()
    for token, level, wrong in _tokens(view):
        for index, part in enumerate(_lines(token, console)):
            text.append("\n" if index else "")
            text.append(part, _style(level, wrong=wrong))
    console.print(text, overflow="fold")


def _print_marked(console: Console, view: TokenView) -> None:
    """Rows of tokens; below each row the digits of its tokens, and `^` under what is truly wrong."""
    row = ["", "", ""]
    for token, level, wrong in _tokens(view):
        for index, part in enumerate(_lines(token, console)):
            if index or cell_len(row[0]) + cell_len(part) > console.width:
                _print_row(console, row)
                row = ["", "", ""]
            width = cell_len(part)
            row[0] += part
            indent = min(len(part) - len(part.lstrip(" ")), max(width - 1, 0))
            row[1] += (" " * indent + _digit(level)).ljust(width)[:width]
            row[2] += ("^" if wrong else " ") * width
    _print_row(console, row)


def _print_row(console: Console, row: Sequence[str]) -> None:
    tokens, digits, errors = row
    console.print(Text(tokens), overflow="fold")
    for marks in (digits, errors):
        if marks.strip():
            console.print(Text(marks.rstrip()), overflow="fold")


def _digit(level: int) -> str:
    """Levels -6 to 6 as 1 to 9, 5 being neutral."""
    return str(5 + round(4 * level / LEVELS))


def _print_legend(console: Console, *, plain: bool) -> None:
    legend = Text("weight  ")
    for level, tick in _TICKS:
        legend.append(
            f"{_digit(level)} = {tick}  " if plain else f" {tick} ", "" if plain else _style(level, wrong=False)
        )
    if plain:
        legend.append("^ = truly wrong")
    else:
        legend.append(" ").append("underlined", _style(0, wrong=True)).append(" = truly wrong")
    console.print(legend)
