"""The folder of `wmtp score`: what its scores depend on, what a later call must bring again, and its markers."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weighted_mtp.data.exact_parquet import divisions, scored_parts, shard_marker
from weighted_mtp.files import digest_of_files, write_text
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.score_config import ScoreConfig
from weighted_mtp.training.settings import ConfigError

SETTINGS = "settings.json"


def settings_of(config: ScoreConfig, critic: Critic) -> dict[str, Any]:
    """What the scores depend on, by content: the same on every machine.

    Raises:
        ConfigError: a reference for a critic that has none.
    """
    flat = asdict(config)
    names = ("scheme", "scheme_options", "gamma", "max_length")
    data = Path(config.data)
    found = {name: flat[name] for name in names} | ({"bf16": True} if config.bf16 else {})
    found |= {
        "data": digest_of_files(scored_parts(data) if data.is_dir() else [data]),
        "critic": digest_of_model(config.critic),
    }
    reference = _reference(config, critic)
    return found | ({"reference": digest_of_model(reference)} if reference else {})


def _reference(config: ScoreConfig, critic: Critic) -> str | None:
    spec = critic.model.critic
    if critic.reads_reference:
        return config.reference or (spec.reference if spec is not None else None)
    if config.reference is not None:
        kind = "value head" if spec is None else f"{spec.kind} critic"
        raise ConfigError(
            f"reference is {config.reference}, but {config.critic} is a {kind}, which reads none: leave --reference out"
        )
    return None


@dataclass(frozen=True)
class ScoreFolder:
    """Where one shard of the scored rows is written."""

    path: Path
    number: int
    """Of this shard, from 1."""
    count: int
    """Of all shards."""

    def require_room(self) -> None:
        """Refuses a path where this shard cannot be written.

        Raises:
            ConfigError: a file, or a folder with scores in another division.
        """
        blocked = next((path for path in (self.path, *self.path.parents) if path.exists()), self.path)
        if blocked.exists() and not blocked.is_dir():
            raise ConfigError(f"out is {self.path}, but {blocked} is a file: give a folder")
        others = divisions(self.path) - {self.count}
        if others:
            found = ", ".join(f"i/{count}" for count in sorted(others))
            raise ConfigError(
                f"{self.path} holds scores in shards {found}, not i/{self.count}: give another folder, or "
                "--shard as there"
            )

    def require_same(self, settings: dict[str, Any]) -> None:
        """Whoever comes later must bring what the first shard wrote down.

        Raises:
            ConfigError: the folder holds scores that were made otherwise.
        """
        path = self.path / SETTINGS
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConfigError(f"{path} is not what `wmtp score` writes: give another folder, or remove this one")
        different = [name for name in found | settings if found.get(name) != settings.get(name)]
        if different:
            raise ConfigError(
                f"{self.path} holds scores of another {', '.join(different)}: give another folder, or remove this one"
            )

    def begin(self, settings: dict[str, Any]) -> None:
        """Writes down what the scores depend on."""
        if not (self.path / SETTINGS).exists():
            write_text(self.path / SETTINGS, json.dumps(settings, indent=1))

    def finish(self, settings: dict[str, Any], parts: Sequence[str]) -> None:
        """Marks the shard as whole."""
        marker = {"settings": settings, "parts": list(parts)}
        write_text(self.path / shard_marker(self.number, self.count), json.dumps(marker, indent=1))
