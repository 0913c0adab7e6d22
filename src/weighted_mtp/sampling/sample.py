"""`wmtp sample`: rows of prompt, completion and verdict, in order; the same command goes on where it stopped."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from rich.console import Console

from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.engine.parts import Make, parts_of, rows_in_order
from weighted_mtp.engine.settings import shard_of
from weighted_mtp.evaluation.asking import prompt_of, tokenizer_of
from weighted_mtp.evaluation.problems import Problems, usable
from weighted_mtp.labelling.verify import OF_COMPLETIONS, TRAIL, bare_problem, columns_of
from weighted_mtp.models.draft_counts import DraftCounts
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.sampling.settings import SampleConfig, check_sample
from weighted_mtp.sampling.written import Asked, Written
from weighted_mtp.verifiers.base import unless_all_raise
from weighted_mtp.verifiers.judging import Judging
from weighted_mtp.verifiers.table import make_verifier, trail

SETTINGS = ("temperature", "top_p", "max_new_tokens", "seed", "stop", "chat", "n", "logprobs", "drop_duplicates")


@dataclass
class Sampled:
    """What a file of samples holds."""

    rows: int = 0
    tokens: int = 0
    """Written by this call."""
    duplicates: int = 0
    empty: int = 0
    """Left out, since nothing of them can be learned."""
    left_out: int = 0
    """Duplicates and empty ones of earlier calls."""
    cut: int = 0
    """At `max_new_tokens`."""
    verdicts: Counter[str] = field(default_factory=Counter)
    drafts: list[DraftCounts] = field(default_factory=list)
    """Of completions that this call wrote with them."""

    def count(self, row: dict[str, Any]) -> None:
        """Adds a row of the file."""
        self.rows += 1
        self.cut += "truncated" in row
        self.verdicts.update([row["verdict"]] if "verdict" in row else [])

    def count_earlier(self, rows: int, different: int, known: int, dropped: bool) -> None:
        """Adds what earlier calls counted: so many rows of `known` completions, so many of them different."""
        if dropped:  # which were empty, nobody knows
            self.left_out = known - rows
        else:
            self.duplicates, self.empty = rows - different, known - rows

    def summary(self, config: SampleConfig) -> str:
        """What came of it, in a few lines."""
        said = [f"{config.out}: {self.rows} rows"]
        if self.verdicts:
            said.append(", ".join(f"{n} {verdict}" for verdict, n in self.verdicts.most_common()))
        said += [f"{self.cut} cut off at {config.max_new_tokens} tokens"] * bool(self.cut)
        if self.duplicates:
            left_out = "left out" if config.drop_duplicates else "kept (--drop_duplicates true leaves them out)"
            said.append(f"{self.duplicates} that their prompt had already, {left_out}")
        said += [f"{self.empty} with nothing written, left out"] * bool(self.empty)
        said += [f"{self.left_out} of these kinds left out before"] * bool(self.left_out)
        said += [str(DraftCounts.total(self.drafts))] if self.drafts else []
        return "; ".join(said)


def sample(config: SampleConfig, console: Console) -> Sampled:
    """Writes the rows that are missing.

    A row holds its problem's columns, `prompt`, `completion`, `ended`, `problem` and `sample` (numbers), `model`, and
    `sampling`, the settings it was drawn with; `truncated` where it was cut off, so that no end is taught behind it;
    `logprobs` if asked for; and with a verifier what `wmtp data verify` writes.

    Raises:
        DataError, ConfigError, VerifierError: before anything is generated; what was written stays.
    """
    tell = partial(console.print, soft_wrap=True, markup=False, highlight=False)
    given = check_sample(config)
    problems = {i: bare_problem(row) for i, row in given.items()}
    if taken := [row for i, row in given.items() if len(row) > len(problems[i])]:
        names = ", ".join(f"`{name}`" for name in OF_COMPLETIONS if any(name in row for row in taken))
        tell(f"{config.problems}: {len(taken)} problems have completions, which new ones replace ({names} left out)")
    verifier = None if config.verifier is None else make_verifier(config.verifier, **config.options())
    errors_of = (lambda rows: [None] * len(rows)) if verifier is None else verifier.problem_errors
    problems = usable(config, problems, errors_of, tell)
    problems = {i: row | {"prompt": prompt_of(row, config.chat)} for i, row in problems.items()}
    wanted = [Asked(i, number, row) for i, row in problems.items() for number in range(config.n)]
    writer, found = JsonLinesWriter(config.path), Sampled()
    for row in writer.done:
        found.count(row)
    model = _model(config, problems, tell)
    common = {**model.identity(), "sampling": {name: getattr(config, name) for name in SETTINGS}}
    judged_by = {} if verifier is None else trail(verifier)
    depends = common | dict.fromkeys(TRAIL) | judged_by
    # Shards are cut where parts are: joined, they are what one call writes.
    blocks = [wanted[start : start + model.block] for start in range(0, len(wanted), model.block)]
    wanted = [asked for block in shard_of(blocks, config.shard) for asked in block]
    known = _known(writer, wanted, depends)
    parts, done = parts_of(wanted, known, model.part, depends)
    work = _Sampling(model, common, None if verifier is None else Judging(verifier), judged_by)
    with writer, progress_bar(console) as progress:
        task = progress.add_task("sampling", total=len(wanted), completed=known)
        texts = Counter((row["problem"], json.dumps(row["completion"])) for row in writer.done)
        found.count_earlier(len(writer.done), len(texts), known, config.drop_duplicates)
        begin = progress.get_time()
        rows = islice(rows_in_order(config, work, parts, config.path), done, None)
        for made in unless_all_raise(rows, lambda one: one["row"].get("verdict_reason")):
            row: dict[str, Any] = made["row"]
            key = (row["problem"], json.dumps(row["completion"]))
            found.tokens += made["tokens"]
            found.drafts += [DraftCounts(**made["drafts"])] if made["drafts"] else []
            empty = row["completion"] == ""
            found.duplicates += key in texts and not empty
            found.empty += empty
            if not empty and not (config.drop_duplicates and key in texts):
                writer.write(row)
                found.count(row)
            texts[key] += 1
            progress.update(task, advance=1, description=_state(found, progress.get_time() - begin))
    return found


@dataclass(frozen=True)
class _Sampling:
    """The work: a model writes, and a verifier judges beside it."""

    model: Any
    common: dict[str, Any]
    judging: Judging | None
    judged_by: dict[str, Any]

    def open(self, cores: int | None) -> Make:
        write = self.model.open()
        judge_all = None if self.judging is None else self.judging.judge_all(cores)

        def make(asked: Sequence[Asked]) -> Iterator[dict[str, Any]]:
            waiting = deque[tuple[dict[str, Any], Written]]()

            def written() -> Iterator[dict[str, Any]]:
                for made, one in zip(asked, write(asked), strict=True):
                    waiting.append((_row(made, one, self.common), one))
                    yield waiting[-1][0]

            judgements = ({} for _ in written()) if judge_all is None else map(columns_of, judge_all(written()))
            for columns in judgements:
                row, one = waiting.popleft()
                drafts = one.drafts and asdict(one.drafts)
                yield {"row": row | columns | self.judged_by, "tokens": one.tokens, "drafts": drafts}

        return make


def _model(config: SampleConfig, problems: Problems, tell: Callable[[str], None]) -> Any:
    if config.served:
        from weighted_mtp.sampling.server import Server

        if not config.chat and any(isinstance(row["prompt"], str) for row in problems.values()):
            tell("prompts that are text are sent raw, to be gone on with; --chat true asks as a user does")
        return Server(config)
    from weighted_mtp.sampling.directory import Directory

    if config.alone:
        return Directory(config, problems, tell)
    tokenizer_of(config, problems, tell)
    return Directory(config, problems)


def _known(writer: JsonLinesWriter, wanted: list[Asked], common: dict[str, Any]) -> int:
    """How many of those wanted are in the file, or were duplicates before its last one."""
    places: dict[Any, int] = {(asked.problem, asked.sample): place for place, asked in enumerate(wanted)}
    last = -1
    for number, row in enumerate(writer.done, start=1):
        place = places.get((row.get("problem"), row.get("sample")), -1)
        if place <= last or wanted[place].row["prompt"] != row.get("prompt"):
            raise writer.other_row(number, "is no sample of these problems in this order")
        for name, value in common.items():
            if row.get(name) != value:
                raise writer.other_row(
                    number, f"has {name} {json.dumps(row.get(name))}, and this is {json.dumps(value)}"
                )
        last = place
    return last + 1


def _row(asked: Asked, one: Written, common: dict[str, Any]) -> dict[str, Any]:
    row = {**asked.row, "problem": asked.problem, "completion": one.completion, "ended": one.ended}
    row |= {"truncated": True} if one.ended == "length" else {}
    return row | {"sample": asked.sample, **common} | ({} if one.logprobs is None else {"logprobs": one.logprobs})


def _state(found: Sampled, seconds: float) -> str:
    """What the progress bar says."""
    rate = f"{found.tokens / seconds:.0f} tokens/s" if seconds > 0 else "sampling"
    judged = found.verdicts.total()
    return f"{rate}, {100 * found.verdicts['pass'] / judged:.0f} % right" if judged else rate
