"""What lies beside a plain model: weighted_mtp.json says which heads and critic, weighted_mtp.safetensors holds them.
Version 0.1.0 kept both in the plain model's own files, which are still read."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.utils.hub import cached_file

from weighted_mtp.models.architecture import incomplete
from weighted_mtp.models.critic_spec import CriticSpec
from weighted_mtp.models.parts import HeadedModel
from weighted_mtp.models.sources import Source, first_line
from weighted_mtp.models.value_head import ValueLink

logger = logging.getLogger(__name__)

SETTINGS, TENSORS = "weighted_mtp.json", "weighted_mtp.safetensors"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"""Of the plain model, as transformers calls them."""
OWN_PREFIXES = ("extra_heads.", "value_head.", "label_condition.")
OLD_ENTRY = "weighted_mtp"
"""In config.json, of version 0.1.0."""
Heads = Literal["parallel", "sequential", "eagle", "native"]
HEADS: tuple[str, ...] = get_args(Heads)


class SavedHeads(NamedTuple):
    """The content of weighted_mtp.json. Nothing lies beside a plain model, by default."""

    n_future: int = 1
    value_head: bool = False
    value_link: ValueLink | None = None
    critic: dict[str, Any] | None = None
    value_hidden: int = 0
    heads: Any = "parallel"
    """One of `HEADS` (see `MTPModel`); native: those in the plain model's own files."""

    @classmethod
    def of(cls, model: HeadedModel) -> Self:
        """What is beside the plain model in one in memory."""
        head = model.value_head
        critic = None if model.critic is None else asdict(model.critic)
        link, width = (None, 0) if head is None else (head.link, head.hidden_units)
        return cls(model.n_future, head is not None, link, critic, width, model.extra_heads.kind)

    def require_kinds(self) -> None:
        """Raises ValueError for a value that no save writes."""
        for name, least in (("n_future", 1), ("value_hidden", 0)):
            value: Any = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"{name} is {value!r}, not a whole number from {least} on")
        if type(self.value_head) is not bool:
            raise ValueError(f"value_head is {self.value_head!r}, not true or false")
        if self.heads not in HEADS:
            raise ValueError(f"heads is {self.heads!r}, not {' or '.join(HEADS)}")

    def is_of(self, critic: CriticSpec | None) -> bool:
        """Whether what is saved is of this kind: a generative or implicit critic's head is its prior, no value head."""
        return (None if critic is None else critic.kind) == (self.critic["kind"] if self.critic else None)

    def names(self, tensor: str) -> bool:
        """Whether a tensor of this name belongs to it."""
        if tensor.startswith("extra_heads."):
            return self.heads != "native" and tensor.split(".")[1] in map(str, range(self.n_future - 1))
        return tensor.startswith(("value_head.",) * self.value_head + ("label_condition.",) * bool(self.critic))

    def write(self, directory: Path) -> None:
        """Puts it into weighted_mtp.json."""
        optional = ("critic", "value_hidden")
        content = {name: value for name, value in self._asdict().items() if name not in optional or value}
        (directory / SETTINGS).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_settings(source: Source, config: Any) -> tuple[SavedHeads, CriticSpec | None]:
    """What lies beside a plain model, and the critic that it names; a name from elsewhere is no default."""
    file = _beside(source, SETTINGS)
    if file is None and _beside(source, TENSORS) is not None:
        raise ValueError(
            f"{source} holds {TENSORS} without {SETTINGS}: copy both, or remove it to take the plain model"
        )
    try:
        entry = getattr(config, OLD_ENTRY, {}) if file is None else json.loads(file.read_text(encoding="utf-8"))
        saved = SavedHeads(**entry)
        saved.require_kinds()
        if lacks := [name for name in ("n_future", "value_head") if file is not None and name not in entry]:
            raise ValueError(f"it lacks {lacks[0]}, which every save writes")
        critic = CriticSpec(**saved.critic) if saved.critic else None
    except (TypeError, ValueError) as error:
        where = "the entry 'weighted_mtp' of config.json" if file is None else SETTINGS
        raise ValueError(f"{source}: this version cannot read {where}: {error}") from None
    if file is not None and saved == SavedHeads(value_link=saved.value_link) and _beside(source, TENSORS) is not None:
        raise ValueError(f"{source}: {SETTINGS} says that nothing lies beside the model, and {TENSORS} does: copy both")
    if file is None and entry:
        logger.warning(
            "%s is laid out as by version 0.1.0, heads inside the model's own files, which other tools refuse: "
            "wmtp convert export %s --out NEW",
            *(source, source),
        )
    return saved, critic


def read_tensors(source: Source) -> dict[str, Tensor]:
    """The tensors beside a plain model."""
    if _beside(source, SETTINGS) is None:
        return dict(_among_its_own(Path(source.location)))
    file = _beside(source, TENSORS)
    try:
        return {} if file is None else load_file(file)
    except Exception as error:  # OSError or SafetensorError
        raise ValueError(f"{file} cannot be read: {first_line(error)}") from None


def restore_heads(model: HeadedModel, source: object, stored: Mapping[str, Tensor], saved: SavedHeads) -> None:
    """Takes over, in place, what was saved of the parts that the model has; ValueError: missing, too many, other
    shapes."""
    same_kind = saved.is_of(model.critic)
    own = {name: tensor for name, tensor in model.state_dict().items() if saved.names(name)}
    wanted = {name: tensor for name, tensor in own.items() if same_kind or name.startswith("extra_heads.")}
    if missing := sorted(wanted.keys() - stored.keys()):
        raise incomplete(source, missing)
    if foreign := sorted(name for name in stored if not saved.names(name)):
        raise ValueError(f"{source}: {TENSORS} is of another model: {foreign[0]!r} is not among what {SETTINGS} names")
    for name, tensor in wanted.items():
        if stored[name].shape != tensor.shape:
            shapes = " x ".join(map(str, stored[name].shape)), " x ".join(map(str, tensor.shape))
            raise ValueError(f"{source}: {name!r} is {shapes[0]}, and config.json makes it {shapes[1]}")
        tensor.copy_(stored[name])


def write_heads(model: HeadedModel, directory: Path, own: dict[str, Tensor], dtype: torch.dtype | None) -> None:
    """Writes what lies beside the plain model there, and into config.json the precision where it is another."""
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config.pop(OLD_ENTRY, None)
    if dtype is not None:  # transformers writes down that of the model in memory
        config["dtype"] = str(dtype).removeprefix("torch.")
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    SavedHeads.of(model).write(directory)
    if own:
        save_file(own, directory / TENSORS, metadata={"format": "pt"})
        if not (directory / INDEX).is_file():
            write_index(directory)


def write_index(directory: Path) -> None:
    """Names the plain model's tensors: without an index vLLM and SGLang read every safetensors file of a folder."""
    headers = {file.name: header(file) for file in sorted(directory.glob("model*.safetensors"))}
    size = sum(max(entry["data_offsets"][1] for entry in tensors.values()) for tensors in headers.values())
    weight_map = {name: file for file, tensors in headers.items() for name in tensors}
    content = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def header(file: Path) -> dict[str, Any]:
    """Of a safetensors file: its tensors' names, types, shapes, and where their bytes begin and end."""
    with file.open("rb") as stream:
        content = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    content.pop("__metadata__", None)
    return content


def places(directory: Path) -> dict[str, Path]:
    """The file of every tensor of a plain model; nothing where it is not in safetensors."""
    if (directory / WEIGHTS).is_file():  # where an index is there, too, transformers reads the single file
        return dict.fromkeys(header(directory / WEIGHTS), directory / WEIGHTS)
    if not (directory / INDEX).is_file():
        return {}
    named: dict[str, str] = json.loads((directory / INDEX).read_text())["weight_map"]
    return {name: directory / file for name, file in named.items()}


def _beside(source: Source, name: str) -> Path | None:
    if source.gguf_file is not None:
        return None
    found = cached_file(source.location, name, **source.keywords(), _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def _among_its_own(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Our tensors in the plain model's files, where version 0.1.0 put them."""
    for name, file in places(directory).items():
        if name.startswith(OWN_PREFIXES):
            with safe_open(file, framework="pt") as tensors:
                yield name, tensors.get_tensor(name)
