"""`wmtp train`: every setting of a run as a flag, over a file of settings, over defaults."""

import os
import re
from argparse import SUPPRESS
from itertools import pairwise
from pathlib import Path
from typing import Any

from weighted_mtp.cli.grammar import PROGRAM, Parser, UsageError, fail, parse_over_file
from weighted_mtp.files import FULL_DISK
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.terminal import say
from weighted_mtp.training.checkpoints import MADE_WITH_FILE, find_resumable, list_checkpoints
from weighted_mtp.training.config import CHANGES_KEY, RUN_FILE, RunConfig
from weighted_mtp.training.critics.table import CRITICS
from weighted_mtp.training.early_checks import BESIDE, check_run
from weighted_mtp.training.errors import ConfigError, expand_path
from weighted_mtp.training.stage_table import STAGE_TABLE
from weighted_mtp.value_weighting.registry import PATHS

NOT_IN_CONFIG = ("config", "resume", "resume_with_changes")


def train(stage: str, words: list[str]) -> int:
    """Runs the command; returns the exit status."""
    parsed = parse_config(train_parser(stage), words)
    if parsed["stage"] != stage:
        given = parsed["stage"]
        raise UsageError(f"the configuration is of stage {given}: use `{PROGRAM} train {given}`")
    config = RunConfig.from_flat({key: value for key, value in parsed.items() if key not in NOT_IN_CONFIG})
    resume = parsed["resume"] and expand_path("--resume", parsed["resume"])
    with_changes = parsed["resume_with_changes"]
    if with_changes and not resume:
        raise UsageError("--resume_with_changes goes with --resume: add --resume auto, or the path of a checkpoint")
    check_run(config, resume)
    quiet_libraries()
    from weighted_mtp.training.run import NonFiniteError
    from weighted_mtp.training.run import train as train_run

    try:
        output_dir = train_run(config, resume=resume, with_changes=with_changes)
    except NonFiniteError as error:
        return fail(str(error), status=1)
    except OSError as error:
        if error.errno in FULL_DISK:
            whole, _ = find_resumable(config.train.output_dir)
            there = f"{whole} is intact" if whole else "no checkpoint is complete"
            error.add_note(f"{there}; make room, and the same command with --resume auto goes on")
        raise
    if os.environ.get("RANK", "0") == "0":
        say(f"saved in {output_dir}; look at its tokens with: {PROGRAM} inspect {output_dir}")
    return 0


def train_parser(stage: str) -> Parser:
    """Every setting of a run as a flag."""
    program = f"{PROGRAM} train {stage}"
    usage = f"{program} --config FILE [--KEY VALUE ...] [--resume auto|PATH [--resume_with_changes]]"
    parser = Parser(prog=program, usage=usage, description=STAGE_TABLE[stage].help)
    parser.add_argument(
        "--config",
        action="config",
        help="YAML file with any of the settings below, or one that comes with the package: smollm2/critic.yaml.",
    )
    parser.add_argument("--resume", type=str | None, default=None, help="auto, or the path of a checkpoint.")
    parser.add_argument(
        "--resume_with_changes",
        action="store_true",
        help="With --resume: go on with other settings, rows or models than the checkpoint's; run.yaml says which.",
    )
    parser.add_argument("--stage", type=str, default=stage, help=SUPPRESS)  # a run.yaml names its stage
    for part in RunConfig.PARTS.values():
        parser.add_class_arguments(part)
    parser.name_choices(scheme=PATHS, critic=CRITICS if STAGE_TABLE[stage].trains_critic else ())
    return parser


def parse_config(parser: Parser, words: list[str]) -> dict[str, Any]:
    """Flags over the file over defaults, under their flat names; wherever `--config` stands."""
    resumes = "--resume=auto" in words or ("--resume", "auto") in pairwise(words)
    of_file: dict[str, Any] = {}

    def prepare(path: str, settings: dict[str, Any]) -> dict[str, Any]:
        settings.pop(CHANGES_KEY, None)  # a history, of a run.yaml
        of_file.update(_of_moved_run(Path(path), settings) if resumes else settings)
        return of_file

    parsed = parse_over_file(parser, words, RunConfig.PARTS.values(), ("resume", "stage"), prepare)
    flags = {re.split(r"[=.+]", word[2:])[0] for word in words if word.startswith("--")}
    return parsed | _switched_off(parsed, of_file, flags)


def _switched_off(parsed: dict[str, Any], of_file: dict[str, Any], flags: set[str]) -> dict[str, Any]:
    """Defaults of what the file sets beside another of its settings, where a flag gives that one another value."""
    names = [name for name in of_file if name in BESIDE and name not in flags and name != "freeze"]
    overridden = {name: value for name, value in of_file.items() if name in flags}
    try:
        now, before = (RunConfig.from_flat(parsed | over) for over in ({}, overridden))
    except (ConfigError, TypeError):  # told when the run is made; or a number of the file is written as text
        return {}
    off = [name for name in names if BESIDE[name].holds(before) and not BESIDE[name].holds(now)]
    defaults = {name: value for name, value in RunConfig.defaults().items() if name in off}
    for name in (name for name in off if parsed[name] != defaults[name]):
        say(f"{PROGRAM}: {name} of the file is left out: flags say otherwise than {BESIDE[name].said}", error=True)
    return defaults


def _of_moved_run(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run.yaml whose directory was moved or copied: what lay in it lies where run.yaml lies now. One
    that was copied alone, beside no checkpoint and no finished run, means its `output_dir`."""
    given, here = str(settings.get("output_dir", "")), path.parent
    holds_run = (here / MADE_WITH_FILE).is_file() or bool(list_checkpoints(here))
    if path.name != RUN_FILE or not given or not holds_run or here.resolve() == Path(given).resolve():
        return settings

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == given or value.startswith(given.rstrip("/") + "/")):
            return str(path.parent / Path(value).relative_to(given))
        return value

    return {name: moved(value) for name, value in settings.items()}
