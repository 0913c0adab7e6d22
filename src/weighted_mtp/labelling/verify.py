"""Completions -> the same rows with a verdict and a label, in order, by any verifier."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from weighted_mtp.data.forms import texts_of
from weighted_mtp.data.json_lines import JsonLinesWriter, read_json_lines
from weighted_mtp.data.schema import MADE_COLUMNS, TOKEN_COLUMNS, DataError
from weighted_mtp.engine.settings import ALONE, EngineSettings, shard_of
from weighted_mtp.evaluation.known_forms import as_problem
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.base import VERDICTS, Judgement, Verifier, brief
from weighted_mtp.verifiers.judging import judged_in_parts
from weighted_mtp.verifiers.table import trail

TRAIL = ("verified_by", "verification")
REPLACED = ("label", "verdict", "is_correct", "reward", "verdict_reason", *TRAIL)
OF_COMPLETIONS = (
    *("completion", "completion_messages", "ended", "truncated", "token_error", "span", "steps", "p_success"),
    *TOKEN_COLUMNS,
    *MADE_COLUMNS,
    *REPLACED,
)
"""Columns that speak of a completion, and not of its problem."""
_SHOWN = 5  # reasons of a verdict


class Labelled(NamedTuple):
    """What a file of judged rows holds."""

    verdicts: Counter[str]
    reasons: Counter[tuple[str, str]]
    """Rows that this call judged, by verdict and reason, in brief."""

    def summary(self, out: Path) -> str:
        """What was found, why rows do not pass, and what becomes of errors, in a few lines."""
        counts = self.verdicts
        found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
        lines = [f"{out}: {counts.total()} rows, test-verified: {found}"]
        for verdict in VERDICTS[1:]:
            why = [(reason, n) for (of, reason), n in self.reasons.most_common() if of == verdict]
            told = [f"{n} {reason}" for reason, n in why[:_SHOWN]] + ["..."] * (len(why) > _SHOWN)
            lines += [f"  {verdict}: {'; '.join(told)}"] * bool(told)
        if counts["error"]:
            lines.append(
                f"{counts['error']} rows have label null (verdict error: the check could not be made); training drops "
                "them, and they are tried again in another output only"
            )
        return "\n".join(lines)


def label_file(
    source: Path,
    out: Path,
    verifier: Verifier,
    console: Console | None = None,
    engine: EngineSettings = ALONE,
    shard: str = "1/1",
) -> Labelled:
    """Writes every row of `source` to `out` with `label`, `verdict` and the trail; a second call goes on.

    The label is true where the verdict is `pass`. Where the verifier tells it, `reward` is the share of tests passed.
    `verified_by` and `verification` say by what the row was judged (`verifiers.table.trail`).

    It is None where the check could not be made (verdict `error`): such a row is neither right nor wrong, and all that
    read rows drop it.

    A label is test-verified: it says what the verifier found, which is as good as the row's tests. A label, reward or
    verdict that a row came with is replaced. Of a conversation, the assistant's last turn is checked.

    Rows are judged in parts by an engine, which changes nothing of them; of a `shard` i/n the i-th of n parts.
    """
    if out.exists() and out.samefile(source):
        raise DataError(f"{out} is the input too: name another output")
    rows = read_json_lines(source)
    answered = [answered_row(row) for row in rows]
    for name in verifier.requires:
        if all(row.get(name) is None and verifier.missing(row) for row in answered):
            raise DataError(f"{source}: no row has `{name}`; this verifier needs {', '.join(verifier.requires)}")
    rows, answered = list(shard_of(rows, shard)), shard_of(answered, shard)
    writer = JsonLinesWriter(out)
    judged_by = trail(verifier)
    _check_same(rows, writer, source, judged_by)
    found = Labelled(Counter(row["verdict"] for row in writer.done), Counter())
    known = len(writer.done)
    with writer, progress_bar(console) as progress:
        task = progress.add_task("rows verified", total=len(rows), completed=known)
        judgements = judged_in_parts(engine, verifier, answered, known, out)
        for row, judged in zip(rows[known:], judgements, strict=True):
            writer.write(_given(row) | columns_of(judged) | judged_by)
            found.verdicts[judged.verdict] += 1
            found.reasons.update([(judged.verdict, brief(judged.reason))] if judged.reason else [])
            progress.advance(task)
    return found


def columns_of(judged: Judgement) -> dict[str, Any]:
    """`label`, `verdict`, and `reward` and `verdict_reason` where there are some."""
    more = {"reward": judged.reward, "verdict_reason": judged.reason}
    told = {name: value for name, value in more.items() if value is not None}
    return {"label": label_of(judged.verdict), "verdict": judged.verdict, **told}


def label_of(verdict: str) -> bool | None:
    """True for `pass`, None for `error`, which says nothing about the completion, and false for the others.

    A `timeout` is the completion's own fault, as far as the verifier can tell.
    """
    return None if verdict == "error" else verdict == "pass"


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in REPLACED}


def bare_problem(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without the completion that it may come with, and what is said of that."""
    return {name: x for name, x in row.items() if row.get("completion") is None or name not in OF_COMPLETIONS}


def answered_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with what was answered as text, in whichever form it came, and what a known form gives a verifier."""
    try:
        row = as_problem(row)
        return row | {"completion": texts_of(row)[1]["completion"]}
    except DataError:
        return row


def _text(row: Mapping[str, Any]) -> str:
    """What a row came with, as text: NaN, which JSON lines may hold, is not equal to itself."""
    return json.dumps(_given(row), sort_keys=True)


def _check_same(rows: list[dict[str, Any]], writer: JsonLinesWriter, source: Path, judged_by: dict[str, Any]) -> None:
    for number, made in enumerate(writer.done, start=1):
        same = number <= len(rows) and _text(made) == _text(rows[number - 1])
        if not same or made.get("verdict") not in VERDICTS:
            raise writer.other_row(number, f"is not row {number} of {source} with a verdict")
        if (other := difference(made, judged_by)) is not None:
            raise writer.other_row(number, other)


def difference(made: Mapping[str, Any], judged_by: Mapping[str, Any]) -> str | None:
    """In what a row was judged otherwise; None: in nothing.

    Examples:
        >>> now = {"verified_by": "exact", "verification": {"version": "2", "timeout": None, "seed": None}}
        >>> difference(now | {"verification": {"version": "1", "timeout": None, "seed": None}}, now)
        "was verified with version '1', and this is version '2'"
    """
    then, now = made.get("verification"), judged_by["verification"]
    if not isinstance(then, Mapping):
        return f"was verified by {made.get('verified_by')}, by a version that kept no `verification`"
    then, now = ({"verifier": row.get("verified_by"), **kept} for row, kept in ((made, then), (judged_by, now)))
    if not (other := [name for name in {**then, **now} if then.get(name) != now.get(name)]):
        return None
    was, this = (", ".join(f"{name} {kept.get(name)!r}" for name in other) for kept in (then, now))
    return f"was verified with {was}, and this is {this}"
