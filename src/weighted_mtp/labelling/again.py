"""`wmtp data verify --again`: do verdicts hold? Judged rows are judged once more, and flaky checks are named."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighted_mtp.data.json_lines import JsonLinesWriter, read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.intervals import wilson_interval
from weighted_mtp.labelling.verify import answered_row, difference
from weighted_mtp.reports.numbers import percent
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.verifiers.base import VERDICTS, Verifier, unless_all_raise
from weighted_mtp.verifiers.table import VERIFIERS, make_verifier, trail

ROWS = 200
TRIES = 4
"""How often a row whose verdict flips is judged once more."""
_SHOWN = 20
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Flip:
    """A row with another verdict than before."""

    row: Row
    found: tuple[str, ...]
    """The new verdict, then those of `TRIES` further ones."""
    judged_otherwise: str | None
    """In what the row was judged otherwise (`difference`)."""

    @property
    def flaky(self) -> bool:
        """Whether its check gives several verdicts on one completion, rather than another one than before."""
        return len({*self.found}) > 1

    @property
    def explained(self) -> str:
        """Why it may have flipped."""
        if self.flaky:
            return "flaky: both come up"
        return f"changed: {self.found[0]} each time; {self.judged_otherwise or 'it was judged in the same way'}"

    @property
    def name(self) -> str:
        """The row's task_id, or the first line of its prompt."""
        if (task := self.row.get("task_id")) is not None:
            return str(task)
        prompt = self.row.get("prompt") or self.row.get("messages") or self.row.get("conversations") or ""
        return (prompt if isinstance(prompt, str) else json.dumps(prompt)).strip().partition("\n")[0][:80]


@dataclass(frozen=True)
class Again:
    """What became of a sample of verdicts."""

    judged: int
    of: int
    flips: list[Flip]

    def show(self, console: Console) -> None:
        """Flips by verdict, their share, and the names of flaky checks."""
        found = wilson_interval(len(self.flips), self.judged)
        share = f"{percent(found.mean)} % of them, 95 % interval {percent(found.low)} to {percent(found.high)}"
        console.print(
            f"{self.judged} of {self.of} rows judged again: {len(self.flips)} flips, {share}", highlight=False
        )
        kinds = Counter((flip.row["verdict"], flip.found[0], flip.explained) for flip in self.flips)
        table = Table("was", "is", "rows", "", box=None, pad_edge=False)
        for (was, now, explained), count in kinds.most_common():
            table.add_row(was, now, str(count), Text(explained))
        if kinds:
            console.print(table)
        names = list(dict.fromkeys(flip.name for flip in self.flips if flip.flaky))
        if names:
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            console.print(Text(f"flaky: {', '.join(names[:_SHOWN])}{more}"), soft_wrap=True)


class AgainSettings(Protocol):
    """What `wmtp data verify --again` is told."""

    input: str
    output: str | None
    verifier: str | None
    timeout: float | None
    seed: int | None
    rows: int | None


def judge_again(settings: AgainSettings, console: Console | None = None) -> Again:
    """Judges `rows` (200) judged rows, drawn by `seed`, as their trail says, or by another verifier or time limit; by
    one's own only where it is named, with the options of the trail;
    flipped ones go to `output`, each with `flip`: the verdict it `was`, those `found` now, and whether it is `flaky`.
    DataError: a row that was not judged, or does not say by what; an output that is there already."""
    source, out = Path(settings.input), settings.output and Path(settings.output)
    if out and out.exists() and out.stat().st_size:
        raise DataError(f"{out} is there already: give another output, or move this one away")
    read = read_json_lines(source)
    places = sorted(random.Random(settings.seed or 0).sample(range(len(read)), min(settings.rows or ROWS, len(read))))
    groups: dict[str, list[Row]] = {}
    for place in places:
        options = _judged_with(read[place], f"{source}: row {place + 1}", settings.verifier)
        given = {name: getattr(settings, name, None) for name in ("timeout", "allow", "environment")}
        options |= {name: value for name, value in given.items() if value is not None}
        groups.setdefault(json.dumps(options), []).append(read[place])
    judges = {options: make_verifier(**json.loads(options)) for options in groups}
    flips: list[Flip] = []
    with progress_bar(console) as progress:
        task = progress.add_task("rows judged again", total=len(places))
        for options, group in groups.items():
            for flip in _flips(judges[options], group):
                flips += [flip] if flip else []
                progress.advance(task)
    if out:
        with JsonLinesWriter(out) as writer:
            for flip in flips:
                told = {"was": flip.row["verdict"], "found": list(flip.found), "flaky": flip.flaky}
                writer.write({**flip.row, "flip": told})
    return Again(len(places), len(read), flips)


def _judged_with(row: Row, where: str, verifier: str | None) -> dict[str, Any]:
    """What makes the verifier of a row."""
    if row.get("verdict") not in VERDICTS:
        raise DataError(f"{where} has no verdict: --again judges rows that `wmtp data verify` has judged")
    name, kept = row.get("verified_by"), row.get("verification")
    if verifier is not None and (verifier != name or not isinstance(kept, Mapping)):
        return {"name": verifier}
    if verifier is None and isinstance(name, str) and ":" in name:
        raise DataError(f"{where} was verified by {name}: rows do not choose what code runs, so add --verifier {name}")
    if (verifier is None and str(name) not in VERIFIERS) or not isinstance(kept, Mapping):
        raise DataError(f"{where} was verified by {name} and does not say with what (`verification`): add --verifier")
    return {option: kept[option] for option in kept if option not in ("version", "library")} | {"name": name}


def _flips(judge: Verifier, rows: list[Row]) -> Iterator[Flip | None]:
    """For each row its flip, or None."""
    asked, judged_by = [answered_row(dict(row)) for row in rows], trail(judge)
    judgements = unless_all_raise(judge.judge_all(asked), lambda one: one.reason)
    for row, given, judged in zip(rows, asked, judgements, strict=True):
        if judged.verdict == row["verdict"]:
            yield None
        else:
            more = judge.judge_all([given] * TRIES)
            yield Flip(row, (judged.verdict, *(found.verdict for found in more)), difference(row, judged_by))
