"""A critic's skill out of fold: of critics made like it, each asked about the prompts that it was not trained on. The
one that was trained on all rows gives the weights: those of a part of them lose credit (9 points on the made task, of
halves)."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighted_mtp.data import DataError, Row, is_right, load_rows, prompt_id
from weighted_mtp.data.exact_parquet import unfinished_shards
from weighted_mtp.data.folds import split_tasks
from weighted_mtp.engine.settings import OF_ENGINES
from weighted_mtp.evaluation.critic_checks import quality_of_scores
from weighted_mtp.evaluation.critic_skill import CriticSkill, critic_skill, log_odds_of_row, skill_of_few
from weighted_mtp.evaluation.intervals import Interval
from weighted_mtp.files import write_text
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.checkpoints import list_checkpoints
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.errors import ConfigError, in_memory, require
from weighted_mtp.training.run import train
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import SCORES, SUCCESS, score
from weighted_mtp.training.skill import SKILL
from weighted_mtp.training.stage_table import stage_row
from weighted_mtp.training.writers import own_samples_by

FOLDS = "cross_fit"
"""Folder of the folds in that of the scores: i-of-K/critic and i-of-K/scores."""
MOST_ROWS = 20_000
_SAME = ("reference", "gamma", "max_length", "turns", "batch_size", "bf16", *OF_ENGINES)


def skill_of_scores(config: ScoreConfig, rows: Any = None, *, quiet: bool = False) -> CriticSkill | None:
    """The skill of a critic whose scores `wmtp score` wrote, measured out of fold (by critics of the folds with
    `cross_fit`, made as far as they are missing; none is where the rows are too few to tell) and written to skill.json
    there and beside the critic; None where the scored rows are, or may be, those that it was trained on. ConfigError:
    nothing says how it was trained, or a fold's critic cannot be."""
    if config.cross_fit:
        given = load_rows(config.data if rows is None else rows)[0]
        if unknown := skill_of_few([is_right(_outcome(row)) for row in given], [_prompt(row) for row in given]):
            unknown = replace(unknown, own_samples=own_samples_by(given[0], config.critic) is not None)
            _write(config, unknown.as_dict() | {"folds": config.cross_fit, "folds_differ": None, "localisation": None})
            return unknown
        folders = [_fold(config, given, i, quiet) for i in range(config.cross_fit)]
    elif seen_in_training(config) is False:
        folders = [Path(config.out)]
    else:
        return None
    parts = [load_rows(folder)[0] for folder in folders]
    skill = skill_of_rows([row for part in parts for row in part])
    skill = replace(skill, own_samples=own_samples_by(parts[0][0], config.critic) is not None)
    found = skill.as_dict() | {"folds": config.cross_fit, "localisation": _localised(config, folders, parts)}
    if config.cross_fit:
        steps = [_kept_step(folder.parent / "critic") for folder in folders]
        found["folds_differ"] = unequal_folds(steps, [skill_of_rows(part).auc for part in parts])
        if found["folds_differ"] and not quiet:
            print(found["folds_differ"], flush=True)
    _write(config, found)
    return skill


def folders_out_of_fold(config: ScoreConfig) -> list[Path]:
    """Where the scores of the folds are; empty where none were made."""
    folders = [_folder(config, i) / "scores" for i in range(config.cross_fit)]
    return folders if all(folder.is_dir() for folder in folders) else []


def _localised(config: ScoreConfig, folders: Sequence[Path], parts: Sequence[Sequence[Row]]) -> dict[str, Any] | None:
    """How well credit finds the first wrong token within wrong completions; None where no row says which it is."""
    if not all("token_error" in row or "span" in row for part in parts for row in part):
        return None
    quality, known = quality_of_scores(folders, config.critic, config.gamma, config.turns)
    found = quality.localisation
    if not known or found.interval is None:
        return None
    bounds = {"low": found.interval.low, "high": found.interval.high}
    return {"auc_within_wrong": found.auc_within_wrong, **bounds, "n_with_error": found.n_with_error}


def _folder(config: ScoreConfig, number: int) -> Path:
    return Path(config.out) / FOLDS / f"{number + 1}-of-{config.cross_fit}"


def _write(config: ScoreConfig, found: dict[str, Any]) -> None:
    """Where `read_skill` looks: in the folder of scores, and beside the critic."""
    if not in_memory(config.critic):
        found["critic"] = digest_of_model(config.critic)
    write_text(Path(config.out) / SKILL, json.dumps(found, indent=1) + "\n")
    if Path(config.critic).is_dir():
        write_text(Path(config.critic) / SKILL, json.dumps(found, indent=1) + "\n")


def unequal_folds(steps: Sequence[int | None], aucs: Sequence[Interval]) -> str | None:
    """A line where critics of folds are too unlike to speak for one another: steps that were kept by a factor above 3,
    or AUCs of disjoint intervals. None: they are not, or that is not known.

    >>> unequal_folds([10, 100], [Interval(0.65, 0.6, 0.7), Interval(0.81, 0.77, 0.85)])
    'the critics of the folds are unequal, steps 10, 100 were kept, AUC 0.65, 0.81: trust the skill less'
    >>> unequal_folds([10, 100], [Interval(0.65, 0.6, 0.7), Interval(0.5, None, None)])  # of too few rows
    'the critics of the folds are unequal, steps 10, 100 were kept, AUC 0.65, unknown: trust the skill less'
    >>> unequal_folds([40, 100], [Interval(0.75, 0.7, 0.8), Interval(0.81, 0.77, 0.85)])
    """
    kept = [step for step in steps if step]
    known = [(auc.low, auc.high) for auc in aucs if auc.low is not None and auc.high is not None]
    told = ", ".join("unknown" if auc.low is None else f"{auc.mean:.2f}" for auc in aucs)
    apart = known and max(low for low, _ in known) > min(high for _, high in known)
    if not apart and (not kept or max(kept) <= 3 * min(kept)):
        return None
    said = f", steps {', '.join(map(str, kept))} were kept" if kept else ""
    return f"the critics of the folds are unequal{said}, AUC {told}: trust the skill less"


def _kept_step(critic: Path) -> int | None:
    """Of the model that a run left; None where no checkpoint says it."""
    files = (checkpoint / "trainer_state.json" for checkpoint in list_checkpoints(critic))
    state = next((json.loads(file.read_text()) for file in files if file.is_file()), None)
    return state and (state["best_global_step"] or state["global_step"])


def skill_of_rows(rows: Sequence[Row]) -> CriticSkill:
    """The skill that scored rows show; of more than 20,000, that of the rows of some of their prompts."""
    prompts = [_prompt(row) for row in rows]
    share = max(1, -(-len(rows) // MOST_ROWS))
    order = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    used = [(prompt, row) for prompt, row in zip(prompts, rows, strict=True) if order[prompt] % share == 0]
    return critic_skill(
        [log_odds_of_row(row) for _, row in used],
        [is_right(_outcome(row)) for _, row in used],
        [prompt for prompt, _ in used],
        [max(1, len(row["values"])) for _, row in used],
    )


def _outcome(row: Row) -> Any:
    return row["reward"] if "reward" in row else row["label"]


def _prompt(row: Row) -> int:
    return prompt_id(row["prompt"], row.get("tools"))


def _trained(config: ScoreConfig) -> RunConfig:
    """How the critic was trained."""
    require(
        (Path(config.critic) / RUN_FILE).is_file(), f"{config.critic} has no {RUN_FILE}, which says how to train it"
    )
    run = RunConfig.load(config.critic)
    require(stage_row(run.stage).trains_critic, f"{config.critic} was trained in stage {run.stage}, not as a critic")
    return run


def seen_in_training(config: ScoreConfig) -> bool | None:
    """Whether the critic was trained on a prompt of the scored rows; None: that is not known."""
    try:
        known = {_prompt(row) for row in load_rows(_trained(config).data.train_file, on_bad_row="skip")[0]}
    except (ConfigError, DataError, OSError):  # it was trained elsewhere, or its rows are gone
        return None
    return not known.isdisjoint(map(_prompt, load_rows(config.out)[0]))


def _fold(config: ScoreConfig, rows: Sequence[Row], number: int, quiet: bool) -> Path:
    """Scores of a fold by a critic that was trained on the others, made unless they are there."""
    folder = _folder(config, number)
    scores, files = folder / "scores", {name: folder / f"{name}.jsonl" for name in ("train", "held_out")}
    if scores.is_dir() and any(scores.glob("shard-*")) and not unfinished_shards(scores):
        return scores
    run = _trained(config)
    values = run.to_flat().values()
    require(not any(map(in_memory, values)), f"{config.critic} was trained from memory: it cannot be trained again")
    prompts = [str(_prompt(row)) for row in rows]
    distinct = list(dict.fromkeys(prompts))
    require(
        len(distinct) >= config.cross_fit,
        f"cross_fit is {config.cross_fit}, and the rows are of {len(distinct)} prompts: give as many folds at most",
    )
    fold = split_tasks(distinct, (), config.cross_fit)
    for name, path in files.items():
        some = [
            {key: value for key, value in row.items() if key not in (*SCORES, SUCCESS)}
            for prompt, row in zip(prompts, rows, strict=True)
            if (fold[prompt] == number) == (name == "held_out")
        ]
        write_text(path, "".join(json.dumps(row, default=str) + "\n" for row in some))
    if not quiet:
        print(f"fold {number + 1} of {config.cross_fit}: a critic is trained on the others", flush=True)
    run = replace(
        run,
        data=replace(run.data, train_file=str(files["train"]), split="train", stream=False),
        train=replace(run.train, output_dir=str(folder / "critic")),
        tracking=replace(run.tracking, run_name=f"{run.run_name}-fold{number + 1}"),
    )
    try:
        critic = train(run, "auto", quiet=True)
    except (ConfigError, DataError) as error:
        what = f"fold {number + 1} of {config.cross_fit}, whose critic is trained on the rows of the other prompts"
        raise ConfigError(f"{what}: {error}") from error
    plain = ScoreConfig(critic=str(critic), data=str(files["held_out"]), out=str(scores))
    same = {name: getattr(config, name) for name in _SAME}
    score(replace(plain, **same), quiet=True)
    return scores
