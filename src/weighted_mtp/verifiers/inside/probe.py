"""What the sandbox's self-test tries from the inside: everything on the list must fail."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable

canary, port, memory, most_forks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


def write_outside() -> None:
    """The root of the file system, the system's programs, the devices' folder."""
    for folder in ("/", "/usr", "/dev", "/dev/shm"):
        with contextlib.suppress(OSError):
            open(os.path.join(folder, "escaped"), "w").close()
            return
    raise OSError("nowhere to write")


def fill_folder() -> None:
    """A file larger than the temporary folder may hold."""
    with open("/tmp/large", "wb") as file:
        file.write(bytes(memory // 4))


def fork_on() -> None:
    """More processes than the limit allows."""
    for _ in range(most_forks + 1):
        if os.fork() == 0:
            signal.pause()


def stay_privileged() -> None:
    """Root, or a capability."""
    with open("/proc/self/status") as status:
        held = [line.split()[1] for line in status if line.startswith("CapEff")]
    if os.getuid() != 0 and not int(held[0], 16):
        raise OSError("no privileges")


def make_namespace() -> None:
    """A user namespace of its own would bring capabilities back."""
    import ctypes

    if ctypes.CDLL(None).unshare(0x10000000):
        raise OSError("no namespace")


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read a file of the host": lambda: open(canary).close(),
    "reach the network": lambda: socket.create_connection(("127.0.0.1", port), timeout=1),
    "write outside its temporary folder": write_outside,
    "fill that folder": fill_folder,
    "see the environment": lambda: os.environ["WMTP_CANARY"],
    "keep privileges": stay_privileged,
    "make a namespace": make_namespace,
    "take more memory than its limit": lambda: bytearray(memory),
    "start more processes than its limit": fork_on,
}
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
    except (OSError, MemoryError, KeyError, AttributeError):
        continue
    print(name, flush=True)
print("done", flush=True)
