"""Files of tensors, written as a stream: no more than one tensor is in memory at a time."""

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

_PIECE = 1 << 24
"""Elements that are cast at a time."""
_SAFETENSORS = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_STORAGES = {
    torch.float64: torch.DoubleStorage,
    torch.float32: torch.FloatStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.float16: torch.HalfStorage,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _SAFETENSORS}


class Slot(NamedTuple):
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()

    def pieces(self) -> Iterator[memoryview]:
        """Its bytes, cast piece by piece."""
        for piece in self.read().reshape(-1).split(_PIECE):
            cast = piece.to(self.dtype).contiguous().resolve_neg()
            if cast.dtype != piece.dtype and not cast.isfinite().all():
                name = str(self.dtype).removeprefix("torch.")
                raise ValueError(f"{self.name} has values that {name} cannot hold: give another --dtype, or auto")
            yield cast.view(torch.uint8).numpy().data


def write_safetensors(file: Path, slots: list[Slot]) -> None:
    """A file as safetensors writes it: the length of the header, the header as JSON, and the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for slot in slots:
        offsets = [end, end := end + slot.nbytes]
        header[slot.name] = {"dtype": _SAFETENSORS[slot.dtype], "shape": slot.shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for slot in slots:
            stream.writelines(slot.pieces())


def write_torch(file: Path, slots: list[Slot]) -> None:
    """A file as `torch.save` writes a dictionary of tensors: a zip of one pickle and the bytes of each.

    `torch.save` wants them all at once; its `skip_data` would leave checksums that other readers of zips refuse.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("archive/data.pkl", "w") as stream:
            _Pickler(stream, protocol=2).dump(OrderedDict((slot.name, slot) for slot in slots))
        archive.writestr("archive/byteorder", "little")
        for slot in slots:
            with archive.open(_aligned(archive, f"archive/data/{slot.name}"), "w", force_zip64=True) as stream:
                stream.writelines(slot.pieces())
        archive.writestr("archive/version", "3\n")


def _aligned(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """A record whose bytes begin at a multiple of 64, as mapped tensors should."""
    assert archive.fp is not None
    fixed, zip64, own = 30, 20, 4
    info = zipfile.ZipInfo(name)
    padding = -(archive.fp.tell() + fixed + len(name.encode()) + zip64 + own) % 64
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    return info


class _Pickler(pickle.Pickler):
    """Slots as torch pickles tensors: how one is made of its storage, and the storage by its name in the zip."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            slot = obj.slot
            return "storage", _STORAGES[slot.dtype], slot.name, "cpu", torch.Size(slot.shape).numel()
        return None

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Slot):
            return NotImplemented
        strides = torch.empty(obj.shape, device="meta").stride()
        return _rebuild_tensor_v2, (_Storage(obj), 0, obj.shape, strides, False, OrderedDict())


class _Storage:
    def __init__(self, slot: Slot):
        self.slot = slot
