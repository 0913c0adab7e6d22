"""What lands on disk: whole files, whole folders, one writer at a time."""

from .locks import Occupied, own_file, own_folder
from .staged import finish_interrupted, staged_save
from .whole import replacing, sync_folder, write_text

__all__ = [
    "Occupied",
    "finish_interrupted",
    "own_file",
    "own_folder",
    "replacing",
    "staged_save",
    "sync_folder",
    "write_text",
]
