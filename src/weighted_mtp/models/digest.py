"""Models and files by their content: the same wherever they lie."""

import hashlib
from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path

from weighted_mtp.models.sources import resolve

_FILES = ("*.safetensors", "*.bin", "config.json", "tokenizer*.json", "chat_template.jinja")


def digest_of_files(paths: Iterable[Path]) -> str:
    """A number of 128 bits, in hexadecimal, that depends on the files' content and order."""
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def digest_of_model(path: str | PathLike[str]) -> str:
    """Digest of a model's weights, config and tokenizer; the name of one on the hub.

    Raises:
        ValueError: there is no model.
    """
    source = resolve(path)
    if source.from_hub:
        return fspath(path)
    folder = Path(source.location)
    patterns = _FILES if source.gguf_file is None else (source.gguf_file,)
    return digest_of_files(sorted({file for pattern in patterns for file in folder.glob(pattern)}))
