"""Multi-token layers of a checkpoint that transformers leaves out on load (Qwen3.5, GLM-4.5, DeepSeek-V3): `mtp.*`, or
decoder layers beyond the last that have a projection `eh_proj`."""

import functools
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from weighted_mtp.models.architecture import decoder_layers
from weighted_mtp.models.saved_heads import WEIGHTS, header, places, write_index
from weighted_mtp.models.sources import first_line

logger = logging.getLogger(__name__)

FILE = "model-mtp.safetensors"
"""Where they lie in what is saved here; the index names them as it names the rest."""
ANNOUNCED_BY = (
    "num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers", "num_mtp_modules",
)  # fmt: skip
"""In config.json: how many there are."""
_NAMED = re.compile(r"(?:\w+\.)*mtp(?:_\w+)?\.")
_BEYOND = re.compile(r"((?:model\.|language_model\.)*layers\.(\d+)\.)")
_PLAIN_TYPES = ("F64", "F32", "F16", "BF16")


def stored_layers(hf_model: Any) -> dict[str, Path]:
    """The names of their tensors in the checkpoint that a model was read from, and the files; raises what reading
    does."""
    return _left_out(_directory(hf_model.config.name_or_path), len(decoder_layers(hf_model)))


def carry_over(hf_model: Any, folder: Path, trained: Mapping[str, Tensor] | None = None) -> None:
    """Completes the folder of a plain model by the multi-token layers of the checkpoint it was read from, bit for bit;
    those that were `trained` are given, under their names.

    Whether the checkpoint holds any decides, not its config, whose default is 1 in some families. Where they cannot be
    carried over (gone; another width, depth or vocabulary; quantized), config.json announces none, and a line says why.
    """
    source = hf_model.config.name_or_path
    left: dict[str, Path] = {}
    try:
        done = {*places(folder), *(trained or ())}
        left = {name: file for name, file in stored_layers(hf_model).items() if name not in done}
        why = _misfit(hf_model.config, left) if left else f"{source} holds none"
        kept = {} if why else _read(left)
    except Exception as error:  # whatever has become of the source: a run that ends must not lose its model
        why, kept = first_line(error), {}
    if kept or trained:
        _write({**kept, **(trained or {})}, folder)
        return
    announced = _silence(folder / "config.json")
    if left or announced:
        _tell(f"the saved config.json announces no multi-token layers ({', '.join(announced) or 'as before'}): {why}")


def _directory(source: str) -> Path:
    """Of a model on disk, or in the cache of downloads."""
    if source and Path(source).is_dir():
        return Path(source)
    cached = try_to_load_from_cache(source, "config.json") if source.count("/") == 1 else None
    if not isinstance(cached, str):
        raise FileNotFoundError(f"there is no checkpoint at {source!r}, from which the model was read")
    return Path(cached).parent


def _left_out(origin: Path, depth: int) -> dict[str, Path]:
    found = places(origin)
    beyond = {name: match for name in found if (match := _BEYOND.match(name)) and int(match[2]) >= depth}
    native = {match[1] for name, match in beyond.items() if ".eh_proj." in name}
    kept = (name for name in found if _NAMED.match(name) or (name in beyond and beyond[name][1] in native))
    return {name: found[name] for name in kept}


def _misfit(config: Any, left: dict[str, Path]) -> str | None:
    own, origin = config.get_text_config(), _directory(config.name_or_path)
    stored: dict[str, Any] = json.loads((origin / "config.json").read_text(encoding="utf-8"))
    its = stored.get("text_config", stored)
    for name in ("hidden_size", "num_hidden_layers"):
        if name in its and its[name] != getattr(own, name):
            return f"those of {origin} are for {name} {its[name]}, and this model has {getattr(own, name)}"
    headers = {file: header(file) for file in set(left.values())}
    entries = {name: headers[file][name] for name, file in left.items()}
    rows = its.get("vocab_size")
    if rows != own.vocab_size and any(entry["shape"][:1] == [rows] for entry in entries.values()):
        return f"those of {origin} are for a vocabulary of {rows}, and this model has {own.vocab_size}"
    if not hasattr(config, "quantization_config") and any(e["dtype"] not in _PLAIN_TYPES for e in entries.values()):
        return f"those of {origin} are quantized, and this model is not"
    return None


def _read(left: dict[str, Path]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(left.values())):
        with safe_open(file, framework="pt") as stored:
            tensors |= {name: stored.get_tensor(name) for name, place in left.items() if place == file}
    return tensors


def _write(tensors: dict[str, Tensor], folder: Path) -> None:
    whole = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    save_file(whole, folder / FILE, metadata={"format": "pt"})
    if (folder / WEIGHTS).is_file():  # beside a file of that name transformers reads no index
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    write_index(folder)


def _silence(file: Path) -> list[str]:
    """Has a config.json announce no layers; returns the names by which it did."""
    config = json.loads(file.read_text(encoding="utf-8"))
    found: list[str] = []
    for part in (config, config.get("text_config") or {}):
        for name in ANNOUNCED_BY:
            if part.get(name):
                part[name] = 0
                found.append(name)
    if found:
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return found


@functools.cache  # a run saves many times
def _tell(line: str) -> None:
    logger.warning(line)
