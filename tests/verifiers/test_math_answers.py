"""Answers in mathematics: what is equal passes, what is not fails, and a slow comparison costs its own row alone."""

import json
from pathlib import Path

import pytest

from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.math_answers import MathMatch
from weighted_mtp.verifiers.worker import Library

pytestmark = pytest.mark.usefixtures("sandbox_works")
PAIRS = Path(__file__).parents[3] / "shared/data/answers/pairs.jsonl"


@pytest.fixture(scope="module")
def judge(sandbox_works, math_verify):
    verifier = MathMatch(timeout=3, workers=1)
    return lambda *rows: [
        found.verdict for found in verifier.judge_all({"answer": a, "completion": c} for a, c in rows)
    ]


EQUAL = [
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
    (r"12\pi", r"So it is $12 \pi$."),
    ("3x+2", r"\boxed{2 + 3x}"),
    ("x^2-1", r"\boxed{(x-1)(x+1)}"),
    (r"\frac{1}{\sqrt{2}}", r"\boxed{\frac{\sqrt{2}}{2}}"),
    ("5!", r"\boxed{120}"),
    (r"\binom{5}{2}", r"\boxed{10}"),
    ("2+3i", r"\boxed{3i+2}"),
    ("1, 2, 3", r"\boxed{3, 2, 1}"),
    ("1, 2", r"\boxed{x = 1 \text{ or } x = 2}"),
    ("2, 3", r"$x=\boxed{2}$ or $x=\boxed{3}$"),
    (r"\{1, 2\}", r"\boxed{\{2, 1\}}"),
    ("(1, 2)", r"\boxed{(1, 2)}"),
    ("[0, 1)", r"\boxed{[0,1)}"),
    (r"(-\infty, 2) \cup (3, \infty)", r"\boxed{(-\infty,2)\cup(3,\infty)}"),
    ("x > 5", r"\boxed{x > 5}"),
    (r"\pm 3", r"\boxed{\pm 3}"),
    ("y = 2x + 1", r"\boxed{y = 2x+1}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}"),
    ("3/4", "3:4"),
    ("10:30", "10:30"),
    ("4210_5", r"\boxed{4210_{5}}"),
    ("4210_5", r"\boxed{4210}"),
    (r"\frac{1}{2^{99}}", r"\boxed{2^{-99}}"),
    (r"8\!:\!34\text{ p.m.}", r"\boxed{8:34 \text{ p.m.}}"),
    ("1000", r"\boxed{1{,}000 \text{ cm}}"),
    ("Monday", "It is a Monday.\nThe answer is Monday."),
    (r"\text{Evelyn}", r"\boxed{\text{evelyn}}"),
    (r"\text{(B)}", r"\boxed{B}"),
    ("12", r"\boxed{\textbf{(B) }12}"),
    (r"\sqrt{12}", r"\boxed{\textbf{(B)}~2\sqrt{3}}"),
    ("B", r"\boxed{\textbf{(B) }12}"),
    ("B", "The answer is (B)."),
    ("B", "The correct option is B."),
    ("Monday", "The day is Monday."),
    ("C) Paris", "Paris"),
    ("x > 5", r"\boxed{(5, \infty)}"),
    (r"\log_2 3", r"\boxed{\frac{\ln 3}{\ln 2}}"),
    ("10^{-5}", r"\boxed{0.00001}"),
    ("xy", r"\boxed{yx}"),
    ("B) 12", r"\boxed{B}"),
    ("B) 12", r"\boxed{12}"),
    ("B", "The answer is **B) 12**"),
    (["1/2", "0.5", "half"], r"\boxed{\text{half}}"),
    (["x+1", "x-1"], r"\boxed{x-1}"),
    (7, r"\boxed{7}"),
    ("(1, 2)", "The answer is (1, 2)."),
    ("(1, 2)", "The point is (1, 2)."),
    ("10:30", "The answer is 10:30."),
    ("3:2", "The ratio is 3:2"),
    ("3:2", "3 : 2"),
    (r"2\sqrt{3}", "2√3"),
    (r"12\pi", "12pi"),
    (r"\frac{\pi}{4}", "π/4"),
    (r"\emptyset", r"\boxed{\varnothing}"),
    ("A", "The correct answer is A because it is larger."),
    ("B", "Therefore, option B is correct."),
    ("2+i.", r"\boxed{2+i.}."),
    (r"0.\overline{3}", r"\boxed{\frac{1}{3}}"),
]
DIFFERENT = [
    (r"2\sqrt{3}", r"\boxed{2}"),
    (r"12\pi", r"\boxed{12}"),
    (r"\sqrt{3}", r"\boxed{3}"),
    ("x+2", r"\boxed{x-2}"),
    ("5", r"\boxed{5!}"),
    ("2+3i", r"\boxed{2-3i}"),
    ("2^{99}", r"\boxed{2^{98}}"),
    ("(1, 2)", r"\boxed{(2, 1)}"),
    ("(1, 2)", r"\boxed{2}"),
    ("[0, 1)", r"\boxed{[0, 1]}"),
    (r"\pm 3", r"\boxed{3}"),
    ("1:2", r"\boxed{1:3}"),
    ("10:30", "9:30"),
    ("5", r"\boxed{- 5}"),
    ("10", r"\boxed{10^6}"),
    ("1, 2", r"\boxed{1}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\boxed{\begin{pmatrix}3\\2\end{pmatrix}}"),
    ("Monday", "Tuesday"),
    ("Room 12", "12"),
    ("B", r"\boxed{C}"),
    ("B) 12", "C) 12"),
    ("B", r"\boxed{B, C}"),
    ("B", "A B C D"),
    ("Monday", "It is not Monday"),
    ("Monday", r"\boxed{\text{Monday or Tuesday}}"),
    ("5", r"\boxed{5} or \boxed{6}"),
    ("5", r"\boxed{5, 6}"),
    ("5", r"\boxed{x = 5, x = 6}"),
    ("1, 2", r"\boxed{1, 2, 3}"),
    (r"\infty", r"\boxed{-\infty}"),
    (r"\alpha", r"\boxed{-\alpha}"),
    ("ab - cd", r"\boxed{ab + cd}"),
    ("12:00", r"\boxed{1:00}"),
    ("x^2+y^2=4", r"\boxed{4}"),
    (r"\$18.90", r"\boxed{(1, 2)}"),
    ("4210_5", r"\boxed{4210_7}"),
    (r"\frac{1}{2004!}", r"\boxed{\frac{1}{2^{98}}}"),
    (r"\frac{1}{2^{99}}", r"\boxed{\frac{1}{2^{98}}}"),
    (r"\frac{1}{2^{99}}", r"\boxed{0}"),
    ("1/x", r"\boxed{\frac{1}{2x}}"),
    ("13", r"\boxed{\textbf{(B) }12}"),
    ("B", r"\boxed{\textbf{(C) }12}"),
    (["1", "2"], r"\boxed{3}"),
    ("5", "I do not know."),
    *(
        ("12", text)
        for text in ("12x", "12i", "7√12", r"12\pi\text{ cm}", "12:00", "12+x", r"12\cos\theta", "(12, 12)")
    ),
    *(("12", f"The answer is {text}.") for text in ("12x", "12π", "9 * 12", "sqrt(12)", "f(12)", "12 or 13")),
    (r"\frac{3}{4}", r"\sqrt{\frac{3}{4}}"),
    (r"\frac{3}{4}", r"\frac{3}{4}x"),
    ("5", r"\frac{5}{x}"),
    ("5", "x ≡ 5 (mod 7)"),
    (r"0.\overline{3}", "0.3"),
    ("5", ""),
    (r"\frac{1}{2}", r"<think>\boxed{\frac{1}{2}}"),
]


@pytest.mark.parametrize(("answer", "completion"), EQUAL)
def test_what_is_equal_passes(judge, answer, completion):
    assert judge((answer, completion)) == ["pass"]


@pytest.mark.parametrize(("answer", "completion"), DIFFERENT)
def test_what_is_different_fails(judge, answer, completion):
    assert judge((answer, completion)) == ["fail"]


@pytest.mark.parametrize("answer", [None, "", "  ", [], [None], True, {}, float("nan")])
def test_a_row_without_an_answer_is_an_error(judge, answer):
    assert judge((answer, "5"), ("5", "5")) == ["error", "pass"]


def test_a_slow_comparison_is_a_timeout_and_its_neighbours_are_judged(judge):
    slow = (r"\sqrt{2}", r"\boxed{" + "^".join(["9"] * 8) + "!}")
    right, wrong = (r"\sqrt{8}", r"\boxed{2\sqrt{2}}"), (r"\sqrt{8}", r"\boxed{\sqrt{2}}")
    found = judge(right, wrong, slow, right, wrong)
    assert found[2] in ("timeout", "fail")
    assert [found[0], found[1], found[3], found[4]] == ["pass", "fail", "pass", "fail"]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2_000,
        "x^" * 900 + "x",
        r"\frac{" * 400,
        r"\boxed{" * 400,
        "9" * 4_000,
        "\ud800",
        "$" * 999,
        r"\boxed{__import__('os')._exit(0)}",
    ],
)
def test_hostile_text_gets_a_verdict_and_the_next_row_its_own(judge, text):
    assert judge((r"\sqrt{8}", text), (text, r"\boxed{\sqrt{8}}"), (r"\sqrt{8}", r"\boxed{\sqrt{8}}"))[2] == "pass"


def test_the_pairs_that_people_judged_are_judged_alike(judge):
    if not PAIRS.exists():
        pytest.skip("the shared data are not here")
    rows = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    found = judge(*((row["answer"], row["completion"]) for row in rows))
    assert [row for row, verdict in zip(rows, found, strict=True) if (verdict == "pass") != row["truth"]] == []


def test_a_library_that_is_not_there_is_named_with_what_installs_it():
    with pytest.raises(VerifierError, match=r'no-such-library is not installed: pip install "weighted-mtp\[math\]"'):
        Library("no-such-library", '"weighted-mtp[math]"')
