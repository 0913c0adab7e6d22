"""Tests run in forks of a process that is kept: whatever a row's test does, the next row finds nothing of it."""

import gc
import os
import select
import textwrap
from collections.abc import Iterator

import pytest

from weighted_mtp.verifiers.python_tests import PythonTests

pytestmark = pytest.mark.usefixtures("sandbox_works")

RIGHT = "def f():\n    return 1\n"


@pytest.fixture(scope="module")
def verifier() -> PythonTests:
    return PythonTests(timeout=4)


def verdict_of(verifier: PythonTests, test: str) -> str:
    """On a right program under a test; in the same thread, so by the same kept process unless it had to be ended."""
    row = {"prompt": "", "completion": RIGHT, "test": textwrap.dedent(test), "entry_point": "f"}
    return verifier.judge(row).verdict


def kept_of(verifier: PythonTests) -> int:
    """The process id of what is kept for this thread, as the host sees bubblewrap."""
    return verifier._thread.kept.process.pid


@pytest.fixture
def same_process(verifier: PythonTests) -> Iterator[None]:
    verdict_of(verifier, "assert f() == 1")
    before = kept_of(verifier)
    yield
    assert verdict_of(verifier, "assert f() == 1") == "pass"
    assert kept_of(verifier) == before


CHANGES = {
    "a module": ("import math\nmath.floor = lambda x: 9\n", "import math\nassert math.floor(1.5) == 1\n"),
    "sys.modules": (
        "import sys, types\nsys.modules['json'] = types.ModuleType('json')\n",
        "import json\nassert json.loads('1') == 1\n",
    ),
    "builtins": ("import builtins\nbuiltins.abs = lambda x: 9\n", "assert abs(-1) == 1\n"),
    "the environment": ("import os\nos.environ['LEFT'] = '1'\n", "import os\nassert 'LEFT' not in os.environ\n"),
    "the working folder": ("import os\nos.chdir('/usr')\n", "import os\nassert os.getcwd() == '/tmp'\n"),
    "a handler": (
        "import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n",
        "import signal\nassert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL\n",
    ),
    "its own limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))\n",
        "import resource\nassert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64\n",
    ),
    "a descriptor": ("import os\nfor _ in range(20): os.dup(1)\n", "import os\nassert os.dup(1) < 10\n"),
    "a tracer": ("import sys\nsys.settrace(lambda *_: None)\n", "import sys\nassert sys.gettrace() is None\n"),
    "a hook of the garbage collector": (
        "import gc\ngc.callbacks.append(print)\ngc.disable()\n",
        "import gc\nassert gc.isenabled() and print not in gc.callbacks\n",
    ),
}


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("what", CHANGES)
def test_what_a_test_changes_in_its_process_ends_with_it(verifier: PythonTests, what: str):
    leave, look = CHANGES[what]
    assert verdict_of(verifier, leave + "assert f() == 1\n") == "pass"
    assert verdict_of(verifier, look + "assert f() == 1\n") == "pass"


LEFT = {
    "a file": ("open('/tmp/left', 'w').write('x')", "import os\nassert os.listdir('/tmp') == []"),
    "a full folder": (
        "open('/tmp/left', 'wb').write(bytes(15 << 20))",
        "open('/tmp/mine', 'wb').write(bytes(15 << 20))",
    ),
    "a folder that nobody may enter": (
        "import os\nos.makedirs('/tmp/a/b')\nos.chmod('/tmp/a', 0)",
        "import os\nassert os.listdir('/tmp') == []",
    ),
    "a mode of the folder": ("import os\nos.chmod('/tmp', 0)", "open('/tmp/mine', 'w').close()"),
    "an attribute of the folder": (
        "import os\ntry: os.setxattr('/tmp', 'user.left', b'x')\nexcept OSError: pass",
        "import os\nassert os.listxattr('/tmp') == []",
    ),
    "the time of the folder": (
        "import os\nos.utime('/tmp', (7, 7))",
        "import os\nassert os.stat('/tmp').st_mtime == 0",
    ),
    "shared memory": (
        "import ctypes\nassert ctypes.CDLL(None).shmget(4711, 4096, 0o1600) >= 0",
        "import ctypes\nassert ctypes.CDLL(None).shmget(4711, 4096, 0o600) == -1",
    ),
    "a message queue": (
        "import ctypes\nassert ctypes.CDLL(None).msgget(4711, 0o1600) >= 0",
        "import ctypes\nassert ctypes.CDLL(None).msgget(4711, 0o600) == -1",
    ),
    "a daemon": (
        """
        import os, signal, time
        for number in range(1, 32):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    try: open('/tmp/alive', 'w').close()
                    except OSError: pass
            os._exit(0)
        """,
        """
        import os, time
        time.sleep(.2)
        assert [name for name in os.listdir('/proc') if name.isdigit()] == ['1', str(os.getpid())]
        assert os.listdir('/tmp') == []
        """,
    ),
    "a port": (
        """
        import socket
        a = socket.create_server(('127.0.0.1', 4711))
        b = socket.create_connection(('127.0.0.1', 4711))
        c = a.accept()[0]
        c.close()
        """,
        "import socket\nsocket.socket().bind(('127.0.0.1', 4711))",
    ),
    "a limit of the kept process": (
        "import resource\nresource.prlimit(1, resource.RLIMIT_NPROC, (0, 0))",
        "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)",
    ),
    "its memory": (
        "import resource\nresource.prlimit(1, resource.RLIMIT_AS, (1 << 20, 1 << 20))",
        "assert len(bytes(100 << 20))",
    ),
    "its CPU time": ("import resource\nresource.prlimit(1, resource.RLIMIT_CPU, (0, 0))", ""),
    "its priority": (
        "import os\nos.setpriority(os.PRIO_PROCESS, 1, 19)",
        f"import os\nassert os.getpriority(os.PRIO_PROCESS, 0) == {os.getpriority(os.PRIO_PROCESS, 0)}",
    ),
    "its processors": (
        "import os\nos.sched_setaffinity(1, list(os.sched_getaffinity(0))[:1])",
        f"import os\nassert len(os.sched_getaffinity(0)) == {len(os.sched_getaffinity(0))}",
    ),
    "its scheduling": (
        "import os\nos.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))",
        "import os\nassert os.sched_getscheduler(0) == os.SCHED_OTHER",
    ),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_a_test_leaves_in_the_sandbox_does_not_reach_the_next(verifier: PythonTests, what: str):
    leave, look = (textwrap.dedent(part) + "\nassert f() == 1\n" for part in LEFT[what])
    assert verdict_of(verifier, leave) in ("pass", "error", "fail")
    assert verdict_of(verifier, look) == "pass"


ATTACKS = {
    "a kill": "import os, signal\nfor number in range(1, 65):\n    try: os.kill(1, number)\n    except OSError: pass",
    "a kill of all": "import os\nif os.fork() == 0:\n    os.kill(-1, 9)",
    "a trace": """
        import ctypes
        assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == -1
        """,
    "a look into its memory": """
        try: open('/proc/1/mem', 'rb')
        except OSError: pass
        else: assert False
        """,
    "a look at its descriptors": """
        import os
        try: os.listdir('/proc/1/fd')
        except OSError: pass
        else: assert False
        """,
    "a theft of its descriptors": """
        import ctypes, os
        libc, handle = ctypes.CDLL(None), os.pidfd_open(1)
        assert all(libc.syscall(438, handle, number, 0) == -1 for number in range(64))
        """,
    "a write to all descriptors": """
        import os, socket
        for number in range(3, 64):
            try: socket.socket(fileno=os.dup(number)).send(b'ready')
            except OSError: pass
        """,
    "a fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "a thread bomb": """
        import threading, time
        for _ in range(64): threading.Thread(target=time.sleep, args=(60,)).start()
        """,
    "a memory bomb": "x = [0]\nwhile True: x = x * 2",
    "an exit": "import os\nos._exit(0)",
    "a loop": "f()\nwhile True: pass",
    "a stop": "import os, signal\nf()\nos.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("what", ATTACKS)
def test_what_a_test_does_to_the_kept_process_changes_no_other_verdict(what: str):
    verifier = PythonTests(timeout=1.5)
    harmless = {"a trace", "a look into its memory", "a look at its descriptors", "a theft of its descriptors"}
    found = verdict_of(verifier, textwrap.dedent(ATTACKS[what]) + "\nassert f() == 1\n")
    assert found == "pass" or what not in harmless
    assert [verdict_of(verifier, "assert f() == 1"), verdict_of(verifier, "assert f() == 2")] == ["pass", "fail"]


@pytest.mark.usefixtures("same_process")
def test_rows_that_leave_nothing_share_a_process(verifier: PythonTests):
    for _ in range(3):
        assert verdict_of(verifier, "assert f() == 1") == "pass"


def ends(process: int) -> bool:
    handle = os.pidfd_open(process)
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


def test_a_kept_process_ends_with_its_verifier():
    verifier = PythonTests()
    assert verdict_of(verifier, "assert f() == 1") == "pass"
    process = verifier._thread.kept.process
    del verifier
    gc.collect()
    assert process.poll() is not None


def test_a_kept_process_that_was_killed_from_outside_is_started_again(verifier: PythonTests):
    assert verdict_of(verifier, "assert f() == 1") == "pass"
    os.kill(kept_of(verifier), 9)
    assert ends(kept_of(verifier))
    assert verdict_of(verifier, "assert f() == 1") == "pass"
