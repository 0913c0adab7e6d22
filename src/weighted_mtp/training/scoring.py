"""Values, TD errors, credit and weights of a data set by a frozen critic, ahead of training, on any number of machines.

A shard is written in parts, each renamed into place when it is whole, so that an interrupted run goes on where it
stopped. A marker ends the shard; `load_rows` reads a folder only when all of its shards have one.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.progress import track

from weighted_mtp.data import CompletionCollator, load_rows, tokenize_rows
from weighted_mtp.data.exact_parquet import json_columns, write_rows
from weighted_mtp.data.scored import part_name, shard_marker
from weighted_mtp.files import own_file, replacing, write_text
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.critics.value_head import ValueStage
from weighted_mtp.training.discount import require_discount_fits, require_trained_with
from weighted_mtp.training.score_config import ScoreConfig
from weighted_mtp.training.settings import ConfigError
from weighted_mtp.value_weighting import WeightingScheme, make_scheme, weigh

PART_ROWS = 512
SCORES = ("values", "td_errors", "weights", "credit")
"""Columns that are written; credit only by a critic that gives one."""


@dataclass(frozen=True)
class Scored:
    """What became of a shard, and what it cost."""

    rows: int
    input_tokens: int
    seconds: float
    lost: list[str]
    """A sentence for each kind of row that was cut or left out."""

    def summary(self) -> str:
        """One line; the price of a million tokens where anything was computed."""
        line = f"{self.rows} rows scored"
        if self.input_tokens:
            minutes = self.seconds / self.input_tokens * 1e6 / 60
            line += (
                f", {self.input_tokens} tokens in {self.seconds:.0f} s: {minutes:.1f} minutes a million here"
            )
        return "\n".join([line, *self.lost])


def score(config: ScoreConfig) -> Scored:
    """Scores one shard of the rows; parts that are there already are kept.

    Raises:
        ConfigError: the critic, the scheme or the shard does not fit, or the folder holds other scores.
        DataError: a malformed row.
        Occupied: another process scores this shard.
    """
    number, count = config.place()
    with own_file(Path(config.out) / shard_marker(number, count)):  # other shards may be at work beside it
        return _score_shard(config, number, count)


def _score_shard(config: ScoreConfig, number: int, count: int) -> Scored:
    scheme = _scheme(config)
    rows, report = load_rows(config.data)
    columns = json_columns([_without_scores(row) for row in rows])
    critic = load_critic(config.critic, reference=config.reference)
    if "credit" in scheme.requires and not critic.gives_credit:
        raise ConfigError(
            f"scheme {config.scheme} reads credit, and {config.critic} is a value head, whose credit is its TD error: "
            "use scheme td"
        )
    require_trained_with(config.critic, config.gamma)
    require_discount_fits(ValueStage(gamma=config.gamma, critic=critic), scheme)
    for model in critic.models():
        model.eval().requires_grad_(False)
        model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    scorer = _Scorer(critic, load_tokenizer(config.critic), scheme, config, columns)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = _settings(config)
    _require_same(settings, out)
    mine = range((number - 1) * len(rows) // count, number * len(rows) // count)
    starts = range(mine.start, mine.stop, PART_ROWS)
    for start in track(starts, description=f"scoring {len(mine)} rows", disable=len(starts) < 2):
        path = out / part_name(number, count, start)
        if not path.exists():
            scorer.write(rows[start : min(start + PART_ROWS, mine.stop)], path)
    marker = {"settings": settings, "parts": [part_name(number, count, start) for start in starts]}
    write_text(out / shard_marker(number, count), json.dumps(marker, indent=1))
    return scorer.result(len(mine), report.dropped())


def _scheme(config: ScoreConfig) -> WeightingScheme:
    try:
        scheme = make_scheme(config.scheme, **config.scheme_options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"scheme {config.scheme}: {error}") from None
    missing = set(scheme.requires) - {"values", "rewards", "credit"}
    if missing:
        raise ConfigError(
            f"scheme {config.scheme} needs {', '.join(sorted(missing))}, which no critic supplies"
        )
    if scheme.state_dict() or getattr(scheme, "whitening", "none") != "none":
        raise ConfigError(
            f"scheme {config.scheme} with {config.scheme_options} takes its statistics from training batches: score "
            "with whitening none, and train on the values column with this scheme"
        )
    return scheme.eval()


class _Scorer:
    """Scores rows with a critic, counting what it cost and what was lost."""

    def __init__(
        self,
        critic: Critic,
        tokenizer: Any,
        scheme: WeightingScheme,
        config: ScoreConfig,
        columns: Sequence[str],
    ) -> None:
        self.columns = columns
        self.model, self.tokenizer, self.scheme, self.config = critic.model, tokenizer, scheme, config
        self.stage = ValueStage(gamma=config.gamma, critic=critic)
        self.collate = CompletionCollator.from_tokenizer(tokenizer)
        self.seconds, self.tokens, self.cut, self.dropped = 0.0, 0, 0, 0

    def write(self, rows: Sequence[dict[str, Any]], path: Path) -> None:
        """One part: the rows with their scores, in order, as Parquet."""
        bare = [_without_scores(row) for row in rows]
        dataset, report = tokenize_rows(bare, self.tokenizer, max_length=self.config.max_length)
        self.cut, self.dropped = self.cut + report.truncated, self.dropped + report.dropped
        begin = time.perf_counter()
        scores = self._scores(dataset)
        self.seconds += time.perf_counter() - begin
        scored = [bare[i] | _whole(scores[i], self._labelled(bare[i])) for i in sorted(scores)]
        with replacing(path) as temporary:
            write_rows(scored, temporary, self.columns)

    def _scores(self, dataset: Dataset) -> dict[int, dict[str, list[float]]]:
        """Scores by row number; rows of like length share a batch."""
        lengths = [len(ids) for ids in dataset["input_ids"]]
        order = sorted(range(len(dataset)), key=lengths.__getitem__)
        scores: dict[int, dict[str, list[float]]] = {}
        for start in range(0, len(order), self.config.batch_size):
            rows = [dataset[i] for i in order[start : start + self.config.batch_size]]
            batch = TokenBatch.from_inputs(
                {name: x.to(self.model.device) for name, x in self.collate(rows).items()}, n_future=1
            )
            for row, found in zip(rows, self._batch(batch), strict=True):
                scores[row["row_id"]] = found
        self.tokens += sum(lengths)
        return scores

    @torch.no_grad()
    def _batch(self, batch: TokenBatch) -> list[dict[str, list[float]]]:
        device = self.model.device
        generator = torch.Generator(device).manual_seed(0)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            signals = self.stage.signals(batch, {}, self.model, generator)
        weights = weigh(self.scheme, signals)[..., 0]
        assert signals.values is not None
        scores = [signals.values, signals.td_errors, weights]
        if signals.credit is not None:
            scores.append(signals.credit)
        columns = torch.stack(scores).cpu()
        return [
            dict(zip(SCORES, columns[:, b][:, mask].tolist(), strict=False))
            for b, mask in enumerate(batch.mask.cpu())
        ]

    def _labelled(self, row: dict[str, Any]) -> int:
        return len(self.tokenizer(row["completion"], add_special_tokens=False)["input_ids"]) + 1

    def result(self, rows: int, unjudged: str) -> Scored:
        """The account of the shard; `unjudged` says how many rows of the whole file have no label."""
        lost = [unjudged] if unjudged else []
        if self.cut:
            lost.append(
                f"{self.cut} completions cut at {self.config.max_length} tokens; the rest has weight 0"
            )
        if self.dropped:
            lost.append(
                f"{self.dropped} rows left out, their prompts longer than {self.config.max_length} tokens"
            )
        return Scored(rows - self.dropped, self.tokens, self.seconds, lost)


def _without_scores(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in SCORES}


def _whole(scores: dict[str, list[float]], labelled: int) -> dict[str, list[float]]:
    """The scores of a cut completion, filled up: the last value, no TD error, no credit, weight 0."""
    last_value = scores["values"][-1:] or [0.0]
    return {
        name: x + (last_value if name == "values" else [0.0]) * (labelled - len(x))
        for name, x in scores.items()
    }


def _settings(config: ScoreConfig) -> dict[str, Any]:
    """What the scores depend on, by content: the same on every machine."""
    flat = asdict(config)
    names = ("scheme", "scheme_options", "gamma", "max_length")
    weights = sorted(Path(config.critic).glob("*.safetensors"))
    precision = {"bf16": True} if config.bf16 else {}
    return (
        {name: flat[name] for name in names}
        | precision
        | {
            "data": _digest([Path(config.data)]),
            "critic": _digest(weights) if weights else config.critic,
        }
    )


def _digest(paths: Sequence[Path]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def _require_same(settings: dict[str, Any], out: Path) -> None:
    """The first shard writes down what the folder holds; whoever comes later must bring the same."""
    path = out / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=1))
    found = json.loads(path.read_text())
    different = [name for name in found | settings if found.get(name) != settings.get(name)]
    if different:
        raise ConfigError(
            f"{out} holds scores of another {', '.join(different)}: give another folder, or remove this one"
        )
