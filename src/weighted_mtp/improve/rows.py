"""What a round trains on, and what its critic is judged on: rows of samples, put together."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.asking import prompt_of
from weighted_mtp.evaluation.problems import Problems
from weighted_mtp.files import write_text
from weighted_mtp.labelling.verify import bare_problem, label_of

Row = dict[str, Any]
_JUDGED = 2_000
"""Completions that the critic's skill is taken from, evenly spaced."""


def training_rows(rounds: Sequence[Sequence[Row]], distinct: bool = False) -> list[Row]:
    """The rows of a round; of several rounds those of all, newest first, balanced by prompt, perhaps each only once: no
    prompt has more than prompts have on average, right and wrong in turn. What could not be judged is left out.
    """
    newest = [[row for row in rows if row["label"] is not None and row["completion"]] for rows in rounds][::-1]
    if len(newest) == 1:
        return newest[0]
    by_prompt: dict[str, dict[Any, Row]] = {}
    for place, row in enumerate(row for rows in newest for row in rows):
        key = json.dumps(row["completion"]) if distinct else place
        by_prompt.setdefault(json.dumps(row["prompt"]), {}).setdefault(key, row)
    most = -(-sum(map(len, by_prompt.values())) // max(1, len(by_prompt)))
    return [row for some in by_prompt.values() for row in _in_turn(list(some.values()))[:most]]


def _in_turn(rows: list[Row]) -> list[Row]:
    right, wrong = ([row for row in rows if row["label"] is which] for which in (True, False))
    return [row for pair in zip_longest(right, wrong) for row in pair if row is not None]


def held_out_rows(problems: Problems, samples: Iterable[Mapping[str, Any]], chat: bool) -> list[Row]:
    """The completions of an evaluation as rows that a critic can score."""
    rows: list[Row] = []
    for one in samples:
        if (label := label_of(one["verdict"])) is not None and one["completion"]:
            problem = problems[one["problem"]]
            row = bare_problem(problem) | {
                "prompt": prompt_of(problem, chat),
                "completion": one["completion"],
                "label": label,
            }
            rows.append(row | ({"truncated": True} if one["ended"] == "length" else {}))
    return rows[:: -(-len(rows) // _JUDGED)]


def nothing_to_learn(rows: Sequence[Row], verifier: str) -> str | None:
    """Why rows teach nothing, in a line: all are right, all are wrong, or none could be judged; None where they do."""
    judged = [row["verdict"] == "pass" for row in rows if row["verdict"] != "error"]
    if not judged:
        return f"{verifier} could judge none of {len(rows)} samples, so that there is nothing to learn from"
    if all(judged):
        return f"{verifier} accepts all {len(judged)} samples, so that there is nothing to learn from"
    if not any(judged):
        cut = sum("truncated" in row for row in rows)
        which = f"{len(judged)} samples" + f" ({cut} of them were cut off)" * bool(cut)
        return (
            f"{verifier} rejects all {which}, so that there is nothing to learn from: look at some of "
            "them, and at what the verifier wants"
        )
    return None


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows where they are not there already."""
    if not rows:
        raise DataError(f"{path}: no row in it could be judged")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def rows_of(folder: Path) -> list[Row]:
    """What was sampled in a round."""
    return read_json_lines(folder / "rows.jsonl")
