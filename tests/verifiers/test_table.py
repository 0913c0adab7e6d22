"""Verifiers by name, imported only when asked for."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from weighted_mtp.cli.main import main
from weighted_mtp.verifiers.answers import ExactMatch, NumericMatch
from weighted_mtp.verifiers.base import Judgement, Verifier, VerifierError
from weighted_mtp.verifiers.table import VERIFIERS, make_verifier, verifier_class


def test_the_verifiers_of_answers_come_by_name():
    assert isinstance(make_verifier("exact"), ExactMatch)
    assert isinstance(make_verifier("numeric"), NumericMatch)


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_row_keeps_the_contract(name):
    found = verifier_class(name)
    assert issubclass(found, Verifier)
    assert not found.__abstractmethods__
    assert "completion" in found.requires
    assert found.missing(dict.fromkeys(found.requires, "x")) is None
    assert found.missing({}) == found.requires[0]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(VerifierError, match=r"'python_test': did you mean python-tests\? There are exact, "):
        make_verifier("python_test")


@pytest.mark.parametrize("name", ["exact", "numeric"])
def test_a_timeout_where_nothing_runs_is_refused(name):
    with pytest.raises(VerifierError, match=f"timeout is 3.0, and the verifier {name} takes none"):
        make_verifier(name, timeout=3.0)


@pytest.mark.parametrize("timeout", [0.0, -1.0, 1e12, float("inf"), float("nan")])
def test_a_timeout_that_is_no_time_is_refused(timeout):
    with pytest.raises(VerifierError, match="above 0"):
        make_verifier("python-tests", timeout=timeout)


ODD = [None, 3, 1.5, True, [], {}, [1], [{}], ["a"], [[]], {"a": 1}, [None], [{"role": "user"}], "\ud800", "\0"]
ODD += [10**400, float("nan"), [{"role": "assistant", "content": [{"text": 3}]}], "[1", '[{"input": "1"}]']


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("exact", {"completion": "5", "answer": "5"}),
        ("numeric", {"completion": "5", "answer": "5"}),
        ("math", {"completion": "5", "answer": "5"}),
        (
            "python-tests",
            {"prompt": "", "completion": "f = abs", "test": "def check(c): assert c(1) == 1", "entry_point": "f"},
        ),
        ("stdin", {"completion": "print(1)", "inputs": ["1"], "outputs": ["1"], "checker": None}),
        ("stdin", {"completion": "print(1)", "public_tests": '{"input": ["1"], "output": ["1"]}'}),
    ],
)
def test_a_column_of_any_kind_gets_a_verdict_and_never_an_exception(name, row, request):
    request.getfixturevalue("sandbox_works")
    if name == "math":
        pytest.importorskip("math_verify")
    rows = [row | {column: value} for column in (*row, "prompt", "canonical_solution", "truncated") for value in ODD]
    found = list(make_verifier(name).judge_all([row, *rows]))
    assert found[0].verdict == "pass"
    assert len(found) == len(rows) + 1


def test_a_check_that_raises_is_an_error_of_its_row():
    class Careless(Verifier):
        def check(self, row):
            return "pass" if row["wanted"] in row["completion"] else "fail"

    found = Careless().judge({"completion": "a"})
    told = r"its check raised KeyError in test_table\.py, line \d+: 'wanted'"
    assert found.verdict == "error"
    assert re.fullmatch(told, found.reason)


def test_what_a_check_raises_is_told_in_brief_and_where_in_the_verifiers_own_file():
    class Careless(Verifier):
        def check(self, row):
            return json.loads(row["completion"])

    assert re.fullmatch(
        r"its check raised JSONDecodeError in test_table\.py, line \d+: Expecting value.*",
        Careless().judge({"completion": "a"}).reason,
    )
    assert len(Odd(ValueError("long " * 10**6)).judge({"completion": "a"}).reason) < 300


class Odd(Verifier):
    """Returns, or raises, what it is told to."""

    def __init__(self, found="pass"):
        self.found = found

    def check(self, row):
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


@pytest.mark.parametrize("found", ["maybe", None, True, Judgement("pass", float("nan")), Judgement("pass", 2.0)])
def test_what_is_no_verdict_stops_it(found):
    with pytest.raises(
        VerifierError, match=r"verifier Odd returned .*: needed is one of pass, fail, timeout, error, or"
    ):
        Odd(found).judge({"completion": "a"})


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(7), AssertionError("boom")])
def test_a_check_that_breaks_is_named(error):
    with pytest.raises(VerifierError, match=r"verifier Odd raised .*; what was judged before is kept"):
        Odd(error).judge({"completion": "a"})


def test_a_verifier_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text(
        "from weighted_mtp.verifiers.base import Verifier\n\n\nclass Needy(Verifier):\n"
        "    def __init__(self, words):\n        self.words = words\n\n"
        "    def check(self, row):\n        return 'pass'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(VerifierError, match=r"verifier needy:Needy cannot be made: TypeError: .*'words'"):
        make_verifier("needy:Needy")


def test_an_answer_is_checked_without_importing_what_runs_programs():
    code = (
        "import sys; from weighted_mtp.verifiers.table import make_verifier; make_verifier('numeric')\n"
        "print([m for m in sys.modules if 'python_tests' in m or 'reasoning_gym' in m or m == 'torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_verifier_of_ones_own_is_one_file(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs/verifiers.md").read_text()
    code, name = re.search(r"```python\n(.*?)\nrow = .*?`--verifier (words:\w+)`", page, re.DOTALL).groups()
    (tmp_path / "words.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    rows = [{"prompt": "Say", "completion": said, "words": ["fox"]} for said in ("A Fox", "A dog")]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["data", "verify", "--verifier", name, "--input", str(tmp_path / "in.jsonl"), "--output"]
    assert main([*words, str(tmp_path / "out.jsonl")]) == 0
    assert "1 pass, 1 fail" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["verified_by"] == name
    assert main([*words, str(tmp_path / "other.jsonl"), "--timeout", "3"]) == 2
    assert "the verifier words:AllWords takes none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:A", "cannot be imported: No module named 'no_such_module'; needed is package.module:Class"),
        ("json:Nothing", "cannot be imported: module 'json' has no attribute 'Nothing'"),
        ("json:JSONDecoder", "a subclass of Verifier is needed"),
    ],
)
def test_what_is_no_verifier_is_told(name, said):
    with pytest.raises(VerifierError, match=said):
        verifier_class(name)
