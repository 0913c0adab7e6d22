import doctest
import importlib
import pkgutil

import pytest

import weighted_mtp.data

MODULES = [module.name for module in pkgutil.iter_modules(weighted_mtp.data.__path__, "weighted_mtp.data.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_name_can_be_imported():
    assert all(hasattr(weighted_mtp.data, name) for name in weighted_mtp.data.__all__)
