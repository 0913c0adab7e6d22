"""Verifiers by name. Each is imported when it is asked for: one may need what another does not."""

import importlib
from typing import Any, NamedTuple

from weighted_mtp.choices import nearest
from weighted_mtp.verifiers.base import Verifier, VerifierError, check_timeout


class Entry(NamedTuple):
    """Where a verifier lies."""

    module: str
    class_name: str
    timed: bool
    """Whether it takes a `timeout`, in seconds a row."""


VERIFIERS: dict[str, Entry] = {
    "exact": Entry("weighted_mtp.verifiers.answers", "ExactMatch", timed=False),
    "numeric": Entry("weighted_mtp.verifiers.answers", "NumericMatch", timed=False),
    "python-tests": Entry("weighted_mtp.verifiers.python_tests", "PythonTests", timed=True),
    "reasoning-gym": Entry("weighted_mtp.verifiers.reasoning_gym", "ReasoningGym", timed=True),
}


def make_verifier(name: str, *, timeout: float | None = None) -> Verifier:
    """The verifier of that name.

    Args:
        name: a key of `VERIFIERS`.
        timeout: seconds a row; None: the verifier's own default.

    Raises:
        VerifierError: as `verifier_class`; what the verifier needs is not installed.
    """
    verifier: Any = verifier_class(name, timeout=timeout)
    return verifier() if timeout is None else verifier(timeout=timeout)


def verifier_class(name: str, *, timeout: float | None = None) -> type[Verifier]:
    """What `make_verifier` makes an instance of: it knows the columns, and nothing is started.

    Raises:
        VerifierError: an unknown name; a timeout that is not above 0, or for a verifier that takes none.
    """
    entry = VERIFIERS.get(name)
    if entry is None:
        hint = "".join(f"did you mean {near}? " for near in nearest(name, VERIFIERS)[:1])
        raise VerifierError(f"unknown verifier {name!r}: {hint}There are {', '.join(VERIFIERS)}")
    if timeout is not None and not entry.timed:
        raise VerifierError(f"timeout is {timeout}, and the verifier {name} takes none: leave it out")
    if timeout is not None:
        check_timeout(timeout)
    return getattr(importlib.import_module(entry.module), entry.class_name)
