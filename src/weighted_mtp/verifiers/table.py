"""Verifiers by name. Each is imported when it is asked for: one may need what another does not."""

import importlib
import inspect
from typing import Any

from weighted_mtp.choices import nearest
from weighted_mtp.verifiers.base import Verifier, VerifierError, check_timeout

_HOME = "weighted_mtp.verifiers"
VERIFIERS = {
    "exact": f"{_HOME}.answers:ExactMatch",
    "numeric": f"{_HOME}.answers:NumericMatch",
    "math": f"{_HOME}.math_answers:MathMatch",
    "python-tests": f"{_HOME}.python_tests:PythonTests",
    "reasoning-gym": f"{_HOME}.reasoning_gym:ReasoningGym",
}
"""One row a verifier: its name on the command line, and package.module:Class. One whose class takes a `timeout`, in
seconds a row, has that option."""


def make_verifier(name: str, *, timeout: float | None = None) -> Verifier:
    """The verifier of that name; no timeout: its own default.

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
    if name not in VERIFIERS:
        hint = "".join(f"did you mean {near}? " for near in nearest(name, VERIFIERS)[:1])
        raise VerifierError(f"unknown verifier {name!r}: {hint}There are {', '.join(VERIFIERS)}")
    module, _, class_name = VERIFIERS[name].partition(":")
    found = getattr(importlib.import_module(module), class_name)
    if timeout is not None and "timeout" not in inspect.signature(found).parameters:
        raise VerifierError(f"timeout is {timeout}, and the verifier {name} takes none: leave it out")
    if timeout is not None:
        check_timeout(timeout)
    return found
