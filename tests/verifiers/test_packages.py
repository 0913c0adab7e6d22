"""What a user allows can be imported, read-only, with what it needs; nothing else can."""

import sys
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.cli.main import main
from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.inside.crossing import unpacked
from weighted_mtp.verifiers.packages import installed
from weighted_mtp.verifiers.python_tests import PythonTests
from weighted_mtp.verifiers.table import trail

ALLCLOSE = "import numpy as np\ndef check(candidate):\n    assert np.allclose(candidate([1.0, 2]), [1, 2])\n"


def verdict(verifier: PythonTests, completion: str, test: str) -> str:
    return verifier.judge({"prompt": "", "completion": completion, "test": test, "entry_point": "f"}).verdict


@pytest.fixture(scope="module")
def with_numpy(sandbox_works: None) -> PythonTests:
    return PythonTests(timeout=20, allow="numpy")


def test_tests_that_need_numpy_run(with_numpy: PythonTests):
    assert verdict(with_numpy, "def f(x):\n    return x\n", ALLCLOSE) == "pass"
    assert verdict(with_numpy, "def f(x):\n    return x[::-1]\n", ALLCLOSE) == "fail"


ARRAYS = """
import numpy as np

def check(candidate):
    values = [True, False], [[1, 2]], [.5, 1j], ["a", "bcd"], [b"x"], [[], []], 3, np.float16([1]), np.arange(6)[::-2]
    for given in [np.array(value) for value in values] + [np.int8(3), np.float32(.1), np.bool_(True), np.str_("ab")]:
        found = candidate([given])[0]
        assert type(found) is type(given)
        assert found.dtype == given.dtype and found.shape == given.shape
        assert found.tolist() == given.tolist()
    assert candidate({np.int64(3): (np.zeros((2, 2)), 1)})[3][0].shape == (2, 2)
    assert candidate(np.ma.array([1, 2])) == [1, 2]
    assert candidate(np.array([None, 3])) == [None, 3]
"""


def test_numbers_and_arrays_of_numpy_cross_as_what_they_are(with_numpy: PythonTests):
    assert verdict(with_numpy, "def f(x):\n    return x\n", ARRAYS) == "pass"
    doubled = "import numpy as np\nassert f(np.array([1.5, 3])).tolist() == [3.0, 6.0]\n"
    assert verdict(with_numpy, "def f(x):\n    return x * 2\n", doubled) == "pass"
    assert verdict(with_numpy, "def f(x):\n    return x * 3\n", doubled) == "fail"


@pytest.mark.parametrize(
    "parts",
    [
        ("<f8", (2,), b"1" * 8),
        ("<f8", (1,), b"1" * 16),
        ("<f8", (-1,), b""),
        ("<f8", (1 << 60, 1 << 60), b""),
        ("<f8", "x", b"1" * 8),
        ("|O8", (1,), b"1" * 8),
        ("|V8", (1,), b"1" * 8),
        ("<U0", (9**9,), b""),
        ("f8,f8", (1,), b"1" * 16),
        (None, (1,), b"1" * 8),
        ("<f8", (1,), "1" * 8),
        ("<f8", (1,)),
    ],
    ids=str,
)
def test_no_array_is_made_of_parts_that_do_not_agree(parts: tuple[Any, ...]):
    pytest.importorskip("numpy")
    with pytest.raises((TypeError, ValueError)):
        unpacked("graph", [("numpy.ndarray", parts)], {})


def test_an_array_of_bools_holds_nothing_else():
    pytest.importorskip("numpy")
    found = unpacked("graph", [("numpy.ndarray", ("|b1", (2,), b"\2\0"))], {})
    assert (~found).tolist() == [False, True]


def test_what_is_not_allowed_cannot_be_imported_or_changed(with_numpy: PythonTests):
    program = """
import os
def f():
    for name in ("pytest", "torch", "weighted_mtp"):
        try: __import__(name)
        except ImportError: pass
        else: return name
    import numpy
    try: open(os.path.join(os.path.dirname(numpy.__file__), "left"), "w")
    except OSError: return sorted(name for name in os.listdir("/packages") if "info" not in name)
"""
    assert verdict(with_numpy, program, "assert f() == ['numpy', 'numpy.libs']\n") == "pass"
    assert verdict(PythonTests(), "import numpy\ndef f(): pass\n", "assert f() is None\n") == "fail"


def test_what_a_distribution_needs_comes_with_it():
    names = {path.name for path in installed(["hypothesis"], None)}
    assert {"hypothesis", "sortedcontainers"} <= names
    assert "numpy" not in names


def test_an_environment_is_named_by_its_folder(tmp_path: Path):
    version = "python{}.{}".format(*sys.version_info)
    library = tmp_path / "lib" / version / "site-packages"
    (library / "tiny-1.dist-info").mkdir(parents=True)
    (library / "tiny.py").write_text("VALUE = 3\n")
    (library / "tiny-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    (library / "tiny-1.dist-info/RECORD").write_text("tiny.py,,\ntiny-1.dist-info/METADATA,,\n")
    tmp_path.chmod(0o755)
    assert {path.name for path in installed(["tiny"], str(tmp_path))} == {"tiny.py", "tiny-1.dist-info"}
    assert installed(["tiny"], str(library)) == installed(["tiny"], str(tmp_path))


@pytest.mark.parametrize(
    ("allow", "environment", "reason"),
    [
        (
            "nothing-of-that-name",
            None,
            r"allow names 'nothing-of-that-name', which is not installed in .*: pip install",
        ),
        ("numpy,", None, "allow names ''"),
        ("numpy", "/nowhere", "environment is /nowhere, and there is no /nowhere/lib/python"),
        ("weighted-mtp", None, "weighted-mtp is installed as a link to its sources"),
        (None, "/usr", "environment is /usr, and nothing of it is allowed: name it with allow"),
    ],
)
def test_what_cannot_be_allowed_is_refused(allow: str | None, environment: str | None, reason: str):
    with pytest.raises(VerifierError, match=reason):
        PythonTests(allow=allow, environment=environment)


def test_rows_say_what_could_be_imported(with_numpy: PythonTests):
    assert trail(with_numpy)["verification"]["allow"] == "numpy"


@pytest.mark.usefixtures("sandbox_works")
def test_the_command_allows_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "in.jsonl").write_text(
        '{"prompt": "", "completion": "def f(x):\\n    return x\\n", "entry_point": "f", '
        '"test": "import numpy\\nassert f(1) == numpy.ones(1)[0]\\n"}\n'
    )
    words = ["data", "verify", "--verifier", "python-tests", "--input", str(tmp_path / "in.jsonl"), "--output"]
    assert main([*words, str(tmp_path / "out.jsonl"), "--allow", "numpy"]) == 0
    assert "1 pass" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "other.jsonl"), "--allow", "no-such"]) == 2
    assert "allow names 'no-such'" in capsys.readouterr().err
    words[3] = "exact"
    assert main([*words, str(tmp_path / "other.jsonl"), "--allow", "numpy"]) == 2
    assert "the verifier exact takes none" in capsys.readouterr().err
