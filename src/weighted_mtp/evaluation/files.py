"""The folder of an evaluation: what its rows depend on, what a later call must bring again, and its results."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weighted_mtp.evaluation.config import EvaluationConfig
from weighted_mtp.evaluation.provenance import provenance
from weighted_mtp.files import digest_of, write_text
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.settings import ConfigError

COMPLETIONS, SAMPLES, RESULTS, SETTINGS = ("completions.jsonl", "samples.jsonl", "results.json", "settings.json")
BY_CONTENT = ("model weights or tokenizer", "problems")
"""Settings that are digests: the same wherever the files lie."""


def settings_of(config: EvaluationConfig, problems: list[dict[str, Any]], stop: list[str]) -> dict[str, Any]:
    """What the rows depend on; of model and problems the content, so that they may be moved."""
    flat = asdict(config)
    names = (
        "verifier",
        "samples",
        "temperature",
        "top_p",
        "max_new_tokens",
        "seed",
        "timeout",
        "label",
        *(["chat"] if config.chat else []),
    )
    rows = json.dumps(problems, sort_keys=True).encode()
    contents = (digest_of_model(config.model), digest_of(rows))
    return {**dict(zip(BY_CONTENT, contents, strict=True)), "stop": stop, **{name: flat[name] for name in names}}


def require_same(settings: dict[str, Any], out: Path) -> None:
    """Whoever goes on with completions must ask for the same.

    Raises:
        ConfigError: the folder holds completions that were made otherwise; says how.
    """
    completions, path = out / COMPLETIONS, out / SETTINGS
    if not completions.exists() or not completions.stat().st_size:
        return
    if not path.exists():
        raise ConfigError(f"{out} holds completions and no {SETTINGS}: use another --out")
    found = json.loads(path.read_text(encoding="utf-8"))
    different = [
        f"other {name}" if name in BY_CONTENT else f"{name} {found.get(name)!r} and not {value!r}"
        for name, value in {**dict.fromkeys(found), **settings}.items()
        if found.get(name) != value
    ]
    if different:
        raise ConfigError(
            f"{out} holds an evaluation with {', '.join(different)}; nothing in it was changed: use another --out"
        )


def write_settings(out: Path, settings: dict[str, Any]) -> None:
    """Writes down what `require_same` compares with."""
    _write_json(out / SETTINGS, settings)


def write_results(out: Path, results: dict[str, Any]) -> None:
    """Writes results.json, with `provenance`.

    A file that says the same is kept, and with it the date and the versions of the call that did the work.
    """
    path = out / RESULTS
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        results["provenance"] = found.get("provenance")
        if found == results:
            return
    results["provenance"] = dict(provenance())
    _write_json(path, results)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
