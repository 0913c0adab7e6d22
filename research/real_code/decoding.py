"""Which tasks a model solves: its greedy completion of each prompt, run against the task's tests in the sandbox."""

from collections.abc import Sequence

from research.real_code.rows import Row
from weighted_mtp.evaluation.decoding import complete
from weighted_mtp.evaluation.problems import open_prompt
from weighted_mtp.evaluation.sampling import HUMANEVAL_STOPS
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.verifiers.python_tests import PythonTests

BATCH_SIZE = 16
MAX_NEW_TOKENS = 128


def solved_tasks(model_path: str, rows: Sequence[Row]) -> dict[str, bool]:
    """By task, whether the greedy completion passes its tests; tasks without `test` and `entry_point` are left out.

    Args:
        model_path: whatever `from_pretrained` reads.
        rows: any number of each task.

    Raises:
        SandboxError: no sandbox to be had.
    """
    tasks = {row["task_id"]: row for row in rows if row.get("test") and row.get("entry_point")}
    if not tasks:
        return {}
    problems = [row | {"prompt": open_prompt(row["prompt"])} for row in tasks.values()]
    problems.sort(key=lambda row: len(row["prompt"]))
    model, tokenizer = MTPModel.from_pretrained(model_path, n_future=1), load_tokenizer(model_path)
    answers: list[Row] = []
    for start in range(0, len(problems), BATCH_SIZE):
        batch = problems[start : start + BATCH_SIZE]
        completions = complete(
            model, tokenizer, [row["prompt"] for row in batch], max_new_tokens=MAX_NEW_TOKENS, stop=HUMANEVAL_STOPS
        )
        answers += [row | {"completion": found.text} for row, found in zip(batch, completions, strict=True)]
    verdicts = PythonTests(workers=1).judge_all(answers)
    return {row["task_id"]: verdict == "pass" for row, (verdict, *_) in zip(answers, verdicts, strict=True)}
