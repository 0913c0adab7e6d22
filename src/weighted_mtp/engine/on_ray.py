"""Parts made on a Ray cluster, by actors that each hold the model; a part whose actor dies is made by another."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from weighted_mtp.engine.local import set_threads, threads
from weighted_mtp.engine.parts import Made, Make, Part, Row, Work, as_made
from weighted_mtp.engine.settings import EngineError, EngineSettings

TRIES = 3
"""Times that a part is begun, where it takes its worker with it each time."""


def ray(settings: EngineSettings, work: Work, parts: Iterable[Part]) -> Made:
    """On the cluster that RAY_ADDRESS names, else on one that runs on this machine, else on one begun for this call.

    Actors that the cluster has no room for are not waited for: those that are there make the parts. Raises
    EngineError where Ray is not installed or its cluster not there, or a part has killed its worker three times.
    """
    with _cluster() as ray:
        from ray.exceptions import RayActorError, RayTaskError

        asked = {"num_cpus": 1 if settings.num_cpus is None else settings.num_cpus, "num_gpus": settings.num_gpus or 0}
        _require_room(ray, asked)
        actor = ray.remote(_Worker).options(max_restarts=-1, max_task_retries=TRIES - 1, **asked)
        actors = [actor.remote() for _ in range(settings.workers)]
        held = [ray.put(work)]  # in a list, since Ray would take one that stands alone apart for every part
        about = held, max(1, int(asked["num_cpus"])), threads()
        try:
            there = [one.ready.remote().future() for one in actors]
            yield from as_made(lambda i, part: actors[i].make.remote(*about, part.given).future(), there, parts)
        except RayTaskError as error:
            raise error.cause from error
        except RayActorError as error:
            raise EngineError(
                f"a part has killed its worker {TRIES} times, by a lack of memory perhaps: what is made is kept, and "
                f"the same command goes on ({str(error).splitlines()[0]})"
            ) from None


@contextmanager
def _cluster() -> Iterator[Any]:
    """Ray, joined to a cluster that it leaves at the end, unless the process has joined one before."""
    if find_spec("ray") is None:
        raise EngineError("engine ray needs Ray: pip install 'weighted-mtp[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told anything
    ray: Any = import_module("ray")
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        if found := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or ""):  # Ray would try for minutes
            socket.create_connection((found[1], int(found[2])), timeout=10).close()
        before = signal.getsignal(signal.SIGTERM)
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own would end the command without a line
    except (OSError, RuntimeError, ValueError) as error:
        at = f"at RAY_ADDRESS {address}" if address else "on this machine"
        raise EngineError(f"no Ray cluster {at}: {str(error).splitlines()[0]}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_room(ray: Any, asked: dict[str, float]) -> None:
    """Says where no node has what a worker asks for; one may join a cluster that stands, and none does our own."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(names[name], 0) >= value for name, value in asked.items()) for node in nodes):
        return
    told = f"no node of the Ray cluster has {asked['num_cpus']:g} CPUs and {asked['num_gpus']:g} GPUs for a worker"
    if not os.environ.get("RAY_ADDRESS"):
        raise EngineError(f"{told}: give num_cpus and num_gpus that one has, or the RAY_ADDRESS of another cluster")
    print(f"{told}: waiting for one that joins", file=sys.stderr, flush=True)


class _Worker:
    """An actor; its work is opened by the first part, so by one that was started anew too."""

    def __init__(self) -> None:
        self._made: Make | None = None

    def ready(self) -> None:
        """Done when the actor is there."""

    def make(self, held: list[Any], cores: int, count: int | None, given: Any) -> list[Row]:
        """The rows of a part."""
        if self._made is None:
            set_threads(count)
        make = self._made or import_module("ray").get(held[0]).open(cores)
        self._made = make
        return list(make(given))
