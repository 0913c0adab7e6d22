"""Chains of thought with the step that is marked as wrong: rows, and which token belongs to which step."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weighted_mtp.data import DataError

Row = dict[str, Any]
TRACES = "bigbench_mistake/{task}.jsonl"
"""Where a task's chains of thought lie in the data folder, as BIG-Bench Mistake has them."""
SOLUTIONS = "gsm8k/model_solutions.jsonl"
"""Where the solutions of GPT-3 lie in the data folder, as the GSM8K repository has them."""
WRITERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_COLUMNS = {"input", "target", "answer", "steps", "mistake_index"}


def read_rows(path: Path, columns: set[str]) -> list[Row]:
    """Rows of a file of the data folder.

    Raises:
        DataError: it is not there, or a row lacks a column.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there: --data names the folder that holds it")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for i, row in enumerate(rows, 1):
        if missing := sorted(columns - row.keys()):
            raise DataError(f"{path}, line {i} has no {', '.join(missing)}")
    return rows


def read_traces(data: Path, task: str) -> list[Row]:
    """Rows with prompt, completion (a step a line), label (answer == target) and `marked`, the first wrong step."""
    return [
        {
            "prompt": row["input"] + "\n",
            "completion": "\n".join(row["steps"]),
            "label": row["answer"] == row["target"],
            "marked": row["mistake_index"],
            "target": row["target"],
        }
        for row in read_rows(data / TRACES.format(task=task), _COLUMNS)
    ]


def read_solutions(data: Path) -> list[Row]:
    """Rows with prompt, completion, label and the writer: four solutions of each problem."""
    return [
        {
            "prompt": row["question"] + "\n",
            "completion": row[writer]["solution"],
            "label": row[writer]["is_correct"],
            "marked": None,
            "writer": writer,
        }
        for row in read_rows(data / SOLUTIONS, {"question", *WRITERS})
        for writer in WRITERS
    ]


def step_of_tokens(tokenizer: Any, completion: str) -> list[int]:
    """The step of each learned token of a completion whose steps are lines; the end belongs to the last.

    A token that lies in several lines belongs to the last of them, and a line break to the line that it ends.
    """
    offsets = tokenizer(completion, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    steps = [completion.count("\n", 0, end - 1) for _, end in offsets]
    return [*steps, steps[-1]]


def by_step(values: Sequence[float], steps: Sequence[int], n: int) -> list[list[float]]:
    """The values of each step's tokens."""
    found: list[list[float]] = [[] for _ in range(n)]
    for value, step in zip(values, steps, strict=True):
        found[step].append(value)
    return found
