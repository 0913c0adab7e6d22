"""Values, TD errors, credit and weights of a data set by a frozen critic, ahead of training, on any number of machines.
Parts are renamed into place when whole, so that an interrupted run goes on; a marker ends each shard."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from weighted_mtp.data import (
    IGNORED,
    BadRows,
    CompletionCollator,
    DataError,
    Row,
    TokenizeReport,
    load_rows,
    tokenize_rows,
)
from weighted_mtp.data.exact_parquet import column_types, exact_columns, part_name, shard_marker, write_rows
from weighted_mtp.data.far_text import FarText
from weighted_mtp.engine.parts import Make, Part, run
from weighted_mtp.engine.settings import place_of
from weighted_mtp.files import own_file, replacing, write_text
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.critics.base import Critic, require_spread
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.critics.value_head import ValueStage
from weighted_mtp.training.errors import in_memory, require, require_same_settings
from weighted_mtp.training.loading import NOTHING, InMemory, require_rows_fit
from weighted_mtp.training.score_checks import require_fits, require_room, scheme_for, settings_of
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.value_weighting import WeightingScheme, weigh
from weighted_mtp.value_weighting.protocol import required

PART_ROWS = 512
SCORES = ("values", "td_errors", "weights", "credit")  # no credit of a value head; without labels what reads none
SUCCESS = "p_success"
"""Column of rows: P(success) before the last token, or behind it where the critic gives credit."""
SETTINGS = "settings.json"
"""In the folder: what its scores depend on."""


@dataclass(frozen=True)
class Scored:
    """What became of a shard, and what it cost."""

    rows: int
    input_tokens: int
    seconds: float
    lost: list[str]
    """A sentence for each kind of row that was cut or left out."""
    labelled: bool
    """Whether the rows say what a program found."""

    def summary(self) -> str:
        """One line; the price of a million tokens where anything was computed."""
        line = f"{self.rows} rows scored"
        if self.input_tokens:
            minutes = self.seconds / self.input_tokens * 1e6 / 60
            line += f", {self.input_tokens} tokens in {self.seconds:.0f} s: {minutes:.1f} minutes a million here"
        return "\n".join([line, *self.lost])


def score(config: ScoreConfig, *, memory: InMemory = NOTHING, quiet: bool = False) -> Scored:
    """Scores one shard of the rows; parts that are there already are kept. Raises Occupied beside one that does. What
    the caller has in `memory` is taken from there."""
    folder, (number, count) = Path(config.out), place_of(config.shard)
    require_room(folder, count)
    with own_file(folder / shard_marker(number, count)):  # other shards may be at work beside it
        return _score_shard(config, folder, number, count, memory, quiet)


def _score_shard(config: ScoreConfig, folder: Path, number: int, count: int, memory: InMemory, quiet: bool) -> Scored:
    scheme, given = scheme_for(config, memory.scheme), memory.rows
    rows, report = load_rows(config.data if given is None else given, labelled=None)
    rows = [{name: value for name, value in row.items() if name not in (*SCORES, SUCCESS)} for row in rows]
    tokenizer = load_tokenizer(config.critic) if memory.tokenizer is None else memory.tokenizer
    short = list(map(FarText(tokenizer, config.max_length).shortened, rows))
    try:
        columns = exact_columns(short, column_types(Path(config.data)) if given is None else {})
    except DataError as error:
        raise DataError(f"{config.data}: {error}") from None
    critic = memory.critic or load_critic(config.critic, reference=config.reference)
    settings = settings_of(config, critic, None if given is None else rows)
    require_same_settings(folder / SETTINGS, settings, "scores", ("data", "critic", "reference"))
    require_fits(critic, scheme, config)
    require(
        config.alone or not in_memory(config.critic),
        f"a critic in memory is of one process, and engine is {config.engine} with {config.workers} workers: leave "
        "them out",
    )
    first, end = (number - 1) * len(rows) // count, number * len(rows) // count
    work = _Scoring(config, CompletionCollator.from_tokenizer(tokenizer), "label" in rows[0], critic, scheme)
    require(
        config.format == "rows" or "weights" in work.names,
        f"format {config.format} needs weights, which scheme {config.scheme} makes of labels: give some",
    )
    mine = _Tokenized(config, rows[first:end], short[first:end], tokenizer, work)
    if not (folder / SETTINGS).exists():
        write_text(folder / SETTINGS, json.dumps(settings, indent=1))
    starts = {part_name(number, count, first + start): start for start in range(0, end - first, PART_ROWS)}
    missing = [name for name in starts if not (folder / name).exists()]
    parts = (Part(name, mine.part(starts[name])) for name in missing)
    columns, begin, tokens = columns.and_numbers(work.names, SUCCESS), time.perf_counter(), 0
    made, told = run(config, work, parts), f"scoring {end - first} rows"
    for part, scores in track(made, total=len(missing), description=told, disable=quiet or len(missing) < 2):
        with replacing(folder / part.name) as temporary:
            write_rows(mine.scored(starts[part.name], list(scores)), temporary, columns)
        tokens += sum(len(row["input_ids"]) for row in part.given)
    seconds = time.perf_counter() - begin
    marker = {"settings": settings, "parts": list(starts)}
    write_text(folder / shard_marker(number, count), json.dumps(marker, indent=1))
    lost = [said for said in (report.dropped(), *mine.lost()) if said]
    return Scored(len(mine.rows) - mine.report.dropped, tokens, seconds if tokens else 0.0, lost, work.labelled)


class _Tokenized:
    """The rows of a shard: all are tokenized, and the critic's word is heard, before the first is scored."""

    def __init__(
        self, config: ScoreConfig, rows: Sequence[Row], short: Sequence[Row], tokenizer: Any, work: "_Scoring"
    ) -> None:
        self.rows, self._config, self._tokenizer = short, config, tokenizer
        self._far = [i for i, (row, cut) in enumerate(zip(rows, short, strict=True)) if cut is not row]
        self.report = TokenizeReport(0, BadRows())
        self._places: dict[int, int] = {}
        if not rows:
            return
        limits: Any = {"max_length": config.max_length, "turns": config.turns}
        self._encoded, self.report = tokenize_rows(short, tokenizer, **limits)
        lengths = dict(zip(self._encoded["row_id"], map(len, self._encoded["input_ids"]), strict=True))
        if any(lengths.get(i, config.max_length) < config.max_length for i in self._far):
            self.rows, self._far = rows, []  # a tokenizer that drops characters: what was cut was within the limit
            self._encoded, self.report = tokenize_rows(rows, tokenizer, **limits)
        for model in work.stage.frozen_models():
            require_rows_fit(model, tokenizer, self._encoded, config.data)
        require_spread(work.critic, self._encoded, work.collate, config.critic)
        self._places = {row_id: i for i, row_id in enumerate(self._encoded["row_id"])}

    def _kept(self, start: int) -> list[int]:
        return [i for i in range(start, min(start + PART_ROWS, len(self.rows))) if i in self._places]

    def part(self, start: int) -> list[Row]:
        """The tokens of a part: those of its rows that are not too long."""
        return self._encoded.select([self._places[i] for i in self._kept(start)]).to_list()

    def scored(self, start: int, scores: Sequence[Row]) -> list[Row]:
        """The rows of a part with their scores."""
        kept = self._kept(start)
        labelled = self._labelled(kept)
        return [self.rows[i] | _whole(found, labelled.get(i, 0)) for i, found in zip(kept, scores, strict=True)]

    def _labelled(self, kept: Sequence[int]) -> dict[int, int]:
        """How many labelled tokens the rows have that may have been cut, their ends included."""
        limit = self._config.max_length
        full = [i for i in kept if len(self._encoded[self._places[i]]["input_ids"]) == limit]
        if not full:
            return {}
        whole, _ = tokenize_rows([self.rows[i] for i in full], self._tokenizer, turns=self._config.turns)
        counts = [sum(label != IGNORED for label in labels) for labels in whole["labels"]]
        return dict(zip(full, counts, strict=True))

    def lost(self) -> list[str]:
        """A sentence for each kind of row that was cut or left out."""
        lost, limit = list[str](), self._config.max_length
        if self.report.truncated:
            lost.append(f"{self.report.truncated} completions cut at {limit} tokens; the rest has weight 0")
        if self._far:
            lost.append(f"{len(self._far)} completions far beyond that written without their ends, as `truncated`")
        if self.report.dropped:
            lost.append(f"{self.report.dropped} rows left out, their prompts longer than {limit} tokens")
        return lost + self.report.told()


class _Scoring:
    """The work: a critic scores rows of tokens. Pickled, it holds the critic's place."""

    def __init__(
        self, config: ScoreConfig, collate: CompletionCollator, labelled: bool, critic: Critic, scheme: WeightingScheme
    ) -> None:
        self._config, self.collate, self.labelled = config, collate, labelled
        self.critic, self._scheme = critic, scheme
        known = {"values": True, "td_errors": labelled, "credit": critic.gives_credit}
        known["weights"] = labelled or "rewards" not in scheme.requires
        self.names = [name for name in SCORES if known[name]]

    def __reduce__(self) -> Any:
        return _scoring, (self._config, self.collate, self.labelled, self._scheme)

    @property
    def stage(self) -> ValueStage:
        """What gives the signals."""
        return ValueStage(gamma=self._config.gamma, critic=self.critic)

    def open(self, cores: int | None) -> Make:
        for model in self.critic.models():
            model.eval().requires_grad_(False)
            model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
        return self._scores

    def _scores(self, rows: Sequence[Row]) -> list[Row]:
        """Scores in the order of the rows; rows of like length share a batch."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        scores: dict[int, Row] = {}
        device = self.critic.model.device
        for start in range(0, len(order), self._config.batch_size):
            chosen = order[start : start + self._config.batch_size]
            batch = TokenBatch.from_inputs(self.collate([rows[i] for i in chosen]), n_future=1, device=device)
            scores |= zip(chosen, self._batch(batch), strict=True)
        return [scores[i] for i in range(len(rows))]

    @torch.no_grad()
    def _batch(self, batch: TokenBatch) -> list[Row]:
        model = self.critic.model
        device = model.device
        generator = torch.Generator(device).manual_seed(0)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._config.bf16):
            signals = self.stage.signals(batch, {}, model, generator)
        assert signals.values is not None
        scores = {"values": signals.values, "credit": signals.credit, "td_errors": signals.td_errors}
        scores["weights"] = weigh(self._scheme, signals)[..., 0]
        columns = torch.stack([required(scores[name], name) for name in self.names]).cpu()
        picked = (columns[:, b][:, mask].tolist() for b, mask in enumerate(batch.mask.cpu()))
        rows = [dict(zip(self.names, lists, strict=True)) for lists in picked]
        return [row | {SUCCESS: _success(row)} for row in rows]


def _scoring(config: ScoreConfig, collate: CompletionCollator, labelled: bool, scheme: WeightingScheme) -> _Scoring:
    """The work, in a worker: the critic is read where it lies."""
    return _Scoring(config, collate, labelled, load_critic(config.critic, reference=config.reference), scheme)


def _success(scores: Mapping[str, list[float]]) -> float:
    """The last value, moved by the last token's credit where there is one."""
    *_, value = scores["values"] or [math.nan]
    if "credit" not in scores or not 0 < value < 1:
        return value
    return 1 / (1 + math.exp(min(-math.log(value / (1 - value)) - scores["credit"][-1], 700.0)))


def _whole(scores: dict[str, Any], labelled: int) -> dict[str, Any]:
    """The scores of a cut completion, filled up to its labelled tokens with the last value and zeros."""
    last_value = scores["values"][-1:] or [0.0]
    return {
        name: x + (last_value if name == "values" else [0.0]) * (labelled - len(x)) if name != SUCCESS else x
        for name, x in scores.items()
    }
