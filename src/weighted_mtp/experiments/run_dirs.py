"""What `wmtp inspect` is given: directories of finished runs, of a study or of a demo.

Nothing heavy is imported, so that a directory that is none of these is told at once.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weighted_mtp.training.checkpoints import MADE_WITH_FILE
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.early_checks import check_inputs
from weighted_mtp.training.settings import ConfigError

logger = logging.getLogger(__name__)

RESULTS_FILE = "results.json"


def check_dirs(dirs: Sequence[Path], moved: Mapping[str, str], on_page: bool) -> None:
    """Raises for what `wmtp inspect` would stumble over; studies and demos belong on a page.

    Raises:
        ConfigError: as `check_finished`, `by_kind` and `run_names`.
        DataError: the rows that a run was trained on are not as they were.
        ValueError: nor is a model that it reads.
    """
    runs = by_kind(dirs, moved)[0] if on_page else dirs
    run_names(runs)
    for run in runs:
        check_inputs(check_finished(run, moved).of_finished(run))


def check_finished(run_dir: Path, moved: Mapping[str, str] | None = None) -> RunConfig:
    """The configuration of a finished run, with what was moved since under its new path.

    Raises:
        ConfigError: there is no run, it has not ended, or what it read is not there any more.
    """
    saved = RunConfig.load(run_dir)
    if not (run_dir / "config.json").exists():
        raise ConfigError(
            f"{run_dir} holds no finished model: end the run first (wmtp train ... --resume auto)"
        )
    _tell_what_else_it_was_made_with(run_dir, saved)
    saved = RunConfig.from_flat(saved.to_flat() | dict(moved or {}))
    used = {"train_file": saved.data.train_file, "eval_file": saved.data.eval_file}
    used |= {"critic": saved.separate_critic, "reference": saved.of_finished(run_dir).reference.reference}
    for name, path in used.items():
        if path and not path.startswith(("hub:", "package:")) and not Path(path).exists():
            raise ConfigError(
                f"{run_dir} was trained with {name} {path}, which is not there (from this directory): say where it is "
                f"now with --{name}"
            )
    return saved


def _tell_what_else_it_was_made_with(run_dir: Path, saved: RunConfig) -> None:
    """A warning where run.yaml is that of a resume with changes which was killed, and the model older."""
    try:
        facts = json.loads((run_dir / MADE_WITH_FILE).read_text())["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    said = json.loads(json.dumps(saved.to_flat(), default=str))
    other = [
        f"{name} {facts[name]}, not {said[name]}"
        for name in said
        if facts.get(name, said[name]) != said[name]
    ]
    if other:
        logger.warning(
            "%s: the model was made with other settings than its run.yaml says: %s", run_dir, "; ".join(other)
        )


def by_kind(
    dirs: Sequence[Path], moved: Mapping[str, str] | None
) -> tuple[list[Path], dict[str, Any] | None]:
    """Run directories, and the results of the one that holds a study or a demo.

    Raises:
        ConfigError: a directory is none of these, or as `check_finished`.
    """
    runs: list[Path] = []
    results: list[dict[str, Any]] = []
    for folder in dirs:
        if (folder / RUN_FILE).is_file():
            check_finished(folder, moved)
            runs.append(folder)
        elif (folder / RESULTS_FILE).is_file():
            results.append(_read_results(folder / RESULTS_FILE))
        else:
            raise ConfigError(
                f"{folder} holds neither {RUN_FILE} nor {RESULTS_FILE}: give the output_dir of a finished `wmtp train`"
                " (of a demo or study the folder of one arm), or the --out of a finished `wmtp study` or `wmtp demo`"
            )
    if len(results) > 1:
        raise ConfigError(f"{len(results)} studies or demos were given: a page shows one of them, give one")
    return runs, results[0] if results else None


def _read_results(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text())
        known = isinstance(results["arms"], list) and "summary" in results["meta"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ConfigError(
            f"{path} is not what `wmtp study` or `wmtp demo` writes: give the --out of one of them"
        )
    return results


def run_names(dirs: Sequence[Path]) -> list[str]:
    """The last part of each directory, with as many parts before it as tell all of them apart.

    >>> run_names([Path("a/td"), Path("b/td")]), run_names([Path("a/td"), Path("a/rho1")])
    (['a/td', 'b/td'], ['td', 'rho1'])

    Raises:
        ConfigError: a directory was given twice.
    """
    parts = [folder.resolve().parts for folder in dirs]
    if len({*parts}) < len(parts):
        raise ConfigError(f"a run was given twice: {', '.join(map(str, dirs))}")
    length = 1
    while len({p[-length:] for p in parts}) < len(parts):
        length += 1
    return ["/".join(p[-length:]) for p in parts]
