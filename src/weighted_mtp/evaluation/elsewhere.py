"""Completions made elsewhere, as the rows of an evaluation: `wmtp evaluate --samples FILE`."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.problems import Problems

Row = dict[str, Any]


def read_completions(path: str, problems: Problems, whole: bool, tell: Callable[[str], None]) -> list[Row]:
    """Rows `problem, task_id, kind, sample, completion, ended` of a `.jsonl` file, in its order.

    A row names its problem by `problem` (its number), `task_id` or `prompt` (or GSM8K's `question`), and holds
    `completion`, a text or messages, or `completions`, a list of them; `kind` (sampled, if not said) and `ended` are
    those of our own samples.jsonl, and a `truncated` one ended by `length`. Unless the problems are the `whole` file of
    them, rows of others are left out. DataError: a row of none or several, or without a completion; a problem without
    one; greedy ones of some problems, or several of one."""
    tasks, prompts = (_known({i: row.get(name) for i, row in problems.items()}) for name in ("task_id", "prompt"))
    numbers = _known({i: i for i in problems})
    known = {"problem": numbers | prompts, "task_id": tasks, "prompt": prompts, "question": prompts}
    rows: list[Row] = []
    counts: Counter[tuple[int, str]] = Counter()
    others = 0
    for number, row in enumerate(read_json_lines(path), start=1):
        where = f"{path}: row {number}"
        place = _place(row, known, where, whole)
        if place is None:
            others += 1
            continue
        ended = "length" if row.get("truncated") is True else row.get("ended")
        for completion in _completions(row, where):
            kind = "greedy" if row.get("kind") == "greedy" else "sampled"
            named = {"problem": place, "task_id": problems[place].get("task_id"), "kind": kind}
            sample = None if kind == "greedy" else counts[place, kind]
            rows.append(named | {"sample": sample, "completion": completion, "ended": ended})
            counts[place, kind] += 1
    if bare := [place for place in problems if not counts[place, "greedy"] + counts[place, "sampled"]]:
        raise DataError(
            f"{path}: no completion of problem {bare[0]} ({len(bare)} of {len(problems)} have none): "
            "a line names its problem by `problem`, `task_id` or `prompt`, as the problems have it"
        )
    for kind in ("greedy", "sampled"):
        have = [counts[place, kind] for place in problems if counts[place, kind]]
        if 0 < len(have) < len(problems):
            raise DataError(f"{path}: {kind} completions are of {len(have)} of {len(problems)} problems")
        if kind == "greedy" and max(have, default=1) > 1:
            raise DataError(f"{path}: a problem has {max(have)} greedy completions, and one is enough")
    if others:
        tell(f"{path}: {others} rows are of problems that are not asked, and are left out")
    return rows


def _known(names: dict[int, Any]) -> dict[str, list[int]]:
    """Numbers of problems by what a row may name them by."""
    known: dict[str, list[int]] = {}
    for place, name in names.items():
        if name is not None:
            known.setdefault(_key(name), []).append(place)
    return known


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _place(row: Row, known: dict[str, dict[str, list[int]]], where: str, whole: bool) -> int | None:
    """The number of a row's problem; None: it is not asked."""
    name = next((name for name in known if row.get(name) is not None), None)
    if name is None:
        raise DataError(f"{where} names no problem: `problem` (its number), `task_id` or `prompt` is needed")
    key = _key(row[name])
    places = known[name].get(key) or known[name].get(key.rpartition("/")[2], [])  # MBPP's 2 is Mbpp/2 elsewhere
    if len(places) > 1:
        raise DataError(f"{where}: {len(places)} problems have its `{name}`, {key[:60]!r}: name it by `problem`")
    if not places and whole:
        raise DataError(f"{where}: no problem has its `{name}`, {key[:60]!r}")
    return places[0] if places else None


def _completions(row: Row, where: str) -> list[Any]:
    given = row["completions"] if row.get("completions") is not None else [row.get("completion")]
    if not isinstance(given, list) or not given or not all(isinstance(one, str | list) for one in given):
        raise DataError(f"{where}: `completion`, text or messages, or `completions`, a list of them, is needed")
    return given
