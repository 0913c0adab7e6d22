"""Answers by text and by number: what counts as the same, what counts as none, and that hostile text costs nothing."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.verifiers.answers import ExactMatch, NumericMatch, find_number


def exact(completion, answer):
    return ExactMatch().check({"completion": completion, "answer": answer})


def numeric(completion, answer):
    return NumericMatch().judge({"completion": completion, "answer": answer}).verdict


@pytest.mark.parametrize(
    ("completion", "answer", "verdict"),
    [
        ("0 0 7 1", "0 0 7 1", "pass"),
        ("\n 42\t", "42", "pass"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "pass"),
        ("Yes", "yes", "fail"),
        ("4.0", "4", "fail"),
        ("0  1", "0 1", "fail"),
        ("", "42", "fail"),
        ("42", "", "error"),
        ("42", 42, "pass"),
        ("42", 42.0, "fail"),
        ("True", True, "error"),
        ("42", None, "error"),
        (None, "42", "error"),
    ],
)
def test_exact_match(completion, answer, verdict):
    assert exact(completion, answer) == verdict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("She pays 3 * 24 = 72 dollars.\n#### 72", "72"),
        ("#### $1,234.50 for 2 people", "2469/2"),
        ("#### 72\n\nQuestion: how much is 5?", "72"),
        (r"so \boxed{5}, that is, 10 halves", "5"),
        (r"first \boxed{5}, no, \boxed{\frac{1}{2}} of 9", "1/2"),
        (r"#### 5 and then \boxed{6}", "6"),
        (r"\boxed{5} and then #### 6", "6"),
        ("the answer is 7", "7"),
        ("7. Then 8.", "8"),
        ("-7", "-7"),
        ("\N{MINUS SIGN}7", "-7"),
        ("-$7", "-7"),
        ("$-7", "-7"),
        (r"-\$7", "-7"),
        ("x = -3", "-3"),
        ("1,234,567", "1234567"),
        (r"10{,}000", "10000"),
        (r"10,\!000", "10000"),
        ("50%", "50"),
        (r"50\%", "50"),
        (".5", "1/2"),
        ("2.50", "5/2"),
        ("1e-3", "1/1000"),
        (r"6.02 \times 10^{23}", "602000000000000000000000"),
        ("3*10^5", "300000"),
        ("3 / 4", "3/4"),
        ("-3/4", "-3/4"),
        ("1.5/2", "3/4"),
        ("1,000/3", "1000/3"),
        ("1 3/4", "7/4"),
        (r"-1\frac{3}{4}", "-7/4"),
        (r"\dfrac{-3}{4}", "-3/4"),
        (r"\frac34", "3/4"),
        ("5 m^2", "5"),
        ("x_1 is 5", "5"),
    ],
)
def test_the_number_of_a_text(text, value):
    found = find_number(text)
    assert found is not None
    assert found.value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    ["", "none", "nan", "inf", "-inf", "####", r"#### none, though 5 came before: \boxed{}", "3/0", r"\frac{1}{0}",
     "H2O", "1e999999999", "1e-999999999", "9" * 5_000, "5 * 10^" + "9" * 50],
)  # fmt: skip
def test_a_text_without_a_usable_number_has_none(text):
    assert find_number(text) is None


@given(st.integers(-(10**30), 10**30))
def test_an_integer_is_read_as_it_is_written(value):
    for text in (f"{value}", f"{value:,}", f"so it is {value}.", rf"\boxed{{{value}}}", f"#### {value:,}"):
        assert find_number(text).value == value


@given(st.decimals(-(10**6), 10**6, places=4))
def test_a_decimal_is_read_exactly(value):
    assert find_number(f"= {value:,f}").value == Fraction(value)


@given(st.integers(-1000, 1000), st.integers(1, 1000))
def test_a_fraction_is_read_exactly_in_every_spelling(over, under):
    for text in (f"{over}/{under}", rf"\frac{{{over}}}{{{under}}}"):
        assert find_number(text).value == Fraction(over, under)


@pytest.mark.parametrize(
    ("completion", "answer", "verdict"),
    [
        ("72", "Natalia sold 48/2 = 24 clips.\n#### 72", "pass"),
        ("72.0", "72", "pass"),
        ("0.5", "1/2", "pass"),
        ("50%", "50", "pass"),
        ("50%", "0.5", "pass"),
        ("0.333333", "1/3", "pass"),
        ("0.3333", "1/3", "fail"),
        ("333333/1000000", "1/3", "fail"),  # no decimal: exact
        ("3.14159265", "3.14159", "pass"),
        ("3.1416", "3.14159", "fail"),
        ("1000000", "1000001", "fail"),
        ("1234567.5", "1234567", "fail"),  # an integer must be met
        ("0.1", 0.1, "pass"),
        ("0.3", 0.1 + 0.2, "pass"),
        ("7", 7, "pass"),
        ("no idea", "7", "fail"),
        ("nan", "7", "fail"),
        ("", "7", "fail"),
        ("7", "seven", "error"),
        ("nan", float("nan"), "error"),
        ("inf", float("inf"), "error"),
        ("7", "nan", "error"),
        ("1", True, "error"),
        ("7", [7], "error"),
        ("7", None, "error"),
        (7, "7", "error"),
    ],
)
def test_numeric_match(completion, answer, verdict):
    assert numeric(completion, answer) == verdict


@given(st.text(), st.text())
def test_any_text_gets_a_verdict(completion, answer):
    assert numeric(completion, answer) in ("pass", "fail", "error")


@given(st.text(alphabet=r"0123456789.,-+/$%eE^*x#{}\ fracboxedtims", max_size=60))
def test_text_that_looks_like_numbers_gets_a_number_or_none(text):
    found = find_number(text)
    assert found is None or isinstance(found.value, Fraction)


PIECES = ["1", "1,", "1,111", ",111", "1 ", "1/", "1 1", "1e", "-", "$ ", "{", r"\frac{", r"\frac{1}", r"\boxed{",
          "#### ", r"5 \times 10^{", "3*10^9"]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_text_is_read_in_linear_time(piece):
    text = piece * (2_000_000 // len(piece))
    start = time.process_time()
    find_number(text)
    assert time.process_time() - start < 1.0  # milliseconds; a quadratic search of 20,000 characters takes seconds
