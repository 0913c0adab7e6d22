r"""The diverging scales that turn a token's weight or TD error into one of 13 shades.

Level 0 is neutral, -6 the strongest shade of "teaches less", +6 that of "teaches more".
"""

import math

LEVELS = 6
WEIGHT_LIMIT = 5.0
WEIGHT_TICKS = {-6: "1/5 or less", -3: "0.45", 0: "1", 3: "2.2", 6: "5 or more"}
TD_TICKS = {-6: "\N{MINUS SIGN}1", -3: "\N{MINUS SIGN}0.25", 0: "0", 3: "+0.25", 6: "+1"}


def weight_level(weight: float) -> int:
    r"""Level of a weight: $\mathrm{round}(6 \log_5 w)$, within [-6, 6].

    Logarithmic, because weights are exponentials of TD errors: w and 1/w are equally strong. A weight of
    0 is the lowest level; NaN is neutral (the tooltip shows it).

    >>> [weight_level(w) for w in (0.0, 0.2, 0.45, 1.0, 2.2, 5.0, 9.0)]
    [-6, -6, -3, 0, 3, 6, 6]
    """
    if math.isnan(weight):
        return 0
    if weight <= 0:
        return -LEVELS
    return _level(math.log(weight) / math.log(WEIGHT_LIMIT))


def td_level(td_error: float) -> int:
    r"""Level of a TD error: $\mathrm{round}(6\,\mathrm{sign}(d)\sqrt{|d|})$, within [-6, 6].

    A square root, so that a TD error of 0.05 is still seen beside one of 1.

    >>> [td_level(d) for d in (-2.0, -0.25, -0.001, 0.25, 1.0)]
    [-6, -3, 0, 3, 6]
    """
    if math.isnan(td_error):
        return 0
    return _level(math.copysign(math.sqrt(abs(td_error)), td_error))


def _level(position: float) -> int:
    return round(LEVELS * max(-1.0, min(1.0, position)))
