"""What lands on disk: whole files, whole folders, one writer at a time; digests of what lies there."""

from .locks import Occupied, own_file, own_folder
from .staged import finish_interrupted, staged_save
from .whole import digest_of, digest_of_files, number_of, replacing, sync, write_text

__all__ = [
    "Occupied",
    "digest_of",
    "digest_of_files",
    "finish_interrupted",
    "number_of",
    "own_file",
    "own_folder",
    "replacing",
    "staged_save",
    "sync",
    "write_text",
]
