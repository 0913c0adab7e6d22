"""The token view: completions as HTML, every token shaded by its weight or its TD error."""

import math
from collections.abc import Sequence
from html import escape

from weighted_mtp.reports.content import TokenView
from weighted_mtp.reports.numbers import signed
from weighted_mtp.reports.scale import LEVELS, TD_TICKS, WEIGHT_TICKS, td_level, weight_level

_LONG_PROMPT = 240  # characters; longer ones fold away
_RETURN = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"


def token_view(views: Sequence[TokenView]) -> str:
    """Filters, legend and one card per completion."""
    wide = any(len(view["tokens"]) > 60 or any("\n" in token for token in view["tokens"]) for view in views)
    cards = "\n".join(_card(number, view) for number, view in enumerate(views, 1))
    return (
        f'<div class="tokenview" data-shade="weight">\n{_filters(views)}\n'
        f"{_legend(any(view['token_error'] is not None for view in views))}\n"
        f'<ol class="cards{" long" if wide else ""}">\n{cards}\n</ol>\n'
        '<p class="nothing" hidden>No completion fits these filters.</p>\n</div>'
    )


def _filters(views: Sequence[TokenView]) -> str:
    """Hidden until the script runs: without it every completion is shown, shaded by weight."""
    arms = list(dict.fromkeys(view["arm"] for view in views))
    shades = [("weight", "Weight")]
    if any(view["td_errors"] is not None for view in views):
        shades.append(("td", "TD error"))
    groups = [
        _choice("shade", "Shade by", shades),
        _choice("label", "Completions", [("all", "All"), ("right", "Right"), ("wrong", "Wrong")]),
    ]
    options = "".join(f'<option value="{escape(arm)}">{escape(arm)}</option>' for arm in arms)
    if len(arms) > 1:
        groups.append(
            '<label class="select"><span>Arm</span><select name="arm">'
            f'{options}<option value="">all arms</option></select></label>'
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


def _legend(errors_known: bool) -> str:
    def scale(name: str, heading: str, ticks: dict[int, str]) -> str:
        steps = "".join(
            f'<li class="s{level + LEVELS}"><span>{ticks.get(level, "")}</span></li>'
            for level in range(-LEVELS, LEVELS + 1)
        )
        return f'<div class="scale {name}"><span>{heading}</span><ol>{steps}</ol></div>'

    wrong = '<p><span class="t x">7</span> truly wrong token</p>' if errors_known else ""
    return (
        '<div class="legend">'
        f"{scale('weight', 'Weight: teaches less, as usual (1), more', WEIGHT_TICKS)}"
        f"{scale('td', 'TD error: lowers, keeps (0), raises the chance of success', TD_TICKS)}"
        f"{wrong}</div>"
    )


def _card(number: int, view: TokenView) -> str:
    right = bool(view["label"])
    verdict = '<b class="right">✓ right</b>' if right else '<b class="wrong">✗ wrong</b>'
    weights = [weight for weight in view["weights"] if math.isfinite(weight)]
    facts = [f"mean weight {sum(weights) / len(weights):.2f}"] if weights else []
    lowest = min((td for td in view["td_errors"] or () if math.isfinite(td)), default=None)
    if lowest is not None:
        facts.append(f"lowest TD {signed(lowest, 2)}")
    tokens = "".join(_token(view, index) for index in range(len(view["tokens"])))
    return (
        f'<li class="card" data-label="{"right" if right else "wrong"}" data-arm="{escape(view["arm"])}">'
        f'<header>{verdict} <span class="arm">{escape(view["arm"])}</span>'
        f' <span class="quiet">{" · ".join(facts)}</span></header>'
        f"{_prompt(view['prompt'])}"
        f'<div class="tokens" role="listbox" aria-orientation="horizontal"'
        f' aria-label="Tokens of completion {number}; arrow keys move between them">{tokens}</div></li>'
    )


def _prompt(prompt: str) -> str:
    text = escape(prompt.strip("\n"))
    if len(prompt) <= _LONG_PROMPT and prompt.count("\n") <= 6:
        return f'<pre class="prompt">{text}</pre>'
    first = escape(next((line for line in prompt.splitlines() if line.strip()), "")[:80])
    return (
        f'<details><summary>Prompt: <code>{first}</code></summary><pre class="prompt">{text}</pre></details>'
    )


def _token(view: TokenView, index: int) -> str:
    weight = view["weights"][index]
    td_errors, values, errors = view["td_errors"], view["values"], view["token_error"]
    shades, details = [f"w{weight_level(weight) + LEVELS}"], [f"weight {weight:.2f}"]
    data = f' data-weight="{weight:.2f}"'
    if td_errors is not None:
        shades.append(f"d{td_level(td_errors[index]) + LEVELS}")
        details.append(f"TD error {signed(td_errors[index], 3)}")
        data += f' data-td="{signed(td_errors[index], 3)}"'
    if values is not None:
        details.append(f"value {values[index]:.3f}")
        data += f' data-value="{values[index]:.3f}"'
    if errors is not None and errors[index]:
        shades.append("x")
        details.append("truly wrong")
    token = view["tokens"][index]
    spoken = escape(f"{token.strip() or repr(token)}: {', '.join(details)}")
    shown = escape(token).replace("\n", f'<i aria-hidden="true">{_RETURN}</i>\n')
    return (
        f'<span class="t {" ".join(shades)}" role="option" aria-selected="false"'
        f' tabindex="{0 if index == 0 else -1}" aria-label="{spoken}"{data}>{shown}</span>'
    )
