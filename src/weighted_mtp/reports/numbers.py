"""How a report writes numbers: one spelling for the page and the terminal."""

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
PERCENT = "\N{NO-BREAK SPACE}%"


def percent(fraction: float | None) -> str:
    """`0.684` as `68.4`, in percent; a dash where there is no number."""
    return NOTHING if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.1f}"


def points(fraction: float | None) -> str:
    """A difference of fractions as signed percentage points: `-0.012` as `−1.2`, `0.314` as `+31.4`."""
    return NOTHING if fraction is None or not math.isfinite(fraction) else signed(100 * fraction, 1)


def interval(low: float | None, high: float | None) -> str:
    """`+28.0 to +34.8` in percentage points; a dash where one draw gives no interval."""
    ends = points(low), points(high)
    return NOTHING if NOTHING in ends else " to ".join(ends)


def signed(value: float, digits: int) -> str:
    """A number with its sign; what rounds to zero has none."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def number(value: float | None) -> str:
    """Three decimals, a true minus; a dash where there is none."""
    return NOTHING if value is None or not math.isfinite(value) else signed(value, 3).removeprefix("+")


def draws(count: int) -> str:
    """`1 draw`, `3 draws`."""
    return f"{count} draw" if count == 1 else f"{count} draws"


def span(fractions: Sequence[float]) -> str:
    """`12.0 to 45.3`: lowest to highest in percent, one number where they round to the same."""
    low, high = percent(min(fractions)), percent(max(fractions))
    return low if low == high else f"{low} to {high}"


def listing(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
