"""Tensors out of Meta's files and of a Hugging Face directory, one at a time: a file is mapped anew for each, since
pages of a mapping that have been read count as memory until it ends."""

import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weighted_mtp.models.meta.layout import Entry, Params, entries, params_of, read_params
from weighted_mtp.models.saved_heads import INDEX, TENSORS, WEIGHTS, read_settings
from weighted_mtp.models.sources import first_line, resolve

_FILE = re.compile(r"consolidated(\.\d+)?\.pth")
_OWN_OR_TABLE = re.compile(r"value_head\.|label_condition\.|.*rotary_emb\.inv_freq$")
_BLOCK = re.compile(r"(model\.)?(layers|extra_heads)\.\d+\.")


class MetaFiles:
    """Meta's directory: params.json and one consolidated.pth, or several, each with a part of every matrix; ValueError:
    a file that is missing, cut off or holds more than tensors, or names and shapes that are not those of
    params.json."""

    def __init__(self, directory: Path):
        self.files = _consolidated(directory)
        params, self.notes = read_params(directory / "params.json")
        stored = [_load(file) for file in self.files]
        parts = [{name: tuple(tensor.shape) for name, tensor in part.items()} for part in stored]
        if params.n_layers > len(parts[0]):
            raise ValueError(
                f"{self.files[0]} holds {len(parts[0])} tensors, and params.json has n_layers {params.n_layers}"
            )
        self.params = self._completed(params, parts[0])
        self.entries = list(entries(self.params))
        self._require_names(parts)
        self._cuts = {entry.meta: self._cut(entry, parts) for entry in self.entries}
        self.dtypes = {name: tensor.dtype for name, tensor in stored[0].items()}
        for file, part in zip(self.files, stored, strict=True):
            for name in self._cuts:
                _require_float(name, part[name].dtype, file)
                here, first = part[name].dtype, self.dtypes[name]
                if here != first:
                    raise ValueError(f"{file}: {name} is {_kind(here)}, and {_kind(first)} in {self.files[0]}")
        whole = [name for name, cut in self._cuts.items() if cut is None]
        apart = {name for name in whole if any(not stored[0][name].equal(part[name]) for part in stored[1:])}
        if apart:
            self.notes.append(
                f"the files differ in {_listed(apart)}, which each should hold alike: are they of one model? The first "
                "file's count"
            )

    def _completed(self, params: Params, part: dict[str, tuple[int, ...]]) -> Params:
        """With the sizes that the tensors have: params.json may leave them out or be of another opinion."""

        def rows(name: str) -> int:
            return len(self.files) * (part.get(name) or (0,))[0]

        vocab, width = rows("output.weight"), rows("layers.0.feed_forward.w1.weight")
        if params.vocab_size >= 1 and vocab not in (0, params.vocab_size):
            raise ValueError(
                f"{self.files[0]}: output.weight makes {vocab} rows, and params.json has vocab_size {params.vocab_size}"
            )
        if params.ffn_dim not in (-1, width) and width:
            self.notes.append(
                f"the feed-forward layers have {width} units, where multiple_of and ffn_dim_multiplier of params.json "
                f"give {params.ffn_dim}: the tensors count"
            )
        return replace(params, vocab_size=vocab, ffn_dim=width)

    def _require_names(self, parts: list[dict[str, tuple[int, ...]]]) -> None:
        wanted = {entry.meta for entry in self.entries}
        for file, part in zip(self.files, parts, strict=True):
            found = {name for name in part if not name.endswith("rope.freqs")}  # a table that everybody computes
            wrong = {"it lacks": wanted - found, "unknown are": found - wanted}
            told = [f"{verb} {_listed(names)}" for verb, names in wrong.items() if names]
            if told:
                raise ValueError(
                    f"{file} does not go with params.json (n_layers {self.params.n_layers}, n_future_tokens "
                    f"{self.params.n_future_tokens}): {'; '.join(told)}"
                )

    def _cut(self, entry: Entry, parts: list[dict[str, tuple[int, ...]]]) -> int | None:
        shapes = [part[entry.meta] for part in parts]
        # Llama 3 cuts the embedding along the vocabulary, the others along the width.
        for axis in {entry.cut, 0} if entry.meta == "tok_embeddings.weight" else {entry.cut}:
            wanted = list(entry.shape)
            if axis is not None:
                wanted[axis] = wanted[axis] // len(parts) if wanted[axis] % len(parts) == 0 else -1
            if all(shape == tuple(wanted) for shape in shapes):
                return axis
        found = shapes[0] if len(set(shapes)) == 1 else shapes
        in_files = f" in each of {len(parts)} files" if len(parts) > 1 else ""
        raise ValueError(
            f"{self.files[0]}: {entry.meta} is {_sizes(found)}{in_files}, and params.json makes it "
            f"{_sizes(entry.shape)}{' in all' if in_files else ''}"
        )

    def read(self, entry: Entry) -> Tensor:
        """The whole tensor, as stored."""
        cut = self._cuts[entry.meta]
        if cut is None or len(self.files) == 1:
            return _load(self.files[0])[entry.meta]
        whole = torch.empty(entry.shape, dtype=self.dtypes[entry.meta])
        for file, part in zip(self.files, whole.chunk(len(self.files), cut), strict=True):
            part.copy_(_load(file)[entry.meta])
        return whole


def _consolidated(directory: Path) -> list[Path]:
    """The files in order."""
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    files = [name for name in names if _FILE.fullmatch(name)]
    numbered = [f"consolidated.{i:02}.pth" for i in range(len(files))]
    if "params.json" not in names or files not in (["consolidated.pth"], numbered) or not files:
        raise ValueError(
            f"no model in Meta's format at {str(directory)!r}: needed are params.json and consolidated.pth, or "
            f"consolidated.00.pth and so on without a gap; there are {', '.join(files) or 'none'}"
            f"{'' if 'params.json' in names else ' and no params.json'}"
        )
    return [directory / name for name in files]


def _load(file: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} cannot be read: it is cut off, or torch.save (1.6 or later) did not write it")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{file} holds more than tensors: code that it asks for is not run") from None
    except Exception as error:  # whatever torch raises for a broken zip
        if "TorchScript" in str(error):
            raise ValueError(f"{file} is a TorchScript program, and no dictionary of tensors") from None
        raise ValueError(f"{file} cannot be read: {first_line(error)}") from None
    items = content.items() if isinstance(content, dict) else [(type(content).__name__, content)]
    odd = [
        str(name) for name, one in items if not isinstance(one, Tensor) or one.layout != torch.strided or one.is_meta
    ]
    if odd:
        raise ValueError(f"{file} is no dictionary of plain tensors, as Meta's are: it holds {', '.join(odd[:3])}")
    return {str(name): tensor.detach() for name, tensor in items}


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _require_float(name: str, dtype: torch.dtype, file: Path) -> None:
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise ValueError(f"{file}: {name} is {_kind(dtype)}: quantized weights are not converted")


def _listed(names: set[str]) -> str:
    """All of them; those of a block in one word where it is many."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name[: match.end()] if (match := _BLOCK.match(name)) else name, []).append(name)
    words = ([f"{block}* ({len(its)})"] if len(its) > 3 else its for block, its in groups.items())
    return ", ".join(word for some in words for word in some)


def _sizes(shape: Any) -> str:
    return " x ".join(map(str, shape)) if isinstance(shape, tuple) else " and ".join(_sizes(one) for one in shape)


class PlainFiles:
    """A Hugging Face directory of ours, or of a plain Llama; ValueError: incomplete, or without a place in Meta's
    format."""

    def __init__(self, directory: Path):
        from transformers import AutoConfig

        source = resolve(directory)
        if source.gguf_file is not None:
            raise ValueError(f"{source}: a GGUF file is not converted; needed is a Hugging Face directory")
        self.directory = Path(source.location)
        try:
            config = AutoConfig.from_pretrained(source.location, local_files_only=True, trust_remote_code=False)
            saved, _ = read_settings(source, config)
            self.params = params_of(config, saved.n_future)
        except Exception as error:  # transformers has many kinds for what a config.json may hold
            raise ValueError(f"{self.directory}/config.json: {' '.join(str(error).split())}") from None
        if saved.n_future > 1 and saved.heads != "parallel":
            raise ValueError(
                f"{self.directory} has {saved.heads} heads, and Meta's format takes parallel ones alone: leave them "
                "out (wmtp convert drop-heads)"
            )
        self.notes = []
        if saved.value_head or saved.critic:
            self.notes.append("its value head or critic has no place in Meta's format and is left out")
        self._places = self._where()
        if self.params.n_layers > len(self._places):
            raise ValueError(
                f"{self.directory} holds {len(self._places)} tensors, and config.json makes "
                f"{self.params.n_layers} blocks"
            )
        self._tied = "lm_head.weight" not in self._places and config.tie_word_embeddings
        self.entries = list(entries(self.params))
        lacking = {entry.ours for entry in self.entries if self._name(entry) not in self._places}
        if lacking:
            raise ValueError(f"{self.directory} is incomplete: it lacks {_listed(lacking)}")
        more = self._places.keys() - {entry.ours for entry in self.entries}
        if more := {name for name in more if not _OWN_OR_TABLE.match(name)}:
            self.notes.append(f"config.json does not name these tensors, which are left out: {_listed(more)}")
        self.dtypes = {entry.meta: self._checked(entry) for entry in self.entries}

    def _where(self) -> dict[str, Path]:
        own = self.directory / TENSORS
        if not own.is_file():
            return self._plain()
        with _opened(own) as tensors:
            return self._plain() | dict.fromkeys(tensors.keys(), own)

    def _plain(self) -> dict[str, Path]:
        index, single = self.directory / INDEX, self.directory / WEIGHTS
        if single.is_file() or not index.is_file():
            with _opened(single) as tensors:
                return dict.fromkeys(tensors.keys(), single)
        try:
            return {name: self.directory / file for name, file in json.loads(index.read_text())["weight_map"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{index} cannot be read: {first_line(error)}") from None

    def _name(self, entry: Entry) -> str:
        return "model.embed_tokens.weight" if self._tied and entry.ours == "lm_head.weight" else entry.ours

    def _checked(self, entry: Entry) -> torch.dtype:
        file = self._places[self._name(entry)]
        with _opened(file) as tensors:
            part = tensors.get_slice(self._name(entry))
            if tuple(part.get_shape()) != entry.shape:
                raise ValueError(
                    f"{file}: {entry.ours} is {_sizes(tuple(part.get_shape()))}, and config.json makes it "
                    f"{_sizes(entry.shape)}"
                )
            dtype = part[:0].dtype
        _require_float(entry.ours, dtype, file)
        return dtype

    def read(self, entry: Entry) -> Tensor:
        """The whole tensor, as stored."""
        with _opened(self._places[self._name(entry)]) as tensors:
            return tensors.get_tensor(self._name(entry))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {first_line(error)}") from None
