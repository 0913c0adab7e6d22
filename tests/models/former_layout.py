"""Directories as version 0.1.0 left them."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file


def as_before(directory: Path) -> None:
    """Lays a directory out as version 0.1.0 did, heads inside the plain model's own files."""
    own = load_file(directory / "weighted_mtp.safetensors")
    settings = json.loads((directory / "weighted_mtp.json").read_text())
    del settings["heads"]
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"weighted_mtp": settings}))
    for name in ("weighted_mtp.safetensors", "weighted_mtp.json"):
        (directory / name).unlink()
    index = directory / "model.safetensors.index.json"
    if (directory / "model.safetensors").is_file():
        index.unlink()
        save_file(load_file(directory / "model.safetensors") | own, directory / "model.safetensors", {"format": "pt"})
        return
    save_file(own, directory / "model-weighted-mtp.safetensors", {"format": "pt"})
    content = json.loads(index.read_text())
    content["weight_map"] |= dict.fromkeys(own, "model-weighted-mtp.safetensors")
    index.write_text(json.dumps(content))
