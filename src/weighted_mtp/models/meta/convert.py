"""A checkpoint of Meta's into a directory that everything here reads, and back, tensor by tensor."""

import json
import shutil
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.files import new_folder
from weighted_mtp.models.meta.layout import Entry, Params, config_of, params_json, rotary_rows
from weighted_mtp.models.meta.read import MetaFiles, PlainFiles
from weighted_mtp.models.meta.tokenizer import NAME, find_tokenizer, hugging_face
from weighted_mtp.models.meta.write import DTYPES, Slot, write_safetensors, write_torch
from weighted_mtp.models.saved_heads import INDEX, OWN_PREFIXES, TENSORS, SavedHeads

SHARD = 1 << 30
"""Bytes of a file at most, unless one tensor is larger."""
Tell = Callable[[int, int], None]
"""Is told, of all tensors, how many are read and how many there are."""


def from_meta(directory: str | Path, out: str | Path, dtype: str = "auto", tell: Tell | None = None) -> list[str]:
    """Writes a directory that `MTPModel.from_pretrained` and `AutoModelForCausalLM` read; returns what is to be said.

    Args:
        directory: with params.json, consolidated.pth or consolidated.00.pth and so on, and tokenizer.model.
        out: a new or empty folder.
        dtype: "auto" (each tensor as stored) or a name of `DTYPES`.
        tell: see `Tell`.

    Raises:
        ValueError: no such checkpoint, or something is at `out`; nothing is left behind.
    """
    directory, out = Path(directory), Path(out)
    with new_folder(out) as folder:
        source = MetaFiles(directory)
        special, told = _write_tokenizer(directory, folder, source.params)
        slots = _slots(source, dtype, tell, lambda entry: entry.ours, to_meta=False)
        _write_shards(folder, slots)
        _write_config(folder, source.params, slots, special)
    n_future = source.params.n_future_tokens
    heads = f"{n_future} heads" if n_future > 1 else "a plain Llama without extra heads"
    return [*source.notes, *told, f"{out}: {_summary(slots)}; {heads} (n_future {n_future})"]


def to_meta(directory: str | Path, out: str | Path, dtype: str = "auto", tell: Tell | None = None) -> list[str]:
    """The way back: a directory with params.json and consolidated.00.pth. Arguments and errors as of `from_meta`."""
    directory, out = Path(directory), Path(out)
    with new_folder(out) as folder:
        source = PlainFiles(directory)
        slots = _slots(source, dtype, tell, lambda entry: entry.meta, to_meta=True)
        write_torch(folder / "consolidated.00.pth", slots)
        (folder / "params.json").write_text(json.dumps(params_json(source.params), indent=2) + "\n")
        told = []
        if (directory / NAME).is_file():
            shutil.copyfile(directory / NAME, folder / NAME)
        else:
            told.append(f"{directory} has no {NAME}: Meta's code needs the one of the model that this came from")
    return [*source.notes, *told, f"{out}: {_summary(slots)}; n_future_tokens {source.params.n_future_tokens}"]


def _slots(
    source: MetaFiles | PlainFiles, dtype: str, tell: Tell | None, name: Callable[[Entry], str], to_meta: bool
) -> list[Slot]:
    def read(i: int, entry: Entry) -> Tensor:
        tensor = source.read(entry)
        if tell is not None:
            tell(i, len(source.entries))
        return tensor if entry.heads is None else rotary_rows(tensor, entry.heads, to_meta)

    return [
        Slot(name(entry), entry.shape, DTYPES.get(dtype, source.dtypes[entry.meta]), lambda i=i, e=entry: read(i, e))
        for i, entry in enumerate(source.entries, 1)
    ]


def _write_shards(folder: Path, slots: list[Slot]) -> None:
    """The decoder's tensors and their index, and the extra heads in a file of their own."""
    shards: list[list[Slot]] = [[]]
    own = [slot for slot in slots if slot.name.startswith(OWN_PREFIXES)]
    plain = [slot for slot in slots if slot not in own]
    for slot in plain:
        if shards[-1] and sum(one.nbytes for one in shards[-1]) + slot.nbytes > SHARD:
            shards.append([])
        shards[-1].append(slot)
    placed: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / file, shard)
        placed |= dict.fromkeys((slot.name for slot in shard), file)
    if own:
        write_safetensors(folder / TENSORS, own)
    index = {"metadata": {"total_size": sum(slot.nbytes for slot in plain)}, "weight_map": placed}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _write_config(folder: Path, params: Params, slots: list[Slot], special: dict[str, Any]) -> None:
    from transformers import LlamaConfig

    dtype = reduce(torch.promote_types, (slot.dtype for slot in slots))
    settings: dict[str, Any] = {**config_of(params), **special, "dtype": dtype}
    LlamaConfig(architectures=["LlamaForCausalLM"], **settings).save_pretrained(folder)
    SavedHeads(params.n_future_tokens).write(folder)


def _write_tokenizer(directory: Path, folder: Path, params: Params) -> tuple[dict[str, Any], list[str]]:
    """Returns the ids that config.json names, and what is to be said."""
    file = find_tokenizer(directory)
    if file is None:
        told = f"{directory} has no {NAME}, nor has the folder above it: no tokenizer is written"
        return {"bos_token_id": None, "eos_token_id": None}, [told]
    tokenizer = hugging_face(file)
    if len(tokenizer) != params.vocab_size:
        raise ValueError(
            f"{file} has {len(tokenizer)} tokens, and the model {params.vocab_size}: give the model's own, or move it "
            "away to convert without one"
        )
    tokenizer.save_pretrained(folder)
    shutil.copyfile(file, folder / NAME)
    symbols = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    told = [f"the tokenizer is {file}, from the folder above"] * (not file.parent.samefile(directory))
    told += [f"text beside {', '.join(symbols[:3])} may get other ids than SentencePiece gives it"] * bool(symbols)
    return {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}, told


def _summary(slots: list[Slot]) -> str:
    parameters = sum(torch.Size(slot.shape).numel() for slot in slots)
    kinds = ", ".join(sorted({str(slot.dtype).removeprefix("torch.") for slot in slots}))
    return f"{parameters:,} parameters in {len(slots)} tensors ({kinds})"
