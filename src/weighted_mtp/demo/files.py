"""Rows of a draw on disk: train, oracle, test and fresh, one file each."""

import json
from pathlib import Path
from typing import Any

from weighted_mtp.data import Chains
from weighted_mtp.files import write_text

Rows = list[dict[str, Any]]


def write_chains(folder: Path, chains: Chains) -> None:
    """The rows of a draw, and those of the oracle: the training rows with weight 0 on the truly wrong tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "train.jsonl", chains.train)
    _write(folder / "oracle.jsonl", [row | {"weights": _weights_of_truth(row)} for row in chains.train])
    _write(folder / "test.jsonl", chains.test)
    _write(folder / "fresh.jsonl", chains.fresh)


def read_chains(folder: Path) -> Chains:
    """What `write_chains` wrote."""
    return Chains(*(_read(folder / f"{name}.jsonl") for name in ("train", "test", "fresh")))


def _weights_of_truth(row: dict[str, Any]) -> list[float]:
    """1 on right tokens and on EOS, 0 on wrong ones."""
    return [float(not error) for error in row["token_error"]] + [1.0]


def _write(path: Path, rows: Rows) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]
