"""What a run is made with: settings, fingerprints of rows and models, code. It stands in every checkpoint and beside
the finished model; contents are compared and no paths, so that files may move."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset

from weighted_mtp.files import digest_of_files
from weighted_mtp.models import MTPModel
from weighted_mtp.training.arguments import sharded_by
from weighted_mtp.training.checkpoints import MADE_WITH_FILE, digests_of
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import Inputs
from weighted_mtp.training.stage_table import stage_row

COMPARED_BY_CONTENT = (
    "model_name_or_path", "tokenizer_name_or_path", "train_file", "eval_file", "split", "stream", "reference",
)  # fmt: skip
FREE = (
    "output_dir", "logging_steps", "save_steps", "save_total_limit", "tracking_uri", "experiment_name", "run_name",
    "on_bad_row",  # the rows that came of it are compared
)  # fmt: skip
FREE_UNLESS_STOPPING_EARLY = ("eval_steps", "per_device_eval_batch_size", "best_metric")
FREE_TRAINER_ARGS = (
    "logging_", "log_", "save_", "hub_", "push_to_hub", "dataloader_num_workers", "dataloader_pin_memory",
    "dataloader_persistent_workers", "dataloader_prefetch_factor", "report_to", "run_name", "project", "trackio_",
    "disable_tqdm", "include_num_input_tokens_seen", "skip_memory_metrics",
)  # fmt: skip
"""Beginnings of names."""
SAMPLES_PER_TENSOR = 4096


@dataclass(frozen=True)
class MadeWith:
    """What decides the outcome of a run, by name, and what was changed on the way."""

    facts: dict[str, Any]
    """Settings, and digests of rows and models."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Of every resume with other facts, the step and {name: [old, new]}."""
    finished: bool = False
    """Whether it stands beside the model of a finished run."""
    code: dict[str, str] = field(default_factory=dict)
    """Versions, and a digest of this package's source."""
    files: dict[str, str] = field(default_factory=dict)
    """Of a finished run: what it saved, and a digest of each."""

    @classmethod
    def of(cls, config: RunConfig, inputs: Inputs) -> "MadeWith":
        """Of a run that has not trained yet, in this group of processes."""
        facts = compared_settings(config)
        facts["training rows"] = fingerprint_rows(inputs.train_dataset)
        facts["evaluation rows"] = None if inputs.eval_dataset is None else fingerprint_rows(inputs.eval_dataset)
        facts["base model"] = fingerprint_model(inputs.model)
        frozen = [fingerprint_model(model) for model in inputs.stage.frozen_models()]
        facts["critic or reference"] = ", ".join(frozen) or None
        facts["processes"] = int(os.environ.get("WORLD_SIZE", "1"))
        facts["sharded by"] = sharded_by(*map(config.train.trainer_args.get, ("fsdp", "deepspeed")))
        return cls(json.loads(json.dumps(facts, default=str)), code=code_of_now())

    @classmethod
    def read(cls, folder: str | Path) -> "MadeWith | None":
        """What stands in a checkpoint or a finished run; None where nothing readable does."""
        try:
            return cls(**json.loads((Path(folder) / MADE_WITH_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: str | Path, *, finished: bool) -> None:
        """Puts it beside the weights."""
        files = digests_in(Path(folder)) if finished else {}
        content = asdict(replace(self, finished=finished, files=files))
        (Path(folder) / MADE_WITH_FILE).write_text(json.dumps(content, indent=1))

    def lost(self, folder: str | Path) -> list[str]:
        """The files of a finished run that are no longer there, or not as they were saved."""
        there = [path for name in self.files if (path := Path(folder) / name).is_file()]
        now = {str(path.relative_to(folder)): digest for path, digest in zip(there, digests_of(there), strict=True)}
        return [name for name, digest in self.files.items() if now.get(name) != digest]

    def differences(self, now: "MadeWith") -> dict[str, list[Any]]:
        """Name to [old, new] of every fact that is another now.

        A setting that the version of then did not have counts as left at its default, which changes nothing.
        """
        unsaid = {name: value for name, value in RunConfig.defaults().items() if name in now.facts}
        return _differences(unsaid | self.facts, now.facts)

    def other_code(self, now: "MadeWith") -> dict[str, list[Any]]:
        """Name to [old, new] of all code that is another now; nothing where the old is not known."""
        return _differences(self.code, now.code) if self.code else {}


def digests_in(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder, by its path there."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): digest for path, digest in zip(files, digests_of(files), strict=True)}


def _differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    pairs = {name: [old.get(name), new.get(name)] for name in dict.fromkeys([*old, *new])}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@cache
def code_of_now() -> dict[str, str]:
    """Versions of what trains, and a digest of this package's source: an edit changes no version."""
    source = sorted(Path(__file__).parents[1].rglob("*.py"))
    versions = {name: version(name) for name in ("weighted-mtp", "torch", "transformers", "accelerate")}
    return versions | {"source of weighted-mtp": digest_of_files(source)[:16]}


def compared_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide the outcome, `trainer_args` one by one."""
    left_out, free = {*FREE, *COMPARED_BY_CONTENT, "trainer_args"}, FREE_TRAINER_ARGS
    if not config.train.early_stopping_patience:
        left_out |= {*FREE_UNLESS_STOPPING_EARLY}
        free = (*free, "eval_")
    if config.train.max_steps > 0:
        left_out.add("num_train_epochs")
    if not stage_row(config.stage).trains_critic:
        left_out.add("critic")  # a path
    given = config.train.trainer_args
    extra = {f"trainer_args.{name}": value for name, value in given.items() if not name.startswith(free)}
    return {name: value for name, value in config.to_flat().items() if name not in left_out} | extra


def fingerprint_rows(rows: Dataset) -> str:
    """A digest of the rows as they are encoded, in their order."""
    digest = hashlib.sha256(repr((rows.column_names, len(rows))).encode())
    for part in rows.with_format("arrow").iter(batch_size=1000):
        table: Any = part
        for name in table.column_names:
            _feed(digest, table.column(name).combine_chunks())
    return digest.hexdigest()[:16]


def _feed(digest: Any, values: Any) -> None:
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        digest.update(pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False).tobytes())  # pyright: ignore
        _feed(digest, values.flatten())
    elif values.null_count == 0 and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    else:
        digest.update(repr(values.to_pylist()).encode())


def fingerprint_model(model: MTPModel) -> str:
    """A digest of every parameter's name, shape and type, and of up to 4,096 of its values, spread evenly: another
    model differs in some whole tensor, and all values of a large one would take minutes."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        values = parameter.detach().flatten()
        some = values[:: max(1, values.numel() // SAMPLES_PER_TENSOR)]
        digest.update(some.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
