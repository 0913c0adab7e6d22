"""What lands on disk: whole files, whole folders, one writer at a time; digests of what lies there."""

from .locks import Occupied, own_file, own_folder
from .staged import finish_interrupted, new_folder, staged_save
from .whole import FULL_DISK, digest_of, digest_of_files, number_of, replacing, sync, told_when_full, write_text

__all__ = [
    "FULL_DISK", "Occupied", "digest_of", "digest_of_files", "finish_interrupted", "new_folder", "number_of",
    "own_file", "own_folder", "replacing", "staged_save", "sync", "told_when_full", "write_text",
]  # fmt: skip
