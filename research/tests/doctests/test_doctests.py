import ast
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from research.doctests.build import build_doctests
from research.doctests.config import DoctestsConfig
from research.doctests.context import Library
from research.doctests.examples import checks, read_steps, write_test
from research.doctests.functions import Draft, draft, functions_with_doctests
from research.doctests.modules import Unsuitable
from research.doctests.packages import find_package
from weighted_mtp.data import DataError
from weighted_mtp.labelling.mutants.build import build_mutants
from weighted_mtp.labelling.mutants.references import MutantsConfig
from weighted_mtp.training.errors import ConfigError

DOUBLE = '''
def double(x):
    """Twice.

    >>> double(2)
    4
    >>> double("ab")
    'abab'
    """
    return x * 2
'''


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """A function (**files) that writes a package `made` and returns the folder above it; nothing of it can be run."""

    def write(**files: str) -> Path:
        folder = tmp_path / "made"
        folder.mkdir()
        for name, text in ({"__init__": ""} | files).items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text) + "\nraise SystemExit('it was run')\n")
        return tmp_path

    return write


@pytest.fixture
def drafted(package: Callable[..., Path]) -> Callable[..., Draft]:
    """A function (text of made.main, **other modules) -> its only function with doctests as a draft."""

    def read(main: str, limit: int = 6000, least: int = 1, **files: str) -> Draft:
        root = package(main=main, **files)
        found, library = find_package("made", [str(root)]), Library(root)
        module = library.module("made.main")
        assert module is not None
        (statement,) = functions_with_doctests(module)
        return draft(found, library, module, statement, limit, least)

    return read


def config_of(root: Path, **settings: Any) -> DoctestsConfig:
    given = {"out": str(root / "out.jsonl"), "packages": ["made"], "paths": [str(root)]}
    return DoctestsConfig(**(given | settings))


def rows_of(config: DoctestsConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(config.out).read_text().splitlines()]


def test_of(examples: str) -> str:
    """The body of `check` for examples of a function f of made."""
    steps = read_steps(textwrap.dedent(examples), "f", "made.main")
    return write_test("f", steps, checks(steps), {}).partition("    f = candidate\n")[2]


test_of.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


# --- the prompt


def test_the_prompt_ends_with_the_docstring_and_the_solution_is_the_rest(drafted):
    problem = drafted(DOUBLE)
    assert problem.prompt == DOUBLE.lstrip().partition("    return")[0]
    assert problem.canonical_solution == "    return x * 2\n"
    assert (problem.task_id, problem.entry_point) == ("made.main.double", "double")
    assert (problem.source, problem.licence) == ("made: made/main.py:2", None)


def test_the_prompt_holds_what_the_function_needs_in_its_turn_and_no_more(drafted):
    problem = drafted(
        '''
        import math, json
        from collections import (Counter, deque)

        LIMIT = BASE = 10
        TABLE = {}
        TABLE["a"] = LIMIT

        def unused():
            return json

        def f(x):
            """>>> f(1)
            1
            """
            local = helper(x)
            return local

        def helper(x):
            local = [unused for unused in TABLE]
            return math.floor(deque([x])[0]) + BASE - LIMIT
        '''
    )
    assert problem.prompt.partition("def f")[0] == textwrap.dedent(
        """\
        import math
        from collections import deque


        LIMIT = BASE = 10


        TABLE = {}


        TABLE["a"] = LIMIT


        def helper(x):
            local = [unused for unused in TABLE]
            return math.floor(deque([x])[0]) + BASE - LIMIT


        """
    )


def test_what_other_modules_of_the_package_define_comes_first(drafted):
    problem = drafted(
        'from .other import *\nfrom made.more import B\nA = B\ndef f(x):\n    """>>> f(1)"""\n    return one(A) + x\n',
        other="def one(x):\n    return 1\n",
        more="B = 3\n",
    )
    assert problem.prompt.startswith("B = 3\n\n\nA = B\n\n\ndef one(x):\n    return 1\n\n\ndef f(x):")


def test_names_in_annotations_that_nobody_evaluates_are_not_needed(drafted):
    text = 'import numpy as np\n\ndef f(x: np.array):\n    """>>> f(1)\n    2\n    """\n    return x + 1\n'
    problem = drafted("from __future__ import annotations\n" + text)
    assert problem.prompt.startswith("from __future__ import annotations\n\n\ndef f(x: np.array):")


@pytest.mark.parametrize(
    ("before", "body", "reason"),
    [
        ("import numpy", "return numpy.sum(x)", "another package"),
        ("", "from .other import y; return y", "another package"),
        ("", "return unknown(x)", "does not define by name"),
        ("from . import other", "return other.y", "does not define by name"),
        ("from .other import log\nfrom math import log as _l\ndef g(): return log", "return g()", None),
        ("from .other import use\nfrom math import log", "return use() + log(x)", "one name in two modules"),
        ("LONG = '" + "x" * 6000 + "'", "return LONG", "prompt is too long"),
        ("from random import random", "return x * (random() < 2)", "at random"),
        ("@property", "return x", "decorated"),
        ("from functools import lru_cache\n@lru_cache(maxsize=None)", "return x", None),
        ("", "yield x", "generator"),
        ("", "return [(yield_) for yield_ in x]", None),
        ("try:\n    from ._fast import *\nexcept ImportError:\n    pass", "return len([x])", None),
        ("a, b = (lambda: c), 1\ndef c(): return b", "return a()", None),
    ],
)
def test_a_function_that_cannot_stand_alone_is_left_out(drafted, before, body, reason):
    text = f'{before}\ndef f(x):\n    """>>> f(1)\n    1\n    """\n    {body}\n'
    other = "def log(x):\n    return x\ndef use():\n    return log(1)\n"
    if reason is None:
        assert drafted(text, other=other).entry_point == "f"
    else:
        with pytest.raises(Unsuitable, match=reason):
            drafted(text, other=other)


@pytest.mark.parametrize("body", ["", "; return 1"])
def test_a_function_needs_a_body_of_its_own(drafted, body):
    with pytest.raises(Unsuitable, match="body"):
        drafted(f'def f(x):\n    """>>> f(1)"""{body}\n')


def test_the_last_of_several_signatures_is_the_function(drafted):
    text = "from typing import overload\n@overload\ndef double(x: int) -> int: ...\n" + DOUBLE
    assert drafted(text).prompt.startswith("def double(x):")


# --- the examples


def test_values_are_compared_by_value_and_type_and_all_else_by_what_is_shown():
    assert test_of(">>> f(1)\n{'b': 2,\n 'a': 0.1}\n>>> f(2)\nnan\n>>> f(3)").splitlines() == [
        "    assert _same(f(1), {'b': 2, 'a': 0.1})",
        "    assert repr(f(2)) == 'nan'",
        "    assert _same(f(3), None)",
    ]


def test_the_flags_of_doctest_are_kept():
    text = test_of(">>> f(1)  # doctest: +NORMALIZE_WHITESPACE\nA   B\n>>> f(2)\n[1, ..., 9]\n")
    assert "check_output('A   B', repr(f(1)), doctest.NORMALIZE_WHITESPACE)" in text
    assert "check_output('[1, ..., 9]', repr(f(2)), doctest.ELLIPSIS)" in text
    assert test_of(">>> f(1)  # doctest: +SKIP\n3\n") == ""


def test_an_exception_must_be_a_builtin_one():
    traceback = "Traceback (most recent call last):\n  ...\n"
    text = test_of(f">>> f(1)\n{traceback}ValueError: no\n>>> f(2)\n{traceback}made.Error: no\n")
    assert [line.strip() for line in text.splitlines()][:3] == ["try:", "f(1)", "except ValueError:"]
    assert "f(2)" not in text


def test_what_an_example_prints_is_caught_and_what_the_function_prints_is_not_asked_for():
    text = test_of(">>> print(f(1))\na\n<BLANKLINE>\n>>> for x in f(2):\n...     print(x)\n3\n>>> x = f(4)\nnoise\n")
    assert [line.strip() for line in text.splitlines()] == [
        "with contextlib.redirect_stdout(io.StringIO()) as _printed:",
        "print(f(1))",
        r"assert _printed.getvalue() == 'a\n\n'",
        "with contextlib.redirect_stdout(io.StringIO()) as _printed:",
        "for x in f(2):",
        "print(x)",
        r"assert _printed.getvalue() == '3\n'",
    ]


def test_a_check_comes_with_the_statements_it_rests_on_and_without_those_it_does_not():
    text = test_of(">>> a = [1]\n>>> b = 2\n>>> a.append(3)\n>>> c = f(a)\n>>> c\n4\n>>> b\n2\n")
    assert text == "    a = [1]\n    a.append(3)\n    c = f(a)\n    assert _same(c, 4)\n"


def test_an_example_that_rests_on_one_left_out_is_left_out():
    examples = ">>> a = g(1)  # doctest: +SKIP\n>>> f(a)\n4\n"
    assert test_of(examples) == ""
    assert test_of(examples + ">>> a = 1\n>>> f(a)\n5\n") == "    a = 1\n    assert _same(f(a), 5)\n"


def test_imports_of_the_package_go_and_its_function_is_called_by_its_own_name():
    examples = ">>> import made.main as m\n>>> from made import *\n>>> m.f(1)\n4\n>>> made.main.f(range(3))\n4\n"
    assert test_of(examples) == "    assert _same(f(1), 4)\n    assert _same(f(list(range(3))), 4)\n"


def test_standard_names_of_the_module_are_imported_and_other_names_are_not_to_be_had(drafted):
    text = '''
        from itertools import count as counting
        from .other import g

        def f(x):
            """
            >>> f(next(counting(3)))
            3
            >>> f(g(1))
            1
            """
            return x
    '''
    problem = drafted(text, other="def g(x):\n    return x\n")
    assert len(problem.usable) == 1
    assert problem.test([*problem.usable]).startswith(
        "from itertools import count as counting\nimport math\n\n\ndef _same("
    )


def test_too_few_examples_are_a_reason(drafted):
    with pytest.raises(Unsuitable, match="too few examples"):
        drafted(DOUBLE, least=3)


# --- the package


def test_the_release_and_the_licence_are_of_the_metadata(package):
    root = package(main=DOUBLE)
    (root / "Made_Up-1.2.dist-info").mkdir()
    (root / "Made_Up-1.2.dist-info" / "RECORD").write_text("made/__init__.py,,\n")
    metadata = "Metadata-Version: 2.1\nName: Made-Up\nVersion: 1.2\n"
    licence = "Classifier: License :: OSI Approved :: MIT License\n"
    (root / "Made_Up-1.2.dist-info" / "METADATA").write_text(metadata + licence)
    found = find_package("made.main", [str(root)])
    assert (found.release, found.licence) == ("made 1.2", "MIT License")
    assert [file.name for file in found.files] == ["main.py"]
    assert found.root == root


@pytest.mark.parametrize(("name", "message"), [("made.no", "no package made.no"), ("sys", "no Python source")])
def test_a_package_that_cannot_be_read_is_named(package, name, message):
    with pytest.raises(DataError, match=message):
        find_package(name, [str(package())])


@pytest.mark.parametrize(
    ("settings", "message"), [({"packages": []}, "no package given"), ({"min_examples": 0}, "min_examples is 0")]
)
def test_settings_that_give_nothing_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, **settings)


# --- with the sandbox


MIXED = '''
def wrong(x):
    """
    >>> wrong(1)
    2
    >>> wrong(2)
    3
    """
    return x


def partly(x):
    """
    >>> partly(3)
    6
    >>> partly(lambda: 3)
    6
    >>> list(partly(iter([])))
    []
    >>> partly(4)
    8
    """
    pattern = "\\d"  # which Python warns of
    return x * 2


def iterates(x):
    """
    >>> list(iterates([1]))
    [1]
    >>> list(iterates([2]))
    [2]
    """
    return iter(x)
'''


@pytest.mark.usefixtures("sandbox_works")
def test_a_reference_is_kept_with_the_examples_it_passes(package):
    config = config_of(package(main=MIXED))
    report = build_doctests(config)
    (row,) = rows_of(config)
    assert (row["task_id"], row["examples"]) == ("made.main.partly", 2)
    assert "partly(4), 8" in row["test"]
    assert "lambda" not in row["test"]
    assert (report.kept, report.seen) == (1, 3)
    assert "1 problems of 3 functions with doctests" in report.summary()
    assert "2 too few examples call it, pass plain data and agree with it" in report.summary()


@pytest.mark.usefixtures("sandbox_works")
def test_a_copy_is_left_out(package):
    config = config_of(package(main=DOUBLE, other=DOUBLE.replace("Twice.", "Two times.")))
    report = build_doctests(config)
    assert [row["task_id"] for row in rows_of(config)] == ["made.main.double"]
    assert report.outcomes["made", "it is a copy of another"] == 1


@pytest.mark.usefixtures("sandbox_works")
def test_a_second_call_goes_on_and_other_settings_are_an_error(package):
    half = DOUBLE.replace("double", "treble").replace("* 2", "* 3").replace("4", "6").replace("abab", "ababab")
    config = config_of(package(main=DOUBLE + half))
    build_doctests(config)
    whole = Path(config.out).read_bytes()
    Path(config.out).write_bytes(whole[: whole.index(b"\n") + 20])
    assert build_doctests(config).kept == 2
    assert Path(config.out).read_bytes() == whole
    with pytest.raises(DataError, match="rows of other packages"):
        build_doctests(config_of(Path(config.paths[0]), min_examples=3))
    assert Path(config.out).read_bytes() == whole


@pytest.mark.usefixtures("sandbox_works")
def test_mutants_of_a_problem_are_told_by_its_examples(package):
    config = config_of(package(main=DOUBLE))
    build_doctests(config)
    mutants = MutantsConfig(out=config.out + ".mutants", input=config.out)
    assert build_mutants(mutants).tasks == 1
    verdicts = {row["mutation"]: row["verdict"] for row in map(json.loads, Path(mutants.out).read_text().splitlines())}
    assert verdicts["canonical"] == "pass"
    assert verdicts["number: 2 -> 3"] == "fail"


@pytest.mark.usefixtures("sandbox_works")
def test_the_standard_library_gives_problems(tmp_path):
    config = config_of(tmp_path, packages=["statistics", "difflib"], paths=[])
    build_doctests(config)
    rows = {row["task_id"]: row for row in rows_of(config)}
    assert "statistics.median_low" in rows
    assert rows["statistics.median_low"]["source"].startswith("Python 3.")
    assert all(row["licence"] == "PSF-2.0" for row in rows.values())
    for row in rows.values():
        ast.parse(row["prompt"] + row["canonical_solution"])
