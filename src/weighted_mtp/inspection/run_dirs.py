"""What `wmtp inspect` is given: directories of finished runs; told without importing anything heavy where they are
none."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from weighted_mtp.training.checkpoints import MADE_WITH_FILE
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.early_checks import check_inputs
from weighted_mtp.training.errors import ConfigError, in_memory

logger = logging.getLogger(__name__)

RESULTS_FILE, PAGE_FILE = "results.json", "report.html"


def check_dirs(dirs: Sequence[Path], moved: Mapping[str, str]) -> None:
    """Raises for what `wmtp inspect` would stumble over: no run, or one whose rows or models are not as they were."""
    for run in dirs:
        _refuse_results(run)
    run_names(dirs)
    for run in dirs:
        check_inputs(check_finished(run, moved).of_finished(run))


def check_finished(run_dir: Path, moved: Mapping[str, str] | None = None) -> RunConfig:
    """The configuration of a finished run, with what was moved since under its new path; ConfigError without one."""
    saved = RunConfig.load(run_dir)
    if not (run_dir / "config.json").exists():
        raise ConfigError(f"{run_dir} holds no finished model: end the run first (wmtp train ... --resume auto)")
    _tell_what_else_it_was_made_with(run_dir, saved)
    saved = RunConfig.from_flat(saved.to_flat() | dict(moved or {}))
    used = {"train_file": saved.data.train_file, "eval_file": saved.data.eval_file}
    used |= {"critic": saved.separate_critic, "reference": saved.of_finished(run_dir).reference.reference}
    for name, value in (used | {"scheme": saved.scheme}).items():
        if in_memory(value):
            advice = "give one that can be imported" if name == "scheme" else f"say where it lies now with --{name}"
            raise ConfigError(f"{run_dir} was trained with {name} {value}, which cannot be read again: {advice}")
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
    other = [f"{name} {facts[name]}, not {said[name]}" for name in said if facts.get(name, said[name]) != said[name]]
    if other:
        logger.warning(
            "%s: the model was made with other settings than its run.yaml says: %s", run_dir, "; ".join(other)
        )


def _refuse_results(folder: Path) -> None:
    """Raises for the --out of a command that makes many runs, or none: its results are shown elsewhere."""
    if (folder / RUN_FILE).is_file() or not (folder / RESULTS_FILE).is_file():
        return
    shown = (
        f"look at {folder / PAGE_FILE}, or name the folder of one run in it"
        if (folder / PAGE_FILE).is_file()
        else "call what wrote them again with this --out (wmtp evaluate, python -m research.real_code)"
    )
    raise ConfigError(f"{folder} holds results ({RESULTS_FILE}) and no run: {shown}")


def run_names(dirs: Sequence[Path]) -> list[str]:
    """The last part of each directory, with as many parts before it as tell all of them apart.

    >>> run_names([Path("a/td"), Path("b/td")]), run_names([Path("a/td"), Path("a/rho1")])
    (['a/td', 'b/td'], ['td', 'rho1'])
    """
    parts = [folder.resolve().parts for folder in dirs]
    if len({*parts}) < len(parts):
        raise ConfigError(f"a run was given twice: {', '.join(map(str, dirs))}")
    length = 1
    while len({p[-length:] for p in parts}) < len(parts):
        length += 1
    return ["/".join(p[-length:]) for p in parts]
