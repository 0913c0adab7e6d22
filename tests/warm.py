"""A Python that starts at once: forked from a process that has imported everything and computed nothing. Not a test.

Commands that start others by `sys.executable` take five seconds to import what they need; tests whose point is what the
others do give them this one.
"""

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
sent = socket.send_fds(server, [said], [0, 1, 2])
server.sendall(said[sent:])
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(9)))
"""


@contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """A program that runs `-m MODULE ARGUMENTS` as Python does, in a process of its own."""
    address, program = str(folder / "warm.socket"), folder / "python"
    program.write_text(_PROGRAM.format(python=sys.executable, address=address))
    program.chmod(0o700)
    environment = os.environ | {"TQDM_DISABLE": "1"}  # which tqdm reads when it is imported
    with subprocess.Popen(
        [sys.executable, "-m", "tests.warm", address],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield str(program)
        server.terminate()


def _serve(address: str) -> None:
    from weighted_mtp.reports.quiet import quiet_libraries

    quiet_libraries()
    import weighted_mtp.evaluation.evaluate
    import weighted_mtp.sampling.directory
    import weighted_mtp.training.run
    import weighted_mtp.training.trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while True:
        asked, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(_answer(asked))
        asked.close()
        os.wait()  # one at a time, and its time counts as ours


def _answer(asked: socket.socket) -> int:
    said, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 3)
    while more := asked.recv(1 << 20):
        said += more
    worker = os.fork()
    if worker == 0:
        asked.close()
        _run(descriptors, *json.loads(said))
    _, status = os.waitpid(worker, 0)
    asked.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
    return 0


def _run(descriptors: list[int], words: list[str], folder: str, environment: dict[str, str]) -> None:
    for i, descriptor in enumerate(descriptors):
        os.dup2(descriptor, i)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    option, module, *arguments = words
    assert option == "-m"
    sys.argv = [module, *arguments]
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
