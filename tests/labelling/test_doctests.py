import doctest
import importlib
import pkgutil

import pytest

import weighted_mtp.labelling as labelling

MODULES = [module.name for module in pkgutil.iter_modules(labelling.__path__, "weighted_mtp.labelling.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
