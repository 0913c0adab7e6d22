"""Completions in the terminal, their tokens shaded by weight.

Where the terminal has no colour (a pipe, `NO_COLOR`), a line of digits below the tokens carries the same
information: 1 to 9, 5 for a weight near 1.
"""

import math
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from weighted_mtp.reports.scale import LEVELS, td_level, weight_level
from weighted_mtp.reports.token_view import TokenView, check_token_view, shown_piece

Shade = Literal["weight", "td_error"]

# Dark text on these, so that they read the same on light and dark terminals. Level 0 is left alone.
_LESS = ("#fde7cd", "#fbd3a5", "#f7bd7b", "#f2a650", "#ea8f2a", "#dd7a0e")
_MORE = ("#dcebfb", "#bfdaf7", "#9fc8f2", "#7fb4ec", "#5f9fe4", "#458bda")
_INK = "#14181c"
_TICKS: dict[Shade, tuple[tuple[int, str], ...]] = {
    "weight": ((-6, "<=0.2"), (-3, "0.45"), (0, "1"), (3, "2.2"), (6, ">=5")),
    "td_error": ((-6, "-1"), (-3, "-0.25"), (0, "0"), (3, "+0.25"), (6, "+1")),
}


def print_tokens(
    console: Console, views: Sequence[TokenView], *, shade: Shade = "weight", prompt_lines: int = 8
) -> None:
    """Print completions with every token shaded by its weight or TD error, truly wrong ones underlined.

    Args:
        console: where to print; without colours, digits below the tokens stand in for shades.
        views: the completions.
        shade: what the shades show.
        prompt_lines: how many lines of each prompt are shown, 0 for none.

    Raises:
        ValueError: a list of a view has another length than its tokens, or `shade` is neither
            "weight" nor "td_error".
    """
    if shade not in _TICKS:
        raise ValueError(f'shade is {shade!r}; it must be "weight" or "td_error"')
    for view in views:
        check_token_view(view)
    plain = console.no_color or console.color_system is None
    _print_legend(console, shade, plain=plain)
    for number, view in enumerate(views, 1):
        console.print()
        console.print(_header(number, view, console))
        _print_prompt(console, view["prompt"], prompt_lines)
        if shade == "td_error" and view["td_errors"] is None:
            console.print(Text("this completion has no TD errors", style="dim italic"))
        (_print_marked if plain else _print_shaded)(console, view, shade)


def _header(number: int, view: TokenView, console: Console) -> Text:
    right = bool(view["label"])
    header = Text(f"{number}  ", style="bold")
    header.append("right" if right else "WRONG", style="bold green" if right else "bold red")
    header.append(f"  {view['arm']}", style="bold")
    weights = [weight for weight in view["weights"] if math.isfinite(weight)]
    if weights:
        header.append(f"  mean weight {sum(weights) / len(weights):.2f}")
    td_errors = [td for td in view["td_errors"] or () if math.isfinite(td)]
    if td_errors and view["td_errors"] is not None:
        lowest = min(td_errors)
        where = list(view["td_errors"]).index(lowest)
        token = _printable(repr(shown_piece(view["tokens"][where])), console)
        header.append(f"  lowest TD {lowest:+.2f} at token {where + 1} {token}")
    return header


def _print_prompt(console: Console, prompt: str, limit: int) -> None:
    if limit <= 0:
        return
    lines = prompt.strip("\n").split("\n")
    shown = lines[:limit]
    if len(lines) > limit:
        shown.append(f"... {len(lines) - limit} more lines of the prompt")
    console.print(Text(_printable("\n".join(shown), console), style="dim"))


def _levels(view: TokenView, shade: Shade) -> list[int]:
    if shade == "weight":
        return [weight_level(weight) for weight in view["weights"]]
    if view["td_errors"] is None:
        return [0] * len(view["tokens"])
    return [td_level(td) for td in view["td_errors"]]


def _style(level: int, *, wrong: bool) -> Style:
    background = None if level == 0 else (_LESS[-level - 1] if level < 0 else _MORE[level - 1])
    return Style(color=_INK if background else None, bgcolor=background, underline=wrong or None, bold=wrong or None)


def _wrong(view: TokenView) -> list[bool]:
    return [bool(error) for error in view["token_error"] or [False] * len(view["tokens"])]


def _printable(text: str, console: Console) -> str:
    """Text that cannot steer the terminal: control characters are spelled out, line breaks stay."""
    text = "".join(char if char == "\n" or char.isprintable() else repr(char)[1:-1] for char in text.expandtabs(4))
    return text.encode("ascii", "backslashreplace").decode() if console.options.ascii_only else text


def _lines(token: str, console: Console) -> list[str]:
    """A token cut at its line breaks, each of which is marked at the end of its line."""
    mark = "\\n" if console.options.ascii_only else "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
    *ended, last = _printable(shown_piece(token), console).split("\n")
    return [line + mark for line in ended] + [last]


def _print_shaded(console: Console, view: TokenView, shade: Shade) -> None:
    text = Text()
    for token, level, wrong in zip(view["tokens"], _levels(view, shade), _wrong(view), strict=True):
        for index, part in enumerate(_lines(token, console)):
            text.append("\n" if index else "")
            text.append(part, _style(level, wrong=wrong))
    console.print(text, overflow="fold")


def _print_marked(console: Console, view: TokenView, shade: Shade) -> None:
    """Rows of tokens; below each row the digits of its tokens, and `^` under what is truly wrong."""
    row = ["", "", ""]
    for token, level, wrong in zip(view["tokens"], _levels(view, shade), _wrong(view), strict=True):
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


def _print_legend(console: Console, shade: Shade, *, plain: bool) -> None:
    legend = Text("weight  " if shade == "weight" else "TD error  ")
    for level, tick in _TICKS[shade]:
        legend.append(
            f"{_digit(level)} = {tick}  " if plain else f" {tick} ", "" if plain else _style(level, wrong=False)
        )
    if plain:
        legend.append("^ = truly wrong")
    else:
        legend.append(" ").append("underlined", _style(0, wrong=True)).append(" = truly wrong")
    console.print(legend)
