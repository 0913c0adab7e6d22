"""What a configuration says of a thing that a caller gives, and the thing itself where it is in memory."""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from weighted_mtp.reports.quiet import quiet_loggers
from weighted_mtp.training.errors import ConfigError, in_memory
from weighted_mtp.value_weighting.registry import PATHS, make_scheme


def model_of(model: Any) -> tuple[str, Any]:
    """A path, or a model."""
    if isinstance(model, str | PathLike):
        return fspath(model), None
    decoder = getattr(model, "hf_model", model)
    if not hasattr(decoder, "get_decoder"):
        raise ConfigError(
            f"model is a {type(model).__name__}: give a path, a causal language model of transformers or an MTPModel"
        )
    return f"<{' '.join(filter(None, (type(decoder).__name__, decoder.name_or_path)))} in memory>", model


def tokenizer_of(tokenizer: Any, model: Any) -> tuple[str | None, Any]:
    """A path, or a tokenizer; of a model in memory, where that was read; None: beside the model."""
    if isinstance(tokenizer, str | PathLike):
        return fspath(tokenizer), None
    if tokenizer is not None:
        if not hasattr(tokenizer, "convert_ids_to_tokens"):
            raise ConfigError(f"tokenizer is a {type(tokenizer).__name__}: give a path, or a tokenizer of transformers")
        return f"<{type(tokenizer).__name__} in memory>", tokenizer
    if model is None:
        return None, None
    read = getattr(model, "hf_model", model).name_or_path
    if not read:
        raise ConfigError("the model is in memory and was read nowhere: give its tokenizer=, an object or a path")
    return (read if Path(read).exists() else f"hub:{read}"), None


def rows_of(name: str, rows: Any) -> tuple[str, Any]:
    """A path, or rows."""
    if isinstance(rows, str | PathLike):
        return fspath(rows), None
    if isinstance(rows, Mapping):
        raise ConfigError(f"{name} is a {type(rows).__name__} of {', '.join(map(str, rows))}: give one of them")
    if not isinstance(rows, Iterable):
        raise ConfigError(f"{name} is a {type(rows).__name__}: give a path, a list of dicts or a datasets.Dataset")
    if not hasattr(rows, "__len__"):
        rows = list(rows)
    return f"<{len(rows)} {'held-out rows' if name == 'eval_rows' else name} in memory>", rows  # pyright: ignore


def critic_of(critic: Any) -> tuple[str, Any]:
    """A path, or a critic; one that was read is called by its directory, so that the run can be looked at."""
    if isinstance(critic, str | PathLike):
        return fspath(critic), None
    if not hasattr(critic, "judge"):
        raise ConfigError(f"critic is a {type(critic).__name__}: give a path, or what load_critic gives")
    read = critic.model.hf_model.name_or_path
    return (read if (Path(read) / "config.json").is_file() else f"<{type(critic).__name__} in memory>"), critic


def scheme_of(scheme: Any, flat: dict[str, Any]) -> Any:
    """Puts name and options into the settings, so that they make such a scheme again where that can be."""
    if scheme is None or isinstance(scheme, str):
        flat |= {} if scheme is None else {"scheme": scheme}
        return None
    if not hasattr(scheme, "requires") or isinstance(scheme, type):
        raise ConfigError(f"scheme is {scheme!r}: give a name, package.module:Class, or a WeightingScheme")
    if "scheme_options" in flat:
        raise ConfigError("scheme_options is given beside a scheme that is made already: leave it out")
    kind = type(scheme)
    path = f"{kind.__module__}:{kind.__qualname__}"
    options = _options(scheme)
    flat["scheme"] = next((name for name, known in PATHS.items() if known == path), path)
    flat["scheme_options"] = options
    try:
        made = make_scheme(flat["scheme"], **options)
        again = (
            kind.__module__ != "__main__"
            and type(made) is kind
            and _options(made) == options
            and list(made.requires) == list(scheme.requires)
        )
    except (ValueError, TypeError, AttributeError):  # of an argument that was not plain
        again = False
    if not again:
        flat["scheme"] = f"<{kind.__name__} in memory>"
    return scheme


def _options(scheme: Any) -> dict[str, Any]:
    """What a scheme was made with, by the attributes that are called as its arguments."""
    found = {
        name: getattr(scheme, name) for name in inspect.signature(type(scheme)).parameters if hasattr(scheme, name)
    }
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return _options(value) if hasattr(value, "requires") else repr(value)


def held(flat: Mapping[str, Any]) -> set[str]:
    """What settings say of things in memory."""
    return {value for value in flat.values() if in_memory(value)}


def require_left_out(settings: Mapping[str, Any], **instead: str) -> None:
    """Refuses settings for which the call has arguments."""
    for name, argument in instead.items():
        if name in settings:
            raise ConfigError(f"{name} is given beside {argument}: leave it out")


@contextmanager
def less_noise() -> Iterator[None]:
    """Without what transformers tells of loading and writing files, a line or a bar each."""
    quiet_loggers()
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
