"""A bubblewrap sandbox for code that nobody has read.

Inside there is no network, no file of the host but the system's programs and Python's library (read-only), no variable
of the environment, a small temporary folder in memory, and a user without privileges. Root starts bubblewrap as an
unassigned user, because the limit on processes, which stops fork bombs, does not hold for root.
"""

import functools
import marshal
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.inside import source_of

INSTALL = "apt-get install bubblewrap (dnf, pacman and apk name it the same)"
_UNASSIGNED = range(61184, 65520)
"""User ids that systemd sets aside for users of a moment: they own no file."""
_STAGE = "/mnt"
"""An empty folder of every system, covered for one command and nobody else."""
_PACKAGES = "/packages"


class SandboxError(VerifierError):
    """The sandbox cannot be had here, or does not hold; nothing is run without it."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may take. Memory is counted by process: all of them take `processes` times as much."""

    memory: int = 512 << 20
    """Bytes of address space a process."""
    processes: int = 8
    """Processes and threads at a time, bubblewrap's own included."""
    folder: int = 16 << 20
    """Bytes of /tmp, the only place to write."""
    cpu_seconds: int = 60
    """CPU time a process; whoever starts one kills it by the wall clock before."""

    def as_argument(self) -> str:
        """In the form that `inside/limits.py` reads."""
        limits = {
            "AS": self.memory,
            "NPROC": self.processes,
            "FSIZE": self.folder,
            "CPU": self.cpu_seconds,
            "NOFILE": 64,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }
        return ",".join(f"{name}={value}" for name, value in limits.items())


@dataclass(frozen=True)
class Sandbox:
    """Starts Python programs in a sandbox, each in one of its own.

    Raises:
        SandboxError: bubblewrap is missing, it cannot work here, or something that must fail inside did not.
    """

    limits: Limits = Limits()
    """What each may take."""
    visible: tuple[Path, ...] = ()
    """Further folders of the host that can be read inside, under their own paths."""
    packages: tuple[Path, ...] = ()
    """Files and folders of site-packages that can be imported inside, read-only."""
    hash_seed: int = 0
    """Of Python's hashes inside (PYTHONHASHSEED), which the order of a set of texts hangs on."""

    def __post_init__(self) -> None:
        if sys.platform != "linux":
            raise SandboxError(f"the sandbox needs Linux and bubblewrap; this is {sys.platform}")
        if shutil.which("bwrap") is None:
            raise SandboxError(f"bubblewrap is not installed, and no code is run without it: {INSTALL}")
        missing = [tool for tool in ("nsenter", "unshare") if shutil.which(tool) is None]
        if os.geteuid() == 0 and missing:
            raise SandboxError(f"root needs {' and '.join(missing)} to give up its privileges: install util-linux")
        _self_test(self)

    def start(
        self,
        program: str,
        arguments: Sequence[str] = (),
        *,
        modules: tuple[str, ...] = (),
        first: bool = False,
        **popen: Any,
    ) -> subprocess.Popen[bytes]:
        """Runs the text `program` by this Python, without site-packages; end it with `kill`.

        Args:
            program: Python source; file descriptors named in `pass_fds` are open in it.
            arguments: its sys.argv[1:].
            modules: those of `inside` that it imports, each behind what it imports itself.
            first: as the first process of its namespace, which no other inside can end, and which inherits them all.
            **popen: as in subprocess.Popen.
        """
        python = [os.path.realpath(sys.executable), "-S", "-s", "-P", "-B", "-c"]
        given = [source_of("limits"), self.limits.as_argument(), _compiled(program, modules), *arguments]
        sandbox = self._command()
        sandbox[-1:-1] = ["--as-pid-1"] if first else []
        return subprocess.Popen[bytes]([*sandbox, *python, *given], start_new_session=True, **popen)

    def _command(self) -> list[str]:
        folders = [str(path.resolve()) for path in (Path(sys.base_prefix), *self.visible)]
        shown = {folder: folder for folder in folders if not Path(folder).is_relative_to("/usr")}
        packages = {str(path): f"{_PACKAGES}/{path.name}" for path in self.packages}
        if os.geteuid() != 0:
            return _bubblewrap(shown | packages, self.limits.folder, os.getuid(), self.hash_seed)
        user = secrets.choice(_UNASSIGNED)
        namespace, places = _stage(tuple(dict.fromkeys([*shown, *map(os.path.dirname, packages)])))
        shown = {places.get(source, source): inside for source, inside in shown.items()}
        for source, inside in packages.items():
            folder, name = os.path.split(source)
            shown[os.path.join(places.get(folder, folder), name)] = inside
        mounts = f"--mount=/proc/{os.getpid()}/{namespace}"
        dropping = ["nsenter", mounts, "--setuid", str(user), "--setgid", str(user)]
        return [*dropping, *_bubblewrap(shown, self.limits.folder, user, self.hash_seed)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a sandbox with everything in it, whatever that does about signals, and waits until it has ended.

    The inside is a process namespace whose first process dies with bubblewrap, and all others with the first.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@functools.cache
def _compiled(program: str, modules: tuple[str, ...]) -> str:
    """Modules and program, compiled here, once: that takes a tenth of the time that a check does."""
    home = source_of.__module__
    texts = [*((f"{home}.{name}", source_of(name)) for name in modules), ("<program>", program)]
    return marshal.dumps([(name, compile(text, name, "exec", dont_inherit=True)) for name, text in texts]).hex()


def _bubblewrap(shown: Mapping[str, str], folder: int, user: int, hash_seed: int) -> list[str]:
    """The command but for the program; `shown`: where inside each folder of the host is seen."""
    binds = [word for source, inside in shown.items() for word in ("--ro-bind", source, inside)]
    if any(inside.startswith(_PACKAGES) for inside in shown.values()):
        binds += ["--setenv", "PYTHONPATH", _PACKAGES, "--setenv", "OPENBLAS_NUM_THREADS", "1"]
    return [
        *("bwrap", "--unshare-all", "--unshare-user", "--disable-userns"),
        *("--die-with-parent", "--new-session"),
        *("--uid", str(user), "--gid", str(user), "--hostname", "sandbox"),
        *("--clearenv", "--setenv", "PYTHONHASHSEED", str(hash_seed), "--setenv", "PATH", "/usr/bin:/bin"),
        *("--ro-bind", "/usr", "/usr"),
        *_system_folders(),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(folder), "--tmpfs", "/tmp"),
        *binds,
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--"),
    ]


@functools.cache
def _system_folders() -> tuple[str, ...]:
    """/lib and its like: links into /usr, or folders."""
    words: list[str] = []
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            words += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            words += ["--ro-bind", name, name]
    return (*words, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache")


@functools.cache
def _stage(folders: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """What only root can reach, as a Python below /root, gets a way for others, in a namespace of its own.

    Returns:
        the namespace, as a path below that of this process in /proc, and where each such folder is seen in it.
    """
    closed = [folder for folder in folders if _is_closed(folder)]
    if not closed:
        return "ns/mnt", {}
    staged = {folder: f"{_STAGE}/{number}" for number, folder in enumerate(closed)}
    steps = [f"mount -t tmpfs -o mode=755 stage {_STAGE}", f"mkdir {' '.join(staged.values())}"]
    steps += [f"mount --bind {shlex.quote(folder)} {place}" for folder, place in staged.items()]
    script = " && ".join([*steps, "echo", "exec cat"])
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as making:
        assert making.stdout is not None
        if not making.stdout.readline():
            raise SandboxError(f"root cannot show {', '.join(closed)} to a user without privileges: mount failed")
        return f"fd/{os.open(f'/proc/{making.pid}/ns/mnt', os.O_RDONLY)}", staged  # open, it stays


def _is_closed(path: str) -> bool:
    """Whether others may not enter some folder on the way."""
    return not all(parent.stat().st_mode & 0o001 for parent in Path(path).parents)


@functools.cache
def _self_test(sandbox: Sandbox) -> None:
    """Tries to get out, once for each kind of sandbox."""
    with (
        tempfile.NamedTemporaryFile(prefix="weighted-mtp-") as canary,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        os.chmod(canary.name, 0o644)
        limits = sandbox.limits
        process = sandbox.start(
            source_of("probe"),
            [canary.name, str(server.getsockname()[1]), str(limits.memory), str(limits.processes)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "WMTP_CANARY": "seen"},
        )
        try:
            output, trouble = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            output, trouble = b"", b"no answer within 30 s"
        finally:
            kill(process)
    *escapes, last = output.decode().splitlines() or [""]
    if last != "done":
        reason = (trouble.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise SandboxError(
            f"bubblewrap does not work here, so no code is run: {reason} (in a container, allow user namespaces)"
        )
    if escapes:
        raise SandboxError(f"the sandbox does not hold here, so no code is run: one can {', '.join(escapes)}")
