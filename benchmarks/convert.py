"""Peak memory and time of `wmtp convert meta` and `to-meta`, over a made checkpoint of several GB.

python -m benchmarks.convert [--quick] [--folder DIR]

The checkpoint has the widths of a 7B model and few blocks. Each conversion runs in a process of its own, and its peak
is the whole of that process: interpreter, torch and mapped pages of files included.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import _status_kilobytes, in_fresh_process, write_results
from weighted_mtp.models.meta.convert import from_meta, to_meta
from weighted_mtp.models.meta.layout import Params, entries, params_json
from weighted_mtp.models.meta.write import Slot, write_torch

BEYOND_LARGEST = 2e9
"""Bytes that a conversion may take beyond the largest tensor."""
WIDE = Params(dim=4096, n_layers=6, n_heads=32, n_kv_heads=32, n_future_tokens=4, vocab_size=32000, ffn_dim=11008)
SMALL = Params(dim=64, n_layers=5, n_heads=4, n_kv_heads=2, n_future_tokens=4, vocab_size=300, ffn_dim=171)


def make(folder: Path, params: Params, files: int) -> None:
    """A checkpoint of random float32 weights, cut into files for model-parallel processes."""
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params_json(params)))
    for i in range(files):
        slots = []
        for entry in entries(params):
            shape = list(entry.shape)
            if entry.cut is not None:
                shape[entry.cut] //= files
            slots.append(Slot(entry.meta, tuple(shape), torch.float32, lambda s=shape: torch.randn(s)))
        write_torch(folder / f"consolidated.{i:02}.pth", slots)


def conversion(convert: Any, *arguments: Any) -> dict[str, float]:
    """Seconds of CPU, and bytes at the peak of this process."""
    torch.set_num_threads(1)
    start = time.process_time()
    convert(*arguments)
    return {"seconds": time.process_time() - start, "peak_bytes": 1024 * _status_kilobytes("VmHWM")}


def measure(folder: Path, params: Params) -> dict[str, Any]:
    one, two = folder / "one", folder / "two"
    in_fresh_process(make, one, params, 1)
    in_fresh_process(make, two, params, 2)
    plan = {
        "meta": (from_meta, one, folder / "plain"),
        "meta, two files": (from_meta, two, folder / "of-two"),
        "meta --dtype bfloat16": (from_meta, one, folder / "narrow", "bfloat16"),
        "to-meta": (to_meta, folder / "plain", folder / "back"),
    }
    sizes = [4 * torch.Size(entry.shape).numel() for entry in entries(params)]
    runs = {name: in_fresh_process(conversion, *arguments) for name, arguments in plan.items()}
    return {"checkpoint_bytes": sum(sizes), "largest_tensor_bytes": max(sizes), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does the script run?")
    parser.add_argument("--folder", help="where there are 30 GB; none: the system's place for temporary files")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measure(Path(folder), SMALL if given.quick else WIDE)
    for name, run in found["runs"].items():
        print(f"{name}: {run['peak_bytes'] / 1e9:.2f} GB at the peak, {run['seconds']:.0f} s")
    if not given.quick:
        print(write_results("convert", found))


if __name__ == "__main__":
    main()
