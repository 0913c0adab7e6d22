"""The scales that turn a token's weight, TD error, credit or loss into a shade: level 0 is neutral, -6 the strongest
shade of "teaches less", +6 that of "teaches more"; a loss has a scale of its own, 0 to 6."""

import math

LEVELS = 6
WEIGHT_LIMIT = 5.0
CREDIT_LIMIT = 4.0  # log-odds: odds times 55
LOSS_LIMIT = 9.0  # nats; ln 50,000 is 10.8
TICKS = {
    "weight": {-6: "1/5 or less", -3: "0.45", 0: "1", 3: "2.2", 6: "5 or more"},
    "td": {-6: "\N{MINUS SIGN}1", -3: "\N{MINUS SIGN}0.25", 0: "0", 3: "+0.25", 6: "+1"},
    "credit": {-6: "\N{MINUS SIGN}4", -3: "\N{MINUS SIGN}1", 0: "0", 3: "+1", 6: "+4"},
    "loss": {0: "0", 2: "1", 4: "4", 6: "9+"},
}
"""What stands below the levels of each scale."""


def weight_level(weight: float) -> int:
    r"""Level of a weight: $\mathrm{round}(6 \log_5 w)$, within [-6, 6]: w and 1/w are equally strong. 0 or less is the
    lowest level; NaN is neutral (the tooltip shows both)."""
    if math.isnan(weight):
        return 0
    if weight <= 0:
        return -LEVELS
    return _level(math.log(weight) / math.log(WEIGHT_LIMIT))


def td_level(td_error: float) -> int:
    r"""Level of a TD error: $\mathrm{round}(6\,\mathrm{sign}(d)\sqrt{|d|})$, within [-6, 6]; 0.05 is seen beside 1."""
    if math.isnan(td_error):
        return 0
    return _level(math.copysign(math.sqrt(abs(td_error)), td_error))


def credit_level(credit: float) -> int:
    r"""Level of a credit in log-odds: that of the TD error $c / 4$.

    >>> [credit_level(c) for c in (-9.0, -1.0, 0.0, 1.0, 4.0)]
    [-6, -3, 0, 3, 6]
    """
    return td_level(credit / CREDIT_LIMIT)


def loss_level(nats: float) -> int:
    r"""Level of a loss: $\mathrm{round}(6 \sqrt{l / 9})$, within [0, 6]; NaN is 0.

    >>> [loss_level(nll) for nll in (0.0, 1.0, 4.0, 9.0, 20.0)]
    [0, 2, 4, 6, 6]
    """
    return td_level(max(nats, 0.0) / LOSS_LIMIT)


def _level(position: float) -> int:
    return round(LEVELS * max(-1.0, min(1.0, position)))
