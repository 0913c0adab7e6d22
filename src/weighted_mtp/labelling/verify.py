"""Completions -> the same rows with a verdict and a label, in order, by any verifier."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from weighted_mtp.data.forms import texts_of
from weighted_mtp.data.json_lines import JsonLinesWriter, read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.base import VERDICTS, Verifier

ADDED = ("label", "verdict", "verified_by")
REPLACED = (*ADDED, "is_correct", "reward")


def label_file(source: Path, out: Path, verifier: Verifier, console: Console | None = None) -> Counter[str]:
    """Writes every row of `source` to `out` with `label`, `verdict` and `verified_by`; a second call goes on.

    The label is true where the verdict is `pass`; `verified_by` names the verifier and its limit of time.

    It is None where the check could not be made (verdict `error`): such a row is neither right nor wrong, and all that
    read rows drop it.

    A label is test-verified: it says what the verifier found, which is as good as the row's tests. A label, reward or
    verdict that a row came with is replaced. Of a conversation, the assistant's last turn is checked.
    """
    if out.exists() and out.samefile(source):
        raise DataError(f"{out} is the input too: name another output")
    rows = read_json_lines(source)
    answered = [_answered(row) for row in rows]
    for name in verifier.requires:
        if all(row.get(name) is None for row in answered):
            raise DataError(f"{source}: no row has `{name}`; this verifier needs {', '.join(verifier.requires)}")
    writer = JsonLinesWriter(out)
    _check_same(rows, writer, source, str(verifier))
    counts = Counter(row["verdict"] for row in writer.done)
    waiting = rows[len(writer.done) :]
    with writer, progress_bar(console) as progress:
        task = progress.add_task("rows verified", total=len(rows), completed=len(writer.done))
        for row, (verdict, reward, _) in zip(waiting, verifier.judge_all(answered[len(writer.done) :]), strict=True):
            found = {"label": label_of(verdict), "verdict": verdict, "verified_by": str(verifier)}
            found |= {} if reward is None else {"reward": reward}
            writer.write(_given(row) | found)
            counts[verdict] += 1
            progress.advance(task)
    return counts


def label_of(verdict: str) -> bool | None:
    """True for `pass`, None for `error`, which says nothing about the completion, and false for the others.

    A `timeout` is the completion's own fault, as far as the verifier can tell.
    """
    return None if verdict == "error" else verdict == "pass"


def summary(counts: Mapping[str, int], out: Path) -> str:
    """What was found, in two lines at most."""
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts.get(verdict))
    lines = [f"{out}: {sum(counts.values())} rows, test-verified: {found}"]
    if counts.get("error"):
        lines.append(
            f"{counts['error']} rows have label null (verdict error: the check could not be made); training drops "
            "them, and they are tried again in another output only"
        )
    return "\n".join(lines)


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in REPLACED}


def _answered(row: dict[str, Any]) -> dict[str, Any]:
    """The row with what was answered as text, in whichever form it came."""
    try:
        return row | {"completion": texts_of(row)[1]["completion"]}
    except DataError:
        return row


def _text(row: Mapping[str, Any]) -> str:
    """What a row came with, as text: NaN, which JSON lines may hold, is not equal to itself."""
    return json.dumps(_given(row), sort_keys=True)


def _check_same(rows: list[dict[str, Any]], writer: JsonLinesWriter, source: Path, verifier: str) -> None:
    for number, made in enumerate(writer.done, start=1):
        same = number <= len(rows) and _text(made) == _text(rows[number - 1])
        if not same or made.get("verdict") not in VERDICTS:
            raise writer.other_row(number, f"is not row {number} of {source} with a verdict")
        if made.get("verified_by") != verifier:
            raise writer.other_row(number, f"was verified by {made.get('verified_by')}, and this is {verifier}")
