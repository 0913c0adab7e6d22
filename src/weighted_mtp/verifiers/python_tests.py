"""Python completions judged by their tests, in HumanEval's form and its kin, in a sandbox."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from weighted_mtp.data.fields import DataError, messages_of, plain_content
from weighted_mtp.verifiers.base import PROBE, Judgement
from weighted_mtp.verifiers.program_text import is_defined, names_something, program_of, with_provided
from weighted_mtp.verifiers.programs import Programs

_CONTINUED = "complete_prompt", "code_prompt"
"""What BigCodeBench's references go on with, whatever was asked for."""


class PythonTests(Programs):
    """Passes where the row's `test` accepts what the entry point of the program (`program_of`) returns.

    The program runs in one sandbox and the test in another. The test defines `check(candidate)`, or classes of
    `unittest`, or is taken as bare assertions; in it the entry point's name, and the names of the program's other
    functions, are the candidate's. A method (`Solution().add`, `Solution.add`, or `add` where no function has that
    name) is called on an instance made for each call; an entry point that is `async` is waited for, or awaited where
    the test names asyncio. What the prompt defines, helpers and imports, exists on both sides. What the candidate
    prints in a call is printed in the test.

    Arguments and results cross as data: None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset,
    dict; Counter, OrderedDict, defaultdict and deque; instances of classes that both sides define, as their attributes;
    a namedtuple as a tuple; arrays and numbers of numpy as such (of dates or objects, or masked, as lists). A result
    of any other type is a `fail`. An argument that the candidate changes in place stays as it was in the test. An
    exception arrives as the nearest of its kinds that the test's side has, with its arguments, attributes and message.

    `fail`: an assertion or the candidate raises, it does not compile, exits, runs out of memory or lacks the entry
    point. `error`: a column is missing, the prompt's helpers or the test do not run, the test passes what cannot cross
    or never calls the candidate, or the row's `canonical_solution` does not pass.

    `reward` is the share of the test that passes: of unittest's methods; else of the assertions that are executed, and
    of the other statements that call the candidate, in loops and branches of `check` too. One that raises does not end
    the count, though it decides the verdict; where anything else ends the test early, those that it never came to count
    as not passed.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, for the form.
    Options as `Programs`; the limit of time is a row's."""

    requires = ("prompt", "completion", "test", "entry_point")
    candidate = "candidate", ("crossing",)
    tests = ("prompt", "test", "entry_point")

    def _check(self, row: Mapping[str, Any]) -> Judgement:
        job: dict[str, Any] = {name: row.get(name) for name in self.requires}
        asked = _asked(job["prompt"])
        if isinstance(job["prompt"], list):  # a chat, in which the whole program was asked for
            job["prompt"] = ""
        if asked is None or not all(isinstance(value, str) for value in job.values()):
            return Judgement("error", reason="prompt, test or entry_point is no text")
        if not names_something(row["entry_point"]):
            return Judgement("error", reason="entry_point names no function: it is f, Solution.f or Solution().f")
        job["source"] = with_provided(program_of(asked, row["completion"], row["entry_point"]), row["entry_point"])
        return self._run(job, self.timeout)

    def _with_reference(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Behind the prompt, or behind what completions go on with; none that is no program with any of these."""
        name = row.get("entry_point")
        for reference in super()._with_reference(row):
            for prompt in map(row.get, ("prompt", *_CONTINUED)):
                asked, texts = _asked(prompt), (reference["completion"], PROBE)
                if asked is None or not isinstance(name, str):
                    continue
                if any(is_defined(program_of(asked, text, name), name) for text in texts):
                    yield {**reference, "prompt": prompt}


def _asked(prompt: Any) -> str | None:
    """A prompt, or what the last message of a chat says; None where it is neither."""
    if isinstance(prompt, list):
        with suppress(DataError):
            return plain_content(messages_of("prompt", prompt)[-1])
    return prompt if isinstance(prompt, str) else None
