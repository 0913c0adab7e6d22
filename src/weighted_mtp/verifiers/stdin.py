"""Programs that read standard input and print, judged by what they print."""

import json
from collections.abc import Mapping
from typing import Any

from weighted_mtp.verifiers.base import Judgement
from weighted_mtp.verifiers.program_text import program_of
from weighted_mtp.verifiers.programs import Programs

_COLUMNS = (
    "input_output", "public_tests", "private_tests", "generated_tests", "public_test_cases", "private_test_cases",
)  # fmt: skip
_SLACK_SECONDS = 2.0


class StdinPrograms(Programs):
    """Passes where the program prints what is expected for each of its inputs.

    `inputs` and `outputs` are lists of text, or such lists as JSON. So are the columns of APPS (`input_output`), of
    CodeContests (`public_tests`, `private_tests`, `generated_tests`) and of LiveCodeBench (`public_test_cases`,
    `private_test_cases`, where they are not packed) read. Each input has a run of its own in the row's sandbox, and
    `timeout` seconds; after three that take longer the others are not tried. An exit with a status, or an exception,
    is no pass.

    Two texts are the same where their words are. A number where a decimal is expected may differ by 1e-6, relative or
    absolute; where an integer is expected, it is that integer. A `checker`, Python that defines `check(input, output,
    expected)`, decides in their stead; one that raises does not accept. It runs where tests run.

    `reward` is the share of the inputs that pass. `error`: no inputs, not as many outputs, a checker that does not run.

    Source: Li et al. 2022, "Competition-level code generation with AlphaCode", Science 378, for the form. Options as
    `Programs`; the limit of time is an input's.
    """

    requires = ("completion", "inputs", "outputs")
    candidate = "inputs", ("crossing", "forks")
    tests = ("inputs", "outputs", "checker", *_COLUMNS)

    @classmethod
    def missing(cls, row: Mapping[str, Any]) -> str | None:
        """The inputs may have another name."""
        return None if any(row.get(name) is not None for name in _COLUMNS) else super().missing(row)

    def _check(self, row: Mapping[str, Any]) -> Judgement:
        checker = row.get("checker")
        if not isinstance(checker, str | None):
            return Judgement("error", reason="checker is no text")
        try:
            inputs, outputs = _cases(row)
        except NotImplementedError:
            return Judgement("error", reason="the row calls a function: python-tests judges it")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            inputs, outputs = [], []
        if not inputs or len(inputs) != len(outputs) or not all(isinstance(text, str) for text in inputs + outputs):
            return Judgement("error", reason="inputs and outputs are not lists of text, one for one")
        job = {"inputs": inputs, "outputs": outputs, "checker": checker, "limit": self.timeout}
        job["source"] = program_of("", row["completion"], "")
        return self._run(job, len(inputs) * self.timeout + _SLACK_SECONDS)


def _cases(row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Inputs and outputs of a row, in whichever columns they are."""
    if row.get("inputs") is not None:
        return _list(_read(row["inputs"])), _list(_read(row["outputs"]))
    inputs, outputs = list[str](), list[str]()
    for found in (_read(row[name]) for name in _COLUMNS if row.get(name) is not None):
        together = isinstance(found, Mapping)
        cases = [found] if together else list(found)
        if any(one.get("fn_name") or one.get("testtype") == "functional" for one in cases):
            raise NotImplementedError("calls of a function, and no program's input")
        for ours, name in ((inputs, "input"), (outputs, "output")):
            each = [one[name if name in one else name + "s"] for one in cases]
            ours += _list(each[0]) if together else each
    return inputs, outputs


def _list(value: Any) -> list[Any]:
    """One text a case; some of APPS' are lists of lines."""
    if not isinstance(value, list):
        raise TypeError(value)
    return ["\n".join(case) if isinstance(case, list) else case for case in value]


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
