"""The sandbox tries itself before anything runs in it, and ends with everything that was started in it."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from weighted_mtp.verifiers import sandbox as module
from weighted_mtp.verifiers.sandbox import Limits, Sandbox, SandboxError, kill


def output_of(sandbox: Sandbox, program: str, *arguments: str) -> str:
    process = sandbox.start(textwrap.dedent(program), arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        return process.communicate(timeout=60)[0].decode().strip()
    finally:
        kill(process)


def without(*unwanted: str) -> Callable[[list[str]], list[str]]:
    """Bubblewrap's command less some neighbouring words."""

    def weaken(command: list[str]) -> list[str]:
        at = next(i for i in range(len(command)) if tuple(command[i : i + len(unwanted)]) == unwanted)
        return command[:at] + command[at + len(unwanted) :]

    return weaken


HOLES = {
    "read a file of the host": lambda c: [*c[:-1], "--ro-bind", "/tmp", "/tmp", "--"],
    "reach the network": lambda c: [*c[:1], "--unshare-all", "--share-net", *without("--unshare-all")(c)[1:]],
    "write outside its temporary folder": without("--remount-ro", "/"),
    "see the environment": without("--clearenv"),
    "make a namespace": without("--disable-userns"),
}


@pytest.mark.usefixtures("sandbox_works")
@pytest.mark.parametrize("hole", HOLES)
def test_the_self_test_finds_and_names_a_hole(hole: str, monkeypatch: pytest.MonkeyPatch):
    whole = module._bubblewrap
    monkeypatch.setattr(module, "_bubblewrap", lambda *given: HOLES[hole](whole(*given)))
    with pytest.raises(SandboxError, match=f"does not hold here, so no code is run: one can .*{hole}"):
        Sandbox(Limits(cpu_seconds=77))  # a self-test that passed is not made again: these limits are new


@pytest.mark.usefixtures("sandbox_works")
@pytest.mark.parametrize("name", ["AS", "NPROC"])
def test_the_self_test_finds_a_limit_that_is_not_kept(name: str, monkeypatch: pytest.MonkeyPatch):
    whole = Limits.as_argument
    larger = {"AS": "AS=8589934592", "NPROC": "NPROC=64"}[name]

    def weaken(limits: Limits) -> str:
        return ",".join(larger if word.startswith(f"{name}=") else word for word in whole(limits).split(","))

    monkeypatch.setattr(Limits, "as_argument", weaken)
    with pytest.raises(SandboxError, match=r"one can (take more memory|start more processes) than its limit"):
        Sandbox(Limits(cpu_seconds=78))


def test_without_bubblewrap_it_refuses_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"bubblewrap is not installed.*apt-get install bubblewrap"):
        Sandbox()


@pytest.mark.usefixtures("sandbox_works")
def test_bubblewrap_that_does_not_work_is_refused_with_its_own_words(monkeypatch: pytest.MonkeyPatch):
    whole = module._bubblewrap
    monkeypatch.setattr(module, "_bubblewrap", lambda *given: [*whole(*given)[:-1], "--no-such-flag", "--"])
    with pytest.raises(SandboxError, match=r"does not work here.*Unknown option --no-such-flag"):
        Sandbox(Limits(cpu_seconds=79))


@pytest.mark.usefixtures("sandbox_works")
def test_only_what_is_made_visible_can_be_read(tmp_path: Path):
    shown, hidden = tmp_path / "closed" / "shown", tmp_path / "closed" / "hidden"
    for folder in (shown, hidden):
        folder.mkdir(parents=True)
        (folder / "file").write_text("content")
    (tmp_path / "closed").chmod(0o700)  # root's own: what it shows must reach an unprivileged user
    program = "import os, sys; print(open(sys.argv[1] + '/file').read(), os.path.exists(sys.argv[2]))"
    assert output_of(Sandbox(visible=(shown,)), program, str(shown), str(hidden)) == "content False"


@pytest.mark.usefixtures("sandbox_works")
def test_nobody_is_root_inside():
    assert output_of(Sandbox(), "import os; print(os.getuid() == 0 or os.geteuid() == 0)") == "False"


@pytest.mark.usefixtures("sandbox_works")
def test_a_sandbox_dies_with_the_process_that_started_it():
    """Even when that one is killed and cannot clean up."""
    program = """
    import subprocess
    from weighted_mtp.verifiers.sandbox import Limits, Sandbox
    sandbox = Sandbox(Limits(cpu_seconds=71))
    process = sandbox.start("print('up', flush=True)\\nimport time\\ntime.sleep(600)", stdout=subprocess.PIPE)
    print(process.stdout.readline(), flush=True)
    process.wait()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert b"up" in parent.stdout.readline()
    inside = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and b"CPU=71," in _command_of(pid)]
    handles = [os.pidfd_open(pid) for pid in inside]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert handles
    for handle in handles:
        assert select.select([handle], [], [], 10)[0]
        os.close(handle)


def _command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
