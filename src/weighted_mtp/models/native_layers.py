"""Multi-token layers of a checkpoint that transformers leaves out on load: those of Qwen3.5, GLM-4.5, DeepSeek-V3.

They are `mtp.*`, or decoder layers beyond the last that have a projection `eh_proj`.
"""

import functools
import json
import logging
import re
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from weighted_mtp.models.saved_heads import WEIGHTS, header, places, write_index
from weighted_mtp.models.sources import first_line

logger = logging.getLogger(__name__)

FILE = "model-mtp.safetensors"
"""Where they lie in what is saved here; the index names them as it names the rest."""
ANNOUNCED_BY = (
    "num_nextn_predict_layers",
    "num_mtp_layers",
    "mtp_num_hidden_layers",
    "mtp_num_layers",
    "num_mtp_modules",
)
"""In config.json: how many there are."""
_NAMED = re.compile(r"(?:\w+\.)*mtp(?:_\w+)?\.")
_BEYOND = re.compile(r"((?:model\.|language_model\.)*layers\.(\d+)\.)")
_PLAIN_TYPES = ("F64", "F32", "F16", "BF16")


def carry_over(hf_model: Any, folder: Path) -> None:
    """Completes the folder of a plain model by the multi-token layers of the checkpoint it was read from, bit for bit.

    Whether the checkpoint holds any decides, not its config, whose default is 1 in some families. Where they cannot be
    carried over, the folder's config.json announces none, and a line says why: there is no such checkpoint any more, or
    they are of another width, depth or vocabulary, or quantized beside a model that is not.
    """
    source = hf_model.config.name_or_path
    left: dict[str, Path] = {}
    try:
        origin = _directory(source)
        left = _left_out(origin, places(folder).keys(), hf_model.config.get_text_config().num_hidden_layers)
        why = _misfit(hf_model.config, origin, left) if left else f"{source} holds none"
        if why is None:
            _copy(left, folder)
            return
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        why = first_line(error)
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


def _left_out(origin: Path, saved: Any, depth: int) -> dict[str, Path]:
    found = {name: file for name, file in places(origin).items() if name not in saved}
    beyond = {name: match for name in found if (match := _BEYOND.match(name)) and int(match[2]) >= depth}
    native = {match[1] for name, match in beyond.items() if ".eh_proj." in name}
    kept = (name for name in found if _NAMED.match(name) or (name in beyond and beyond[name][1] in native))
    return {name: found[name] for name in kept}


def _misfit(config: Any, origin: Path, left: dict[str, Path]) -> str | None:
    own = config.get_text_config()
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


def _copy(left: dict[str, Path], folder: Path) -> None:
    tensors = {}
    for file in sorted(set(left.values())):
        with safe_open(file, framework="pt") as stored:
            tensors |= {name: stored.get_tensor(name) for name, place in left.items() if place == file}
    save_file(tensors, folder / FILE, metadata={"format": "pt"})
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
