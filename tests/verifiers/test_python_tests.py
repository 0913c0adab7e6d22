"""Tests decide, in another process than the candidate's; what is hostile is contained and not rewarded."""

import os
import secrets
import select
import socket
import subprocess
import textwrap
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.python_tests import PythonTests

pytestmark = pytest.mark.usefixtures("sandbox_works")

ADD = {
    "prompt": "def add(a, b):\n",
    "completion": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "entry_point": "add",
}


def row(completion: str, test: str = "assert candidate() == 1", prompt: str = "def f():\n") -> dict[str, str]:
    """A function without arguments that should return 1; `test` is the body of check."""
    body = textwrap.indent(textwrap.dedent(test), "    ")
    return {
        "prompt": prompt,
        "completion": textwrap.indent(textwrap.dedent(completion).strip("\n"), "    ") + "\n",
        "test": f"def check(candidate):\n{body}\n",
        "entry_point": "f",
    }


def verdict_of(verifier: PythonTests, row: Mapping[str, Any]) -> str:
    return verifier.judge(row).verdict


def verdicts_of(verifier: PythonTests, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [found.verdict for found in verifier.judge_all(rows)]


@pytest.fixture(scope="module")
def verifier() -> PythonTests:
    return PythonTests()


@pytest.fixture(scope="module")
def impatient() -> PythonTests:
    return PythonTests(timeout=1.5)


@pytest.mark.parametrize("forged", ["=zzz,abc,\\n", "=pass,nan,\\n", "=\\n", "=fail,1.5,\\n"])
def test_a_test_that_writes_to_every_descriptor_fails_its_own_row(verifier: PythonTests, forged: str):
    writes = f"""
        import contextlib, os
        candidate()
        for descriptor in range(64):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"{forged}")
        while True:
            pass
    """
    assert verdict_of(verifier, row("return 1", writes)) == "fail"


def test_a_reference_that_is_no_text_is_an_error(verifier: PythonTests):
    assert verdict_of(verifier, ADD | {"canonical_solution": 3}) == "error"
    assert verdict_of(verifier, ADD | {"canonical_solution": None}) == "pass"


def test_a_right_completion_passes(verifier: PythonTests):
    assert verdict_of(verifier, ADD) == "pass"


@pytest.mark.parametrize(
    "completion",
    [
        "    return a - b\n",
        "    return a +\n",
        "    raise ValueError\n",
        "    return undefined\n",
        "",
        "    pass\n\nimport nothing_of_that_name\n",
        "    return a + b\n\ndel add\n",
        "    return a + b\n\nadd = 3\n",
        "    return a + b  # \ud800\n",
    ],
    ids=["wrong", "syntax", "raises", "name", "empty", "import", "no entry point", "not callable", "surrogate"],
)
def test_a_wrong_completion_fails(verifier: PythonTests, completion: str):
    assert verdict_of(verifier, ADD | {"completion": completion}) == "fail"


def test_an_endless_completion_times_out(impatient: PythonTests):
    assert verdict_of(impatient, row("while True: pass")) == "timeout"


@pytest.mark.parametrize(
    "broken",
    [
        {"test": "def check(candidate:\n"},
        {"test": ""},
        {"test": "x = 1\n"},
        {"test": "import nothing_of_that_name\n"},
        {"test": "def check(candidate):\n    candidate(lambda: 1, 2)\n"},
        {"prompt": "import nothing_of_that_name\n\ndef add(a, b):\n"},
        {"test": None},
        {"entry_point": 3},
    ],
    ids=["syntax", "empty", "no check", "import", "argument", "prompt", "no test", "type"],
)
def test_a_check_that_cannot_be_made_is_an_error(verifier: PythonTests, broken: dict[str, object]):
    assert verdict_of(verifier, ADD | broken) == "error"


def test_bare_assertions_are_a_test(verifier: PythonTests):
    assert verdict_of(verifier, ADD | {"test": "assert add(1, 2) == 3\n"}) == "pass"
    assert verdict_of(verifier, ADD | {"test": "assert add(1, 2) == 4\n"}) == "fail"


def test_helpers_of_the_prompt_exist_on_both_sides(verifier: PythonTests):
    prompt = "import math\n\ndef twice(x):\n    return 2 * x\n\ndef f():\n    '''Two.'''\n"
    test = "assert candidate() == twice(1) == math.floor(2.5) == f()"
    assert verdict_of(verifier, row("return twice(1)", test, prompt)) == "pass"


@pytest.mark.parametrize(
    ("prompt", "test"),
    [
        ("from math import *\n\ndef f():\n", "assert candidate() == floor(1.5)"),
        ("import math\n\ndef f():\n", "assert candidate() == (lambda: [math.floor(1.5)][0])()"),
        ("LIMIT = 1\n\ndef f():\n", "assert candidate() == eval('LIMIT')"),
        ("class Box:\n    size = 1\n\ndef f():\n", "assert candidate() == globals()['Box'].size"),
    ],
    ids=["star", "nested", "eval", "globals"],
)
def test_the_tests_find_whatever_the_prompt_defines(verifier: PythonTests, prompt: str, test: str):
    """It is run on their side only where they may need it."""
    assert verdict_of(verifier, row("return 1", test, prompt)) == "pass"


def test_the_name_of_the_entry_point_is_the_candidate_in_the_test(verifier: PythonTests):
    """HumanEval/33 compares with the very function that is under test."""
    test = "assert tuple(candidate([3, 1])) == tuple(f([3, 1])) == (1, 3)"
    assert verdict_of(verifier, row("return sorted(x)", test, "def f(x):\n    '''Sorts.'''\n")) == "pass"


@pytest.mark.parametrize(
    "value",
    [
        "None",
        "True",
        "-3",
        "10**400",
        "1.5",
        "float('inf')",
        "2j",
        "'\u00e4'",
        "b'x'",
        "[1, (2, {3})]",
        "{'a': [1]}",
        "frozenset({1})",
    ],
)
def test_plain_data_crosses_in_both_directions(verifier: PythonTests, value: str):
    test = f"given = {value}\nback = candidate(given)\nassert back == given and type(back) is type(given)"
    assert verdict_of(verifier, row("return x", test, "def f(x):\n")) == "pass"


@pytest.mark.parametrize(
    "value",
    [
        "range(3)",
        "iter([1])",
        "(i for i in [1])",
        "lambda: 1",
        "bytearray(b'x')",
        "type('D', (dict,), {})()",
        "type('S', (str,), {})('x')",
        "[object()]",
        "...",
    ],
)
def test_a_result_that_is_not_plain_data_fails(verifier: PythonTests, value: str):
    assert verdict_of(verifier, row(f"return {value}", "candidate()")) == "fail"


def test_what_the_candidate_raises_reaches_the_test_as_the_builtin_kind(verifier: PythonTests):
    test = """
    try:
        candidate()
    except LookupError:
        return
    raise AssertionError
    """
    own = "class Own(KeyError): pass\n\ndef f():\n"
    assert verdict_of(verifier, row("raise Own()", test, own)) == "pass"
    assert verdict_of(verifier, row("raise ValueError()", test)) == "fail"
    assert verdict_of(verifier, row("b'\\xff'.decode()", test)) == "fail"


def test_named_arguments_and_state_between_calls(verifier: PythonTests):
    prompt = "seen = []\n\ndef f(x, *, scale=1):\n"
    test = "assert candidate(1, scale=2) == 2\nassert candidate(1) == 1 and candidate(x=5) == 5"
    assert verdict_of(verifier, row("seen.append(x)\nreturn x * scale", test, prompt)) == "pass"


def test_dataclasses_and_threads_work(verifier: PythonTests):
    prompt = "from dataclasses import dataclass\nimport threading\n\n@dataclass\nclass P:\n    x: 'int'\n\ndef f():\n"
    done = "out = []\nt = threading.Thread(target=lambda: out.append(P(1).x))\nt.start()\nt.join()\nreturn out[0]"
    assert verdict_of(verifier, row(done, prompt=prompt)) == "pass"


def test_verdicts_keep_the_order_of_the_rows(verifier: PythonTests):
    rows = [
        ADD,
        ADD | {"completion": "    import time\n    time.sleep(.2)\n    return a - b\n"},
        ADD,
        ADD | {"test": None},
    ] * 3
    assert verdicts_of(verifier, rows) == ["pass", "fail", "pass", "error"] * 3


def test_rows_are_read_as_they_are_needed(verifier: PythonTests):
    taken = []
    verdicts = verifier.judge_all(taken.append(i) or ADD for i in range(1000))
    assert next(verdicts).verdict == "pass"
    verdicts.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(taken) <= 4 * verifier.workers + 1


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_must_be_positive(timeout: float):
    with pytest.raises(VerifierError, match="number of seconds above 0"):
        PythonTests(timeout=timeout)


# hostile completions

ALWAYS_EQUAL = """
class Anything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 1
    def __bool__(self): return True
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
"""


@pytest.mark.parametrize(
    "completion",
    [
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import sys\nsys.exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import ctypes\nctypes.string_at(0)",
        f"{ALWAYS_EQUAL}\nreturn Anything()",
        f"{ALWAYS_EQUAL}\nreturn [Anything()]",
        "return type('L', (list,), {'__eq__': lambda a, b: True})()",
        "return type('I', (int,), {'__eq__': lambda a, b: True})()",
        "print('pass', flush=True)\nimport os\nos._exit(0)",
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'pass\\n')\n    except OSError: pass\nos._exit(0)",
        "import builtins, sys\nbuiltins.AssertionError = BaseException\nsys.exit(0)",
        "x = []\nx.append(x)\nreturn x",
        "x = []\nfor _ in range(10**5): x = [x]\nreturn x",
        "return b'x' * (20 << 20)",
    ],
    ids=[
        *("exit", "SystemExit", "sys.exit", "kills itself", "segfault", "equal to all", "nested", "list", "int"),
        *("prints pass", "writes pass", "patches builtins", "recursive", "deep", "large"),
    ],
)  # fmt: skip
def test_no_trick_passes(verifier: PythonTests, completion: str):
    assert verdict_of(verifier, row(completion)) == "fail"


def test_an_exit_is_not_taken_for_an_answer_by_a_test_that_catches_all(verifier: PythonTests):
    test = "try:\n    candidate()\nexcept:\n    pass"
    assert verdict_of(verifier, row("import os\nos._exit(0)", test)) == "fail"


@pytest.mark.parametrize("late", ["import os; os._exit(0)", "raise SystemExit", "add = None"])
def test_an_end_while_loading_fails(verifier: PythonTests, late: str):
    assert verdict_of(verifier, ADD | {"completion": f"    return a + b\n\n{late}\n"}) == "fail"


def test_forged_answers_are_checked_on_arrival(verifier: PythonTests):
    """Code objects and broken messages on the very channel between the two sides."""
    forged = """
    import marshal, os, sys
    reply = int(sys.argv[3])
    code = marshal.dumps(("value", (lambda: 1).__code__))
    os.write(reply, len(code).to_bytes(8, "big") + code)
    """
    assert verdict_of(verifier, row(forged, "candidate()")) == "fail"
    garbage = "import os, sys\nos.write(int(sys.argv[3]), b'\\xff' * 64)"
    assert verdict_of(verifier, row(garbage)) == "fail"


def test_the_expected_answer_is_nowhere_in_the_candidates_process(verifier: PythonTests):
    searching = """
    import gc, os, sys
    frame, found = sys._getframe(), []
    while frame:
        found += [*frame.f_locals.values(), *frame.f_globals.values()]
        frame = frame.f_back
    found += gc.get_objects() + sys.argv + list(os.environ.values())
    for name in ("environ", "cmdline", "maps"):
        found.append(open(f"/proc/self/{name}", errors="replace").read())
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try: found.append(open(f"/proc/{pid}/cmdline").read())
            except OSError: pass
    texts = [item for item in found if isinstance(item, str) and "SECRET" in item and "getframe" not in item]
    return texts[0][texts[0].index("SECRET"):][:20]
    """
    secret = f"SECRET{secrets.token_hex(7)}"
    assert verdict_of(verifier, row(searching, f"assert candidate() == '{secret}'")) == "fail"


def test_the_network_cannot_be_reached(verifier: PythonTests):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        connecting = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)\nreturn 1"
        assert verdict_of(verifier, row(connecting)) == "fail"
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("kind", ["file", "environment", "shadow", "home"])
def test_secrets_cannot_be_read(verifier: PythonTests, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = secrets.token_hex(8)
    (tmp_path / "secret").write_text(secret)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("WMTP_SECRET", secret)
    reading = {
        "file": f"return open({str(tmp_path / 'secret')!r}).read()",
        "environment": "import os\nreturn os.environ['WMTP_SECRET']",
        "shadow": "return open('/etc/shadow').read()",
        "home": f"import os\nreturn os.listdir({os.path.expanduser('~')!r})[-9]",
    }[kind]
    caught = f"try:\n{textwrap.indent(reading, '    ')}\nexcept (OSError, LookupError):\n    return 'hidden'"
    assert verdict_of(verifier, row(caught, "assert candidate() == 'hidden'")) == "pass"


def test_nothing_can_be_deleted_or_written(verifier: PythonTests, tmp_path: Path):
    kept = tmp_path / "kept"
    kept.write_text("here")
    kept.chmod(0o666)
    tmp_path.chmod(0o777)
    deleting = f"""
    import os, shutil
    library = os.path.dirname(os.__file__)
    for folder in ({str(tmp_path)!r}, os.path.join(library, "json")):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (library, "/usr/lib", "/bin"):
        for name in os.listdir(folder)[:50]:
            try: os.remove(os.path.join(folder, name))
            except OSError: pass
    for folder in ("/", "/usr", "/usr/bin", "/dev", "/dev/shm", "/proc", {str(tmp_path)!r}):
        try:
            with open(os.path.join(folder, "escaped"), "w"): return folder
        except OSError: pass
    return 1
    """
    assert verdict_of(verifier, row(deleting)) == "pass"
    assert kept.read_text() == "here"
    assert not (tmp_path / "escaped").exists()
    assert verdict_of(verifier, ADD) == "pass"  # and Python is still there


def test_no_process_outside_can_be_killed(verifier: PythonTests):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        killing = f"""
        import os, signal
        for pid in [{bystander.pid}, {os.getpid()}, {os.getppid()}, *range(2, 3000)]:
            try:
                if pid != os.getpid(): os.kill(pid, signal.SIGKILL)
            except OSError: pass
        return 1
        """
        assert verdict_of(verifier, row(killing)) in ("pass", "fail")
        assert verdict_of(verifier, row("import os\nos.kill(-1, 9)")) == "fail"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_fork_bomb_is_contained(verifier: PythonTests):
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    bombed = PythonTests(timeout=4)  # time enough for the neighbours, which get little of the processor
    verdicts = verdicts_of(bombed, [row(bomb), ADD, row("import os\nwhile True: os.fork()"), ADD])
    assert verdicts[1] == verdicts[3] == "pass"
    assert "pass" not in (verdicts[0], verdicts[2])
    counting = """
    import os, signal
    for count in range(1000):
        try:
            if os.fork() == 0: signal.pause()
        except OSError: return count
    """
    assert verdict_of(verifier, row(counting, "assert candidate() < 8")) == "pass"


def test_threads_are_limited_too(verifier: PythonTests):
    many = """
    import threading, time
    for _ in range(64):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return 1
    """
    assert verdict_of(verifier, row(many)) == "fail"


@pytest.mark.parametrize(
    "bomb",
    ["x = [0]\nwhile True: x = x * 2", "return bytearray(8 << 30)", "import mmap\nreturn len(mmap.mmap(-1, 8 << 30))"],
    ids=["list", "bytes", "mmap"],
)
def test_a_memory_bomb_fails(verifier: PythonTests, bomb: str):
    assert verdict_of(verifier, row(bomb)) == "fail"


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/"])
def test_a_huge_file_cannot_be_written(verifier: PythonTests, folder: str):
    """One file, and many small ones."""
    writing = f"""
    written = 0
    for number in range(64):
        try:
            with open(f"{folder}/f{{number}}", "wb", buffering=0) as file:
                for _ in range(64):
                    written += file.write(bytes(1 << 20))
        except OSError: pass
    return written
    """
    assert verdict_of(verifier, row(writing, "assert candidate() <= 16 << 20")) == "pass"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_output_goes_nowhere(impatient: PythonTests, stream: str):
    printing = f"import sys\nwhile True: sys.{stream}.write('x' * 10**6)"
    assert verdict_of(impatient, row(printing)) == "timeout"


def test_ignoring_signals_does_not_help(impatient: PythonTests):
    stubborn = """
    import signal
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: pass
    """
    begin = time.monotonic()
    assert verdict_of(impatient, row(stubborn)) == "timeout"
    assert time.monotonic() - begin < 20


def test_a_daemon_does_not_survive():
    verifier = PythonTests(timeout=61.5)  # its limit of CPU time, 62, stands in the command lines of its processes
    daemon = """
    import os, signal, time
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    return 1
    """
    assert verdict_of(verifier, row(daemon)) == "pass"
    for pid in _pids():
        if b"CPU=62," in _command_of(pid):
            assert _ends(int(pid))


def test_an_answer_that_takes_forever_to_compare_times_out(impatient: PythonTests):
    bomb = "x = [1]\nfor _ in range(60): x = [x, x]\nreturn x"
    assert verdict_of(impatient, row(bomb, "assert candidate() == candidate()")) == "timeout"


def test_a_hostile_test_is_contained_as_well(verifier: PythonTests, tmp_path: Path):
    kept = tmp_path / "kept"
    kept.touch()
    tmp_path.chmod(0o777)
    assert verdict_of(verifier, ADD | {"test": f"import os\nos.remove({str(kept)!r})\n"}) == "error"
    assert kept.exists()


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _ends(pid: int) -> bool:
    """Whether a process is gone, or dies within ten seconds: the kernel takes its time over a namespace."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)
