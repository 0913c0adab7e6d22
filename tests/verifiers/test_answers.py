"""Answers by text and by number: what counts as the same, what counts as none, and that hostile text costs nothing."""

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.verifiers.answers import ExactMatch, NumericMatch
from weighted_mtp.verifiers.stated_answer import find_number, stated_number, stated_text

SHARED = Path(__file__).parents[3] / "shared/data"


def shared_rows(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip("the shared data are not here")
    return [json.loads(line) for line in path.read_text().splitlines()]


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


# How other people's models and data sets write numbers, judged by hand: answer, completion, verdict.
P, F, E = "pass", "fail", "error"
HABITS = [
    ("7", "log 7", "fail"),
    ("7", r"\log_{10} 7", "fail"),
    ("5", r"\frac{5}{x}", "fail"),
    ("5", "x ≡ 5 (mod 7)", "fail"),
    ("-5", "So it's −5.", "pass"),
    ("7", r"\boxed{{7}}", "pass"),
    ("42", r"\boxed{~42~}", "pass"),
    ("42", r"\boxed{\Large{42}}", "pass"),
    ("1234567", "1~234~567", "pass"),
    ("1234567", "1’234’567", "pass"),
    ("6.02e23", "6.02 * 10**23", "pass"),
    (r"0.1\overline{6}", "1/6", "pass"),
    (r"0.\overline{3}", "0.3", "fail"),
    ("5", "$\\boxed{5}$\n\n$\\boxed{5}$", P),
    ("5", "\\boxed{4} \\boxed{5}", F),
    ("5", "\\boxed{4}\n\nNext: \\boxed{5}", P),
    ("5", "\\boxed{4} \\text{ and } \\boxed{5}", F),
    ("5", "\\boxed{4},\\ \\boxed{5}", F),
    # gsm8k habits
    ("18", "Janet makes $18 every day at the farmers' market.", P),
    ("18", "Janet makes **$18** every day.", P),
    ("18", "Therefore, Janet makes $\\$18$ per day.", P),
    ("18", "So she makes 9 * $2 = $<<9*2=18>>18 every day.\n#### 18", P),
    ("18", "#### $18.00", P),
    ("18", "#### 18 dollars", P),
    ("18", "####18", P),
    ("18", "#### 18.", P),
    ("18", "#### \\boxed{18}", P),
    ("18", "\\boxed{18} dollars", P),
    ("18", "\\[ \\boxed{18} \\]", P),
    ("18", "The final answer is: $\\boxed{18}$", P),
    ("18", "The final answer is $18$. I hope it is correct.", P),
    ("18", "Answer: $18", P),
    ("18", "**Final Answer:** 18 dollars", P),
    ("18", "**Answer:** Janet makes $18.", P),
    ("18", "### Answer\n18", P),
    ("18", "Final answer: \n\n18", P),
    ("18", "The answer is 16 + 2 = 18.", P),
    ("18", "16 - 3 - 4 = 9\n9 * 2 = 18", P),
    ("18", "Janet makes 18 dollars a day.", P),
    ("18", "Janet makes eighteen (18) dollars.", P),
    ("18", "Total: 17", F),
    ("18", "She makes $180.", F),
    ("18", "#### 1.8", F),
    ("18", "", F),
    ("18", "I cannot answer this.", F),
    ("18", "18 is not right, it is 17.", F),
    ("18", "The answer is 18.\n\nLet me double check: 9*2 = 18. Yes.", P),
    ("18", "The answer is 18 because 9 times 2 is 18.", P),
    ("18", "The answer is 17. Wait, actually it is 18.", P),
    ("17", "The answer is 17. Wait, actually it is 18.", F),
    ("1,250", "1250", P),
    ("1250", "$1,250", P),
    ("1250", "1,250.00", P),
    ("1250", "1 250", P),
    ("1250", "1.250,00", P),
    ("1250", "1250.5", F),
    ("2500000", "2.5 million", P),
    ("2500000", "$2.5 million", P),
    ("2500000", "2,500,000", P),
    ("2.5", "2.5 million", F),
    ("0.25", "1/4", P),
    ("0.25", "25%", P),
    ("25", "25%", P),
    ("25%", "1/4", P),
    ("25%", "25", P),
    ("25", "0.25", F),
    ("-3", "-3", P),
    ("-3", "$-3$", P),
    ("-3", "−3", P),
    ("-3", "– 3", F),
    ("-3", "–3", P),
    ("-3", "negative 3", P),
    ("-3", "3", F),
    ("3", "-3", F),
    ("3", "10 - 7 = 3", P),
    ("3", "10-7", F),
    ("7", "10-7", F),
    # MATH habits
    ("5", "\\boxed{5}", P),
    ("5", "$\\boxed{5}$.", P),
    ("5", "\\boxed{x=5}", P),
    ("5", "\\boxed{x = 5 \\text{ cm}}", P),
    ("5", "\\boxed{5\\text{ units}}", P),
    ("5", "\\boxed{\\text{5 apples}}", P),
    ("5", "\\boxed{5 \\mathrm{~cm}}", P),
    ("5", "\\boxed{5\\,\\mathrm{cm}^2}", P),
    ("5", "\\boxed{5^\\circ}", P),
    ("5", "\\boxed{5^{\\circ}\\text{C}}", P),
    ("5", "\\boxed{5x}", F),
    ("5", "\\boxed{5\\sqrt{2}}", F),
    ("5", "\\boxed{5i}", F),
    ("5", "\\boxed{5\\pi}", F),
    ("5", "\\boxed{5n}", F),
    ("5", "\\boxed{5, 6}", F),
    ("6", "\\boxed{5, 6}", F),
    ("5", "\\boxed{(5)}", P),
    ("5", "\\boxed{[5, 6]}", F),
    ("5", "\\boxed{\\{5\\}}", F),
    ("5", "\\boxed{x > 5}", F),
    ("5", "\\boxed{x \\ge 5}", F),
    ("5", "\\boxed{\\pm 5}", F),
    ("5", "\\boxed{5 \\text{ or } 6}", F),
    ("6", "\\boxed{5 \\text{ or } 6}", F),
    ("3", "\\boxed{x = 2 \\text{ or } x = 3}", F),
    ("3", "$x = \\boxed{2}$ or $x = \\boxed{3}$", F),
    ("3", "\\boxed{y = x + 3}", F),
    ("3", "\\boxed{2x + 3}", F),
    ("3", "\\boxed{x^3}", F),
    ("3", "\\boxed{\\log 3}", F),
    ("3", "\\boxed{3!}", F),
    ("6", "\\boxed{3!}", F),
    ("3", "\\boxed{3:4}", F),
    ("3", "\\boxed{3 \\pmod{7}}", F),
    ("3", "\\boxed{3_7}", F),
    ("3", "\\boxed{3 \\times 4}", F),
    ("12", "\\boxed{3 \\times 4 = 12}", P),
    ("12", "\\boxed{12", F),
    ("12", "\\boxed{}", F),
    ("12", "\\boxed{12} \\text{ cm}", P),
    ("12", "\\boxed{\\frac{24}{2}}", P),
    ("12", "\\boxed{\\$12}", P),
    ("12", "\\boxed{\\$12.00}", P),
    ("12", "\\boxed{12\\%}", P),
    ("12", "\\boxed{12 \\text{ square units}}", P),
    ("12", "\\boxed{12 \\text{ cm}^3}", P),
    ("12000", "\\boxed{12{,}000}", P),
    ("12000", "\\boxed{12,000}", P),
    ("12000", "\\boxed{12\\,000}", P),
    ("12000", "\\boxed{12\\ 000}", P),
    ("12000", "\\boxed{12,\\!000}", P),
    ("12000", "\\boxed{1.2 \\times 10^4}", P),
    ("12000", "\\boxed{1.2\\cdot10^{4}}", P),
    ("12000", "\\boxed{12 \\times 10^{3}}", P),
    ("\\frac{1}{2}", "\\boxed{\\dfrac{1}{2}}", P),
    ("\\frac{1}{2}", "\\boxed{\\tfrac12}", P),
    ("\\frac{1}{2}", "\\boxed{1/2}", P),
    ("\\frac{1}{2}", "\\boxed{0.5}", P),
    ("\\frac{1}{2}", "\\boxed{.5}", P),
    ("\\frac{1}{2}", "\\boxed{{1 \\over 2}}", P),
    ("\\frac{1}{2}", "\\boxed{\\frac{2}{4}}", P),
    ("\\frac{1}{2}", "\\boxed{\\frac{1}{2}x}", F),
    ("\\frac{1}{2}", "\\boxed{-\\frac{1}{2}}", F),
    ("\\frac{1}{2}", "\\boxed{\\frac{1}{3}}", F),
    ("\\frac{1}{2}", "½", P),
    ("\\frac{1}{2}", "The probability is $\\frac{1}{2}$.", P),
    ("\\frac{1}{2}", "The probability is \\(\\frac{1}{2}\\).", P),
    ("\\frac{1}{2}", "so \\[P = \\frac{1}{2}\\]", P),
    ("\\frac{1}{2}", "1 out of 2", F),
    ("-\\frac{1}{2}", "\\boxed{-\\frac12}", P),
    ("-\\frac{1}{2}", "\\boxed{\\frac{-1}{2}}", P),
    ("-\\frac{1}{2}", "\\boxed{\\frac{1}{-2}}", P),
    ("-\\frac{1}{2}", "\\boxed{- \\frac{1}{2}}", P),
    ("-\\frac{1}{2}", "\\boxed{-0.5}", P),
    ("2\\frac{1}{2}", "\\boxed{2.5}", P),
    ("2\\frac{1}{2}", "\\boxed{2 \\frac{1}{2}}", P),
    ("2\\frac{1}{2}", "2½", P),
    ("2\\frac{1}{2}", "\\boxed{\\frac{5}{2}}", P),
    ("2\\frac{1}{2}", "\\boxed{1}", F),
    ("\\sqrt{2}", "\\boxed{\\sqrt{2}}", E),
    ("2\\sqrt{3}", "\\boxed{2}", E),
    ("(3, 4)", "\\boxed{4}", E),
    ("[2, 5]", "\\boxed{5}", E),
    ("x^2+1", "1", E),
    ("3x", "3", E),
    ("12\\pi", "12", E),
    ("1, 2", "2", E),
    ("\\{1,2\\}", "2", E),
    ("x=2,y=3", "3", E),
    ("x=1 or x=2", "2", E),
    ("5 or 6", "6", E),
    ("3:4", "4", E),
    ("10:30", "30", E),
    ("2/3/2024", "2024", E),
    ("A", "A", E),
    ("(B)", "B", E),
    ("Room 12", "12", E),
    ("B) 12", "12", E),
    ("yes", "yes", E),
    ("", "1", E),
    ("x > 3", "3", E),
    ("x\\neq 3", "3", E),
    ("5!", "5", E),
    ("2^n", "2", E),
    ("e^2", "2", E),
    ("1+i", "1", E),
    ("\\pm 2", "2", E),
    ("\\infty", "1", E),
    ("1101_2", "1101", E),
    ("10^n", "10", E),
    ("2x=6", "6", E),
    ("x+y=5", "5", E),
    ("x^2=4", "4", E),
    ("3 and 4", "4", E),
    ("between 3 and 4", "4", E),
    ("3-4", "4", E),
    ("3–4", "4", E),
    ("1,2,3", "3", E),
    ("2 hours 30 minutes", "2", E),
    ("5 feet 6 inches", "6", E),
    ("3 + 4", "4", E),
    ("14k", "14000", E),
    ("seven", "7", E),
    ("\\frac{1}{x}", "1", E),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "2", E),
    ("f(x)=3", "3", P),
    ("(100,101)", "100101", E),
    # others
    ("42", "42", P),
    ("42", " 42 \n", P),
    ("42", "`42`", P),
    ("42", '"42"', P),
    ("42", "= 42", P),
    ("42", "x = 42", P),
    ("42", "x=42.", P),
    ("42", "42.0", P),
    ("42", "042", P),
    ("42", "4.2e1", P),
    ("42", "4.2E+1", P),
    ("42", "42!", P),
    ("42", "It's 42!", P),
    ("42", "The result is approximately 42.", P),
    ("42", "≈ 42", P),
    ("42", "about 42", P),
    ("42", "42 (forty-two)", P),
    ("42", "**42**", P),
    ("42", "*42*", P),
    ("42", "The answer is: 42", P),
    ("42", "the answer is\n\n42", P),
    ("42", "So the answer is 42 km/h.", P),
    ("42", "42 km/h", P),
    ("42", "42kg", P),
    ("42", "42 kg", P),
    ("42", "$42$ kilograms", P),
    ("42", "The area is 42 m^2.", P),
    ("42", "The area is 42 m².", P),
    ("42", "The volume is 42 cm³.", P),
    ("42", "She has 42 apples and Bob has some.", P),
    ("42", "a) 42", P),
    ("42", "1. Add. 2. The sum is 42", P),
    ("2", "The area is 42 m^2.", F),
    ("2", "H2O", F),
    ("2", "x_2", F),
    ("4", "(3, 4)", F),
    ("4", "3, 4", F),
    ("4", "x is 3 or 4", F),
    ("4", "between 3 and 4", F),
    ("4", "3/4/2024", F),
    ("30", "10:30", F),
    ("4", "It is 3:4", F),
    ("2", "$2\\sqrt{3}$", F),
    ("3", "$2\\sqrt{3}$", F),
    ("2", "2x", F),
    ("2", "The answer is 2x.", F),
    ("3", "The answer is $2^3$.", F),
    ("8", "The answer is $2^3$.", P),
    ("1000000", "10^6", P),
    ("10", "10^6", F),
    ("6", "10^6", F),
    ("0.001", "10^{-3}", P),
    ("4", "\\frac{3}{4}", F),
    ("3", "3%", P),
    ("3", "3rd", P),
    ("2024", "2024-01-05", F),
    ("5", "2024-01-05", F),
    ("3.14", "3.14159", F),
    ("3.14159265", "\\pi", F),
    ("1e-3", "0.001", P),
    ("6.02e23", "6.02 \\times 10^{23}", P),
    ("100", "1e2", P),
    ("1/3", "0.3333333", P),
    ("1/3", "0.33", F),
    ("0.1", "1/10", P),
    ("7", "7.0000001", F),
    (7, "7", P),
    (7.5, "15/2", P),
    ([7], "7", E),
    (True, "1", E),
    (None, "1", E),
    (float("nan"), "nan", E),
    ("\\$1,234.50", "1234.5", P),
    ("12 cm", "12", P),
    ("12\\text{ cm}", "\\boxed{12}", P),
    ("90^\\circ", "90", P),
    ("90°", "\\boxed{90^{\\circ}}", P),
    ("€5", "5", P),
    ("5 USD", "$5", P),
    ("£3.50", "3.5", P),
    ("₩10,000", "10000", P),
    ("５", "5", P),
    ("１２", "12", P),
    ("30", "30 minutes", P),
    ("30", "half an hour, or 30 minutes", P),
    ("30", "30 to 40", F),
    ("40", "30 to 40", F),
    ("40", "30-40", F),
    ("0.5", "50 %", P),
    (".5", "50\\%", P),
    ("0", "0", P),
    ("0", "-0", P),
    ("0", "0.0", P),
    ("5", "+5", P),
]


@pytest.mark.parametrize(("answer", "completion", "verdict"), HABITS)
def test_one_number_is_read_however_it_is_written_and_nothing_else_is(answer, completion, verdict):
    assert numeric(completion, answer) == verdict


def test_hostile_rows_are_decided_as_a_reader_would():
    right = {"pass": {"pass"}, "not pass": {"fail", "error"}, "pass or error": {"pass", "error"}}
    for row in shared_rows("hostile/numeric.jsonl"):
        assert NumericMatch().judge(row).verdict in right[row["truth"]], row


def test_no_pair_that_is_wrong_passes_and_those_that_are_right_pass_or_are_no_number():
    for row in shared_rows("answers/pairs.jsonl"):
        found = NumericMatch().judge(row).verdict
        assert (
            found != "pass" if not row["truth"] else found != "fail" or row["completion"] in ("3:4", r"\frac{2x}{3x}")
        )


def test_the_labels_of_gsm8k_are_met():
    for row in shared_rows("gsm8k/model_solutions.jsonl")[:300]:
        for made_by in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            verdict = numeric(row[made_by]["solution"], row["ground_truth"])
            assert verdict == ("pass" if row[made_by]["is_correct"] else "fail")


@given(st.text(), st.text())
def test_any_text_gets_a_verdict(completion, answer):
    assert numeric(completion, answer) in ("pass", "fail", "error")


@given(st.text(alphabet=r"0123456789.,-+/$%eE^*x#{}\ fracboxedtims", max_size=60))
def test_text_that_looks_like_numbers_gets_a_number_or_none(text):
    found = find_number(text)
    assert found is None or isinstance(found.value, Fraction)


PIECES = [
    *["1", "1,", "1,111", ",111", "1 ", "1/", "1 1", "1e", "-", "$ ", "{", r"\frac{", r"\frac{1}", r"\boxed{", "#### "],
    *[r"5 \times 10^{", "3*10^9", r"\text{", r"\text{1}", "(", "(1", "1)", "answer ", "answer is ", "=1", "1 = ", "- "],
    *[
        "*1*",
        "a ",
        "**",
        "1:",
        "^",
        "2^",
        r"{1\over",
        "~",
        "\N{SUPERSCRIPT TWO}",
        "\N{EN DASH}",
        "1 000",
        "1_000",
        "1.000",
    ],
    *["is ", "####\n", r"\boxed{1} ", r"\boxed{1} and ", "wait ", "per 1 ", "(ab ", "\n", " ", "\n1"],
]


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_text_is_read_in_linear_time(piece):
    text = piece * (2_000_000 // len(piece))
    start = time.process_time()
    find_number(text)
    stated_number(text)
    stated_text(text)
    assert time.process_time() - start < 1.0  # milliseconds; a quadratic search of 20,000 characters takes seconds
