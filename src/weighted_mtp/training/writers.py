"""Who wrote the rows: the model that they are to train, or one that knows better?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weighted_mtp.data.sources import HUB
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.errors import ConfigError, in_memory

DIGITS = 12
"""Of a digest, as rows give it."""


def own_samples_by(row: Mapping[str, Any], model: str) -> str | None:
    """The column by which a row is a sample of the model itself, of one that it was trained from, or of one that was
    trained from either; None where it is not, or does not say.

    `model_digest` is believed before `model`, and `logprobs`, which only those have who sampled, where there is none
    and no model of that name lies here.
    """
    digest, name = (row[key] if isinstance(row.get(key), str) else None for key in ("model_digest", "model"))
    digest = None if digest is None or digest.startswith(HUB) else digest
    written_by = lineage(name) if name else set()
    if digest and digest not in written_by:
        written_by = {digest}  # what lies there now is another model
    if not written_by.isdisjoint(lineage(model)):
        return "model_digest" if digest else "model"
    another = digest is not None or bool(name and Path(name).is_dir())
    logprobs = row.get("logprobs")  # of a list, or of numpy's
    return "logprobs" if not another and logprobs is not None and np.size(logprobs) else None


def lineage(model: str) -> set[str]:
    """Name and digest of a model, and of those that it was trained from as far as each lies here and says so.

    One in memory has those of where it was read, as its name, `<Class path in memory>`, tells.
    """
    found: set[str] = set()
    while (model := _read_from(model)) and model.removeprefix(HUB) not in found:
        found.add(model.removeprefix(HUB))
        try:
            if (digest := digest_of_model(model)) != model:
                found.add(digest[:DIGITS])
            if not (Path(model) / RUN_FILE).is_file():
                break
            model = RunConfig.load(model).model.model_name_or_path
        except (ConfigError, ValueError, OSError):  # it lies elsewhere, or was made in another way
            break
    return found


def _read_from(model: str) -> str:
    """Where a model was read; empty of one in memory that was read nowhere."""
    return model.removesuffix(" in memory>").partition(" ")[2] if in_memory(model) else model
