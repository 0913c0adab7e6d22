import doctest
import importlib
import pkgutil

import pytest

import weighted_mtp.evaluation as evaluation

MODULES = [module.name for module in pkgutil.iter_modules(evaluation.__path__, "weighted_mtp.evaluation.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
