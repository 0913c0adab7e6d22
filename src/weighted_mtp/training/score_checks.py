"""What must hold before rows are scored, and what their scores depend on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weighted_mtp.data import Row
from weighted_mtp.data.exact_parquet import divisions, scored_parts
from weighted_mtp.data.sources import HUB
from weighted_mtp.files import digest_of, digest_of_files
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.critics.value_head import ValueStage
from weighted_mtp.training.early_checks import require_discount_fits, require_trained_with
from weighted_mtp.training.errors import ConfigError, in_memory
from weighted_mtp.training.loading import scheme_of
from weighted_mtp.training.made_with import fingerprint_model
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.value_weighting import WeightingScheme
from weighted_mtp.value_weighting.schemes.gated import Gated


def require_room(folder: Path, count: int) -> None:
    """Refuses a file, and a folder with scores in another division."""
    blocked = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if blocked.exists() and not blocked.is_dir():
        raise ConfigError(f"out is {folder}, but {blocked} is a file: give a folder")
    others = divisions(folder) - {count}
    if others:
        found = ", ".join(f"i/{other}" for other in sorted(others))
        raise ConfigError(
            f"{folder} holds scores in shards {found}, not i/{count}: give another folder, or --shard as there"
        )


def settings_of(config: ScoreConfig, critic: Critic, rows: Sequence[Row] | None) -> dict[str, Any]:
    """What the scores depend on, by content: the same on every machine."""
    flat, data, spec = asdict(config), Path(config.data), critic.model.critic
    found = {name: flat[name] for name in ("scheme", "scheme_options", "gamma", "max_length")}
    found |= {"bf16": True} if config.bf16 else {}
    found |= {"turns": config.turns} if config.turns != "all" else {}
    if rows is not None:
        found["data"] = digest_of(repr(rows).encode())
    elif config.data.startswith(HUB):
        found["data"] = config.data
    else:
        found["data"] = digest_of_files(scored_parts(data) if data.is_dir() else [data])
    held = in_memory(config.critic)
    found["critic"] = fingerprint_model(critic.model) if held else digest_of_model(config.critic)
    reference = config.reference or (spec.reference if spec is not None else None)
    if critic.reads_reference and reference:
        found["reference"] = digest_of_model(reference)
    elif config.reference is not None:
        kind = "value head" if spec is None else f"{spec.kind} critic"
        raise ConfigError(
            f"reference is {config.reference}, but {config.critic} is a {kind}, which reads none: leave --reference out"
        )
    return found


def require_fits(critic: Critic, scheme: WeightingScheme, config: ScoreConfig) -> None:
    """The scheme reads what the critic gives, and the discount is one for both."""
    if "credit" in scheme.requires and not critic.gives_credit:
        raise ConfigError(
            f"scheme {config.scheme} reads credit, and {config.critic} is a value head, whose credit is its TD error: "
            "use scheme td"
        )
    require_trained_with(config.critic, config.gamma)
    require_discount_fits(ValueStage(gamma=config.gamma, critic=critic), scheme)


def require_gate(config: ScoreConfig, scheme: WeightingScheme) -> None:
    """Refuses scheme `gated`, alone or within another, without a skill: none is measured before rows are scored, so
    that its weights would be 1 on right rows and 0 on wrong ones, whatever the critic says."""
    shut = [one for one in scheme.modules() if isinstance(one, Gated) and one.skill is None]
    if shut:
        given = "{skill: .3, whitening: none}"
        given = given if scheme is shut[0] else f"{{inner: gated, inner_options: {given}}}"
        raise ConfigError(
            f"scheme {config.scheme}: gated weighs by the critic's skill, which is measured once the rows are scored, "
            "so that weights made now would be right-only: score without the scheme and train on the folder with it, "
            f"which reads the skill there; or give one, --scheme_options '{given}'"
        )


def scheme_for(config: ScoreConfig, loaded: WeightingScheme | None) -> WeightingScheme:
    """The scheme, if it makes of scores alone the weights that it makes in training."""
    scheme = scheme_of(config, loaded)
    require_gate(config, scheme)
    missing = set(scheme.requires) - {"values", "rewards", "credit"}
    if missing:
        raise ConfigError(f"scheme {config.scheme} needs {', '.join(sorted(missing))}, which no critic supplies")
    whitening = getattr(scheme, "whitening", "none")
    if scheme.state_dict() or whitening != "none":
        column = "credit" if "credit" in scheme.requires else "values"
        option, off = (
            (f"whitening {whitening}", "whitening: none") if whitening != "none" else ("unit_mean", "unit_mean: false")
        )
        raise ConfigError(
            f"scheme {config.scheme}: {option} takes its statistics from training batches: score with --scheme_options "
            f"'{{{off}}}', and train on the {column} column with the scheme as it is"
        )
    return scheme.eval()
