"""Values, TD errors, credit and weights of a data set by a frozen critic, ahead of training, on any number of machines.

A shard is written in parts, each renamed into place when it is whole, so that an interrupted run goes on where it
stopped. A marker ends the shard; `load_rows` reads a folder only when all of its shards have one.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
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
from weighted_mtp.data.exact_parquet import (
    ExactColumns,
    column_types,
    exact_columns,
    part_name,
    shard_marker,
    write_rows,
)
from weighted_mtp.files import own_file, replacing, write_text
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.critics.base import Critic, require_spread
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.critics.value_head import ValueStage
from weighted_mtp.training.errors import require, require_same_settings
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
    """Scores one shard of the rows; parts that are there already are kept. Raises Occupied beside one that does.

    Critic, tokenizer, scheme and rows are taken from `memory` where the caller has them.
    """
    folder, (number, count) = Path(config.out), config.place()
    require_room(folder, count)
    with own_file(folder / shard_marker(number, count)):  # other shards may be at work beside it
        return _score_shard(config, folder, number, count, memory, quiet)


def _score_shard(config: ScoreConfig, folder: Path, number: int, count: int, memory: InMemory, quiet: bool) -> Scored:
    scheme, given = scheme_for(config, memory.scheme), memory.rows
    rows, report = load_rows(config.data if given is None else given, labelled=None)
    rows = [{name: value for name, value in row.items() if name not in (*SCORES, SUCCESS)} for row in rows]
    try:
        columns = exact_columns(rows, column_types(Path(config.data)) if given is None else {})
    except DataError as error:
        raise DataError(f"{config.data}: {error}") from None
    critic = memory.critic or load_critic(config.critic, reference=config.reference)
    settings = settings_of(config, critic, None if given is None else rows)
    require_same_settings(folder / SETTINGS, settings, "scores", ("data", "critic", "reference"))
    require_fits(critic, scheme, config)
    first, end = (number - 1) * len(rows) // count, number * len(rows) // count
    tokenizer = load_tokenizer(config.critic) if memory.tokenizer is None else memory.tokenizer
    scorer = _Scorer(critic, scheme, config, columns, tokenizer, labelled="label" in rows[0])
    require(
        config.format == "rows" or "weights" in scorer.names,
        f"format {config.format} needs weights, which scheme {config.scheme} makes of labels: give some",
    )
    scorer.encode(rows[first:end])
    if not (folder / SETTINGS).exists():
        write_text(folder / SETTINGS, json.dumps(settings, indent=1))
    starts = range(0, end - first, PART_ROWS)
    parts = [part_name(number, count, first + start) for start in starts]
    work = list(zip(starts, parts, strict=True))
    for start, part in track(work, description=f"scoring {end - first} rows", disable=quiet or len(starts) < 2):
        if not (folder / part).exists():
            scorer.write(range(start, min(start + PART_ROWS, end - first)), folder / part)
    marker = {"settings": settings, "parts": parts}
    write_text(folder / shard_marker(number, count), json.dumps(marker, indent=1))
    return scorer.result(report.dropped())


class _Scorer:
    """Scores rows with a critic, counting what it cost and what was lost."""

    def __init__(
        self,
        critic: Critic,
        scheme: WeightingScheme,
        config: ScoreConfig,
        columns: ExactColumns,
        tokenizer: Any,
        labelled: bool,
    ) -> None:
        self.critic, self.model, self.scheme, self.config = critic, critic.model, scheme, config
        for model in critic.models():
            model.eval().requires_grad_(False)
            model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
        known = {"values": True, "td_errors": labelled, "credit": critic.gives_credit}
        known["weights"] = labelled or "rewards" not in scheme.requires
        self.labelled = labelled
        self.names = [name for name in SCORES if known[name]]
        self.columns = columns.and_numbers(self.names, SUCCESS)
        self.tokenizer = tokenizer
        self.stage = ValueStage(gamma=config.gamma, critic=critic)
        self.collate = CompletionCollator.from_tokenizer(self.tokenizer)
        self.seconds, self.tokens = 0.0, 0
        self.rows: Sequence[Row] = ()
        self.report = TokenizeReport(0, BadRows())

    def encode(self, rows: Sequence[Row]) -> None:
        """Takes the rows of a shard: all are tokenized, and the critic's word is heard, before the first is scored."""
        if not rows:
            return
        self.rows = rows
        turns = self.config.turns
        self.encoded, self.report = tokenize_rows(rows, self.tokenizer, max_length=self.config.max_length, turns=turns)
        for model in self.stage.frozen_models():
            require_rows_fit(model, self.tokenizer, self.encoded, self.config.data)
        require_spread(self.critic, self.encoded, self.collate, self.config.critic)
        self.places = {row_id: i for i, row_id in enumerate(self.encoded["row_id"])}

    def write(self, mine: range, path: Path) -> None:
        """One part: those of the rows that are not too long, with their scores, in order, as Parquet."""
        kept = [i for i in mine if i in self.places]
        begin = time.perf_counter()
        scores = self._scores(self.encoded.select([self.places[i] for i in kept]))
        self.seconds += time.perf_counter() - begin
        labelled = self._labelled(kept)
        scored = [self.rows[i] | _whole(scores[i], labelled.get(i, 0)) for i in kept]
        with replacing(path) as temporary:
            write_rows(scored, temporary, self.columns)

    def _scores(self, dataset: Dataset) -> dict[int, dict[str, Any]]:
        """Scores by row number; rows of like length share a batch."""
        lengths = [len(ids) for ids in dataset["input_ids"]]
        order = sorted(range(len(dataset)), key=lengths.__getitem__)
        scores: dict[int, dict[str, Any]] = {}
        for start in range(0, len(order), self.config.batch_size):
            rows = [dataset[i] for i in order[start : start + self.config.batch_size]]
            batch = TokenBatch.from_inputs(self.collate(rows), n_future=1, device=self.model.device)
            scores |= zip((row["row_id"] for row in rows), self._batch(batch), strict=True)
        self.tokens += sum(lengths)
        return scores

    @torch.no_grad()
    def _batch(self, batch: TokenBatch) -> list[dict[str, Any]]:
        device = self.model.device
        generator = torch.Generator(device).manual_seed(0)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            signals = self.stage.signals(batch, {}, self.model, generator)
        assert signals.values is not None
        scores = {"values": signals.values, "credit": signals.credit, "td_errors": signals.td_errors}
        scores["weights"] = weigh(self.scheme, signals)[..., 0]
        columns = torch.stack([required(scores[name], name) for name in self.names]).cpu()
        picked = (columns[:, b][:, mask].tolist() for b, mask in enumerate(batch.mask.cpu()))
        rows = [dict(zip(self.names, lists, strict=True)) for lists in picked]
        return [row | {SUCCESS: _success(row)} for row in rows]

    def _labelled(self, kept: Sequence[int]) -> dict[int, int]:
        """How many labelled tokens the rows have that may have been cut, their ends included."""
        limit = self.config.max_length
        full = [i for i in kept if len(self.encoded[self.places[i]]["input_ids"]) == limit]
        if not full:
            return {}
        whole, _ = tokenize_rows([self.rows[i] for i in full], self.tokenizer, turns=self.config.turns)
        counts = [sum(label != IGNORED for label in labels) for labels in whole["labels"]]
        return dict(zip(full, counts, strict=True))

    def result(self, unjudged: str) -> Scored:
        """The account of the shard; `unjudged` says how many rows of the whole file have no label."""
        lost, limit = [unjudged] if unjudged else [], self.config.max_length
        if self.report.truncated:
            lost.append(f"{self.report.truncated} completions cut at {limit} tokens; the rest has weight 0")
        if self.report.dropped:
            lost.append(f"{self.report.dropped} rows left out, their prompts longer than {limit} tokens")
        lost += self.report.told()
        return Scored(len(self.rows) - self.report.dropped, self.tokens, self.seconds, lost, self.labelled)


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
