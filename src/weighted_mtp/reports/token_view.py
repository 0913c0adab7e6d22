"""The token view: completions as HTML, every token shaded by its weight, TD error, credit or loss."""

import math
from collections.abc import Sequence
from html import escape
from typing import NotRequired, TypedDict

from weighted_mtp.reports.numbers import NOTHING, signed
from weighted_mtp.reports.scale import LEVELS, TICKS, credit_level, loss_level, td_level, weight_level

_LONG_PROMPT = 240  # characters; longer ones fold away
_DROPS = (  # hidden until the script runs, which also says by what it measures a drop
    '<div class="drops" role="group" aria-label="Largest drops" hidden>'
    '<button type="button" class="previous" aria-keyshortcuts="p">Previous <kbd>p</kbd></button>'
    '<button type="button" class="next" aria-keyshortcuts="n">Next largest drop <kbd>n</kbd></button>'
    '<output class="where" aria-live="polite"></output></div>'
)
_RETURN = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
_SCALES = {  # shade: its name on the button, the words of its legend
    "weight": ("Weight", "Weight: teaches less, as usual (1), more"),
    "td": ("TD error", "TD error: lowers, keeps (0), raises the chance of success"),
    "credit": ("Credit", "Credit, in log-odds: speaks against, neither (0), for success"),
    "loss": ("Loss", "Loss of the next-token head, in nats: expected to surprising"),
}


class TokenView(TypedDict):
    """One completion, token by token: `weights[i]`, `td_errors[i]`, `losses[i]`, ... belong to `tokens[i]`."""

    prompt: str
    label: bool  # did the completion pass its check
    tokens: Sequence[str]  # joined they are the text; a character of several tokens stands with the last of them
    weights: Sequence[float]
    td_errors: Sequence[float] | None
    values: Sequence[float] | None  # P(success | prefix)
    token_error: Sequence[bool] | None  # which tokens are truly wrong, where that is known
    arm: str
    row: NotRequired[int]  # its number among the rows of its file
    credit: NotRequired[Sequence[float] | None]  # in the critic's own unit: log-odds, unless the data say otherwise
    losses: NotRequired[Sequence[Sequence[float]]]  # nats, one per head that predicts the token; NaN: none does
    head_weights: NotRequired[Sequence[Sequence[float]]]  # likewise, where heads weigh the token differently


def shown_piece(token: str) -> str:
    """What stands for a token: its text, or a dot where its character is shown with a later token."""
    return token or "\N{MIDDLE DOT}"


def check_token_view(view: TokenView) -> None:
    """Raise ValueError unless every list of `view` has one entry per token."""
    for name in ("weights", "td_errors", "values", "token_error", "credit", "losses", "head_weights"):
        entries = view.get(name)
        if entries is not None and len(entries) != len(view["tokens"]):
            raise ValueError(
                f"token view of arm {view['arm']!r}: {name} has {len(entries)} entries for"
                f" {len(view['tokens'])} tokens; give one per token, or None"
            )


def token_view(views: Sequence[TokenView], noun: str = "arm") -> str:
    """Filters, legend, the way to the largest drops, and a card a completion; `noun` is what `arm` is to the reader."""
    wide = any(len(view["tokens"]) > 60 or any("\n" in token for token in view["tokens"]) for view in views)
    cards = "\n".join(map(_card, views))
    shades = _shades(views)
    return (
        f'<div class="tokenview" data-shade="weight">\n{_filters(views, shades, noun)}\n'
        f"{_legend(shades, any(view['token_error'] is not None for view in views))}\n"
        f"{_DROPS if {'td', 'credit'} & {*shades} else ''}\n"
        f'<ol class="cards{" long" if wide else ""}">\n{cards}\n</ol>\n'
        '<p class="nothing" hidden>No completion fits these filters.</p>\n</div>'
    )


def _shades(views: Sequence[TokenView]) -> list[str]:
    """What at least one completion can be shaded by."""
    fields = {"td": "td_errors", "credit": "credit", "loss": "losses"}
    return ["weight", *(s for s, name in fields.items() if any(view.get(name) is not None for view in views))]


def _filters(views: Sequence[TokenView], shades: Sequence[str], noun: str) -> str:
    """Hidden until the script runs: without it every completion is shown, shaded by weight."""
    arms = list(dict.fromkeys(view["arm"] for view in views))
    groups = [
        _choice("shade", "Shade by", [(shade, _SCALES[shade][0]) for shade in shades]),
        _choice("label", "Completions", [("all", "All"), ("right", "Right"), ("wrong", "Wrong")]),
    ]
    options = "".join(f'<option value="{escape(arm)}">{escape(arm)}</option>' for arm in arms)
    if len(arms) > 1:
        groups.append(
            f'<label class="select"><span>{noun.capitalize()}</span><select name="arm">'
            f'{options}<option value="">all {noun}s</option></select></label>'
        )
    shown = '<output class="shown" aria-live="polite"></output>'
    return f'<form class="filters" hidden>{"".join(groups)}{shown}</form>'


def _choice(name: str, legend: str, options: Sequence[tuple[str, str]]) -> str:
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"{" checked" if index == 0 else ""}>'
        f"<span>{text}</span></label>"
        for index, (value, text) in enumerate(options)
    )
    return f"<fieldset><legend>{legend}</legend><div>{buttons}</div></fieldset>"


def _legend(shades: Sequence[str], errors_known: bool) -> str:
    wrong = '<p><span class="t x">7</span> truly wrong token</p>' if errors_known else ""
    return f'<div class="legend">{"".join(map(_scale, shades))}{wrong}</div>'


def _scale(shade: str) -> str:
    letter, offset = ("l", 0) if shade == "loss" else ("s", LEVELS)
    steps = "".join(
        f'<li class="{letter}{level + offset}"><span>{TICKS[shade].get(level, "")}</span></li>'
        for level in range(-offset, LEVELS + 1)
    )
    return f'<div class="scale {shade}"><span>{_SCALES[shade][1]}</span><ol>{steps}</ol></div>'


def _card(view: TokenView) -> str:
    right = bool(view["label"])
    verdict = '<b class="right">✓ right</b>' if right else '<b class="wrong">✗ wrong</b>'
    tokens = "".join(_token(view, index) for index in range(len(view["tokens"])))
    row = f' data-row="{view["row"]}"' if "row" in view else ""
    return (
        f'<li class="card" data-label="{"right" if right else "wrong"}" data-arm="{escape(view["arm"])}"{row}>'
        f'<header>{verdict} <span class="arm">{escape(view["arm"])}</span>'
        f' <span class="quiet">{" · ".join(_facts(view))}</span></header>'
        f"{_prompt(view['prompt'])}"
        f'<div class="tokens">{tokens}</div></li>'
    )


def _facts(view: TokenView) -> list[str]:
    """What the head of a card says of its completion."""
    facts = [f"row {view['row']}"] if "row" in view else []
    weights, losses = finite(view["weights"]), finite([heads[0] for heads in view.get("losses", ())])
    means = [("weight", weights), ("loss", losses)]
    mean = [f"{name} {sum(numbers) / len(numbers):.2f}" for name, numbers in means if numbers]
    if mean:
        facts.append(f"mean {', '.join(mean)}")
    credit, td_errors = finite(view.get("credit") or ()), finite(view["td_errors"] or ())
    if credit:
        facts.append(f"lowest credit {signed(min(credit), 2)}")
    elif td_errors:
        facts.append(f"lowest TD {signed(min(td_errors), 2)}")
    return facts


def finite(numbers: Sequence[float]) -> list[float]:
    """Neither NaN nor infinite."""
    return [number for number in numbers if math.isfinite(number)]


def _prompt(prompt: str) -> str:
    text = escape(prompt.strip("\n"))
    if len(prompt) <= _LONG_PROMPT and prompt.count("\n") <= 6:
        return f'<pre class="prompt">{text}</pre>'
    first = escape(next((line for line in prompt.splitlines() if line.strip()), "")[:80])
    return f'<details><summary>Prompt: <code>{first}</code></summary><pre class="prompt">{text}</pre></details>'


def _token(view: TokenView, index: int) -> str:
    """A token with its numbers as data: the script makes the tip and what a screen reader says of them."""
    weight, credit = view["weights"][index], view.get("credit")
    td_errors, values, errors = view["td_errors"], view["values"], view["token_error"]
    shades, data = [f"w{weight_level(weight) + LEVELS}"], f' data-weight="{weight:.2f}"'
    if td_errors is not None:
        shades.append(f"d{td_level(td_errors[index]) + LEVELS}")
        data += f' data-td="{signed(td_errors[index], 3)}"'
    if values is not None:
        data += f' data-value="{values[index]:.3f}"'
    if credit is not None:
        shades.append(f"c{credit_level(credit[index]) + LEVELS}")
        data += f' data-credit="{signed(credit[index], 3)}"'
    if "losses" in view:
        losses = view["losses"][index]
        shades.append(f"n{loss_level(losses[0])}")
        data += f' data-loss="{_per_head(losses)}"'
    if "head_weights" in view:
        data += f' data-weights="{_per_head(view["head_weights"][index])}"'
    if errors is not None and errors[index]:
        shades.append("x")
    shown = escape(shown_piece(view["tokens"][index])).replace("\n", f'<i aria-hidden="true">{_RETURN}</i>\n')
    return f'<span class="t {" ".join(shades)}"{data}>{shown}</span>'


def _per_head(numbers: Sequence[float]) -> str:
    """Head 0 first, separated by spaces."""
    return " ".join(NOTHING if math.isnan(number) else f"{number:.2f}" for number in numbers)
