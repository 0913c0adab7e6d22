"""Verifiers by name, imported only when asked for."""

import importlib.util
import subprocess
import sys

import pytest

from weighted_mtp.verifiers.answers import ExactMatch, NumericMatch
from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.table import VERIFIERS, make_verifier


def test_the_verifiers_of_answers_come_by_name():
    assert isinstance(make_verifier("exact"), ExactMatch)
    assert isinstance(make_verifier("numeric"), NumericMatch)


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_name_leads_to_a_module(name):
    assert importlib.util.find_spec(VERIFIERS[name].partition(":")[0]) is not None


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(VerifierError, match=r"'python_test': did you mean python-tests\? There are exact, "):
        make_verifier("python_test")


@pytest.mark.parametrize("name", ["exact", "numeric"])
def test_a_timeout_where_nothing_runs_is_refused(name):
    with pytest.raises(VerifierError, match=f"timeout is 3.0, and the verifier {name} takes none"):
        make_verifier(name, timeout=3.0)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
def test_a_timeout_that_is_no_time_is_refused(timeout):
    with pytest.raises(VerifierError, match="above 0"):
        make_verifier("python-tests", timeout=timeout)


def test_an_answer_is_checked_without_importing_what_runs_programs():
    code = (
        "import sys; from weighted_mtp.verifiers.table import make_verifier; make_verifier('numeric')\n"
        "print([m for m in sys.modules if 'python_tests' in m or 'reasoning_gym' in m or m == 'torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
