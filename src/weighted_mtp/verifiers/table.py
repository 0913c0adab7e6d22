"""Verifiers by name. Each is imported when it is asked for: one may need what another does not."""

import importlib
import inspect
from importlib.metadata import version
from typing import Any

from weighted_mtp.choices import nearest
from weighted_mtp.verifiers.base import Verifier, VerifierError, check_timeout
from weighted_mtp.verifiers.judging import made_with

_HOME = "weighted_mtp.verifiers"
VERIFIERS = {
    "exact": f"{_HOME}.answers:ExactMatch",
    "numeric": f"{_HOME}.answers:NumericMatch",
    "math": f"{_HOME}.math_answers:MathMatch",
    "python-tests": f"{_HOME}.python_tests:PythonTests",
    "stdin": f"{_HOME}.stdin:StdinPrograms",
    "reasoning-gym": f"{_HOME}.reasoning_gym:ReasoningGym",
}
"""One row a verifier: its name on the command line, and package.module:Class. One whose class takes a `timeout`, in
seconds a row, a `seed`, of what programs draw, or distributions that programs may import (`allow`), has that option.
One's own is named by such a path too, as `my_package.words:AllWords`."""


def make_verifier(name: str, **options: Any) -> Verifier:
    """The verifier of that name, with `timeout`, `seed` or what else its class takes; None: its own default.
    VerifierError as `verifier_class`, or where what the verifier needs is not installed."""
    verifier: Any = verifier_class(name, **options)
    try:
        return verifier(**{option: value for option, value in options.items() if value is not None})
    except VerifierError:
        raise
    except Exception as error:
        raise VerifierError(f"verifier {name} cannot be made: {type(error).__name__}: {error}") from error


def verifier_class(name: str, **options: Any) -> type[Verifier]:
    """What `make_verifier` makes an instance of: it knows the columns, and nothing is started. VerifierError: an
    unknown name, what is no verifier, a timeout that is not above 0, or an option that the verifier does not take."""
    if name not in VERIFIERS and ":" not in name:
        hint = "".join(f"did you mean {near}? " for near in nearest(name, VERIFIERS)[:1])
        raise VerifierError(
            f"unknown verifier {name!r}: {hint}There are {', '.join(VERIFIERS)}, and your own as package.module:Class"
        )
    module, _, class_name = VERIFIERS.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise VerifierError(
            f"verifier {name!r} cannot be imported: {error}; needed is package.module:Class, in a package that is "
            "installed or in a folder on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Verifier)):
        raise VerifierError(f"verifier {name!r} is {found!r}: a subclass of Verifier is needed")
    for option, value in options.items():
        if value is not None and option not in inspect.signature(found).parameters:
            raise VerifierError(f"{option} is {value}, and the verifier {name} takes none: leave it out")
    if options.get("timeout") is not None:
        check_timeout(options["timeout"])
    return found


def trail(verifier: Verifier) -> dict[str, Any]:
    """What a row that was judged says of its verdict: `verified_by`, the verifier's name, and `verification`: the
    versions of this package and of the `library`, and what it was made with (`timeout`, `seed`, null where it takes
    none)."""
    kind = type(verifier)
    path = f"{kind.__module__}:{kind.__name__}"
    names = {path: name for name, path in VERIFIERS.items()}
    versions = {"version": version("weighted-mtp")}
    if kind.library is not None:
        versions["library"] = f"{kind.library} {version(kind.library)}"
    verification = versions | {"timeout": None, "seed": None} | made_with(verifier)
    return {"verified_by": names.get(path, path), "verification": verification}
