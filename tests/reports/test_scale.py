"""The scales of the token view."""

import math

from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.reports.scale import td_level, weight_level


def test_weight_levels_are_logarithmic() -> None:
    assert [weight_level(weight) for weight in (0.0, 0.2, 0.45, 1.0, 2.2, 5.0, 9.0)] == [-6, -6, -3, 0, 3, 6, 6]


def test_td_levels_grow_with_the_square_root() -> None:
    assert [td_level(td) for td in (-2.0, -0.25, -0.001, 0.25, 1.0)] == [-6, -3, 0, 3, 6]


def test_nan_is_neutral() -> None:
    assert weight_level(math.nan) == td_level(math.nan) == 0


@given(st.floats(1e-6, 1e6))
def test_a_weight_and_its_inverse_are_equally_strong(weight: float) -> None:
    assert abs(weight_level(weight) + weight_level(1 / weight)) <= 1  # 1: rounding at a border


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_levels_never_fall_as_their_input_grows(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert td_level(low) <= td_level(high)
    assert weight_level(low) <= weight_level(high)
