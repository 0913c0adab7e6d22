"""What the commands do, from Python: `import weighted_mtp as wm`, with what lies on disk or is in memory.

What is in memory is named in the configuration, "<120 rows in memory>", and handed on beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, TrainerState

from weighted_mtp.data import load_rows
from weighted_mtp.data.exact_parquet import unfinished_shards
from weighted_mtp.evaluation import evaluate as evaluating
from weighted_mtp.evaluation.cross_fit import skill_of_scores
from weighted_mtp.evaluation.problems import EvaluationConfig, check_evaluation
from weighted_mtp.files import own_folder
from weighted_mtp.integrations.formats import write_format
from weighted_mtp.models import load_tokenizer
from weighted_mtp.python.given import (
    critic_of,
    held,
    less_noise,
    model_of,
    require_left_out,
    rows_of,
    scheme_of,
    tokenizer_of,
)
from weighted_mtp.training import run as training
from weighted_mtp.training import scoring
from weighted_mtp.training.config import RunConfig, settings_from
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.early_checks import check_run, check_score
from weighted_mtp.training.errors import ConfigError, require
from weighted_mtp.training.loading import InMemory
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.value_weighting import WeightingScheme

Place = str | PathLike[str]
Rows = Place | Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """What a training run left. It may be given wherever a path is taken."""

    path: Path
    """Its `output_dir`: the model, which plain transformers loads, its tokenizer, run.yaml and checkpoints."""
    metrics: dict[str, float]
    """The last value of everything that was logged, those of the evaluation as eval_...; empty where all was done."""

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__  # transformers asks for it so


def train(
    model: Any,
    rows: Rows,
    stage: str = "verifiable",
    scheme: str | WeightingScheme | None = None,
    critic: Place | Critic | None = None,
    tokenizer: Any = None,
    eval_rows: Rows | None = None,
    *,
    output_dir: Place,
    callbacks: Sequence[TrainerCallback] = (),
    resume: Place | None = None,
    resume_with_changes: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """`wmtp train STAGE`: the same settings, checks and directory, and the same numbers to the bit.

    Args:
        model: a path as in `model_name_or_path`; a loaded causal language model, which is wrapped and trained in
            place; or an `MTPModel`, whose heads are kept unless `n_future` says otherwise.
        rows: a path as in `train_file`, or rows: a list of dicts, a `datasets.Dataset`.
        stage: baseline, critic, verifiable or rho1.
        scheme: a name, package.module:Class, or a `WeightingScheme`; None: the stage's own.
        critic: of stage critic the kind that is trained; of verifiable a path, or what `load_critic` gave.
        tokenizer: a tokenizer, or where one lies; None: it lies where the model does, or was read.
        eval_rows: as `rows`.
        output_dir: where the run goes.
        callbacks: of transformers, beside those of the command.
        resume: "auto", or a checkpoint: goes on exactly, and is refused where settings, rows or model are others.
        resume_with_changes: goes on with others.
        quiet: no progress bar and no line per log entry.
        settings: those of the YAML files (`wmtp train STAGE --help`): learning_rate, max_steps, ...

    Raises:
        ValueError: a mistake, in one line: `ConfigError` of settings, `DataError` of rows, `CheckpointError` of
            `resume`.
        NonFiniteError: training stopped on a number that is NaN or infinite.
        KeyboardInterrupt: Ctrl-C, behind a checkpoint.
    """
    require_left_out(
        settings,
        model_name_or_path="model",
        train_file="rows",
        eval_file="eval_rows",
        tokenizer_name_or_path="tokenizer",
    )
    flat = settings_from(RunConfig.PARTS.values(), {**settings, "output_dir": output_dir})
    given: dict[str, Any] = {}
    flat["model_name_or_path"], given["model"] = model_of(model)
    if (n_future := getattr(model, "n_future", None)) is not None:
        flat.setdefault("n_future", n_future)
    flat["tokenizer_name_or_path"], given["tokenizer"] = tokenizer_of(tokenizer, given["model"])
    flat["train_file"], given["rows"] = rows_of("rows", rows)
    if eval_rows is not None:
        flat["eval_file"], given["eval_rows"] = rows_of("eval_rows", eval_rows)
    if critic is not None:
        flat["critic"], given["critic"] = critic_of(critic)
        if stage == "critic" and given["critic"] is not None:
            raise ConfigError("stage critic trains a critic: give its kind, value_head, generative or implicit")
    given["scheme"] = scheme_of(scheme, flat)
    config = RunConfig.from_flat({"stage": stage} | flat)
    resume = None if resume is None else fspath(resume)
    require(not resume_with_changes or bool(resume), "resume_with_changes goes with resume: give auto, or a checkpoint")
    check_run(config, resume, held(config.to_flat()))
    with less_noise():
        logged = _LastLogged()
        path = training.train(
            config,
            resume,
            with_changes=resume_with_changes,
            quiet=quiet,
            memory=InMemory(**given),
            callbacks=[*_several(callbacks), logged],
        )
    return Run(path, logged.metrics)


class _LastLogged(TrainerCallback):
    """Keeps the last value of every metric that was logged."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.metrics |= {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}


def _several(callbacks: Any) -> list[Any]:
    require(isinstance(callbacks, list | tuple | None), f"callbacks is {callbacks!r}: give a list of them")
    return list(callbacks or ())


def score(
    critic: Place | Critic,
    rows: Rows,
    *,
    scheme: str | WeightingScheme = "td",
    tokenizer: Any = None,
    out: Place | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Any:
    """`wmtp score`: values, TD errors and weights (and credit) of every row by a frozen critic.

    Args:
        critic: a path, or what `load_critic` gave.
        rows, scheme: as for `train`.
        tokenizer: of a critic in memory that was read nowhere.
        out: folder for the rows with their columns; an interrupted call goes on there.
        quiet: no progress bar, and with `cross_fit` no verdict on the critic and no advice.
        settings: those of the command (`wmtp score --help`).

    Returns:
        The rows with their columns as a list of dicts; with `out` the folder, which `rows` may name.
    """
    require_left_out(settings, data="rows")
    name, loaded = critic_of(critic)
    data, given_rows = rows_of("rows", rows)
    given: dict[str, Any] = {"critic": loaded, "rows": given_rows}
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory()) if out is None else out
        flat = settings_from([ScoreConfig], settings | {"critic": name, "data": data, "out": folder})
        given["scheme"] = scheme_of(scheme, flat)
        given["tokenizer"] = _loaded_tokenizer(tokenizer, loaded and loaded.model)
        config = ScoreConfig(**flat)
        check_score(config, held(flat))
        require(out is not None or config.format == "rows", f"format {config.format} is a file: give out=FOLDER")
        require(out is not None or not config.cross_fit, "cross_fit leaves skill.json in a folder: give out=FOLDER")
        stack.enter_context(less_noise())

        scoring.score(config, memory=InMemory(**given), quiet=quiet)
        if config.cross_fit:
            skill = skill_of_scores(config, given_rows, quiet=quiet)
            if skill is not None and not quiet:
                print("\n".join(skill.lines))
        if config.format != "rows" and not unfinished_shards(Path(config.out)):
            tokenizer = given["tokenizer"] or config.critic
            told = write_format(config.format, config.out, tokenizer, config.max_length, config.turns)
            if not quiet:
                print(told)
        return Path(config.out) if out is not None else load_rows(config.out, labelled=None)[0]


def evaluate(
    model: Any,
    problems: Rows,
    verifier: str,
    *,
    tokenizer: Any = None,
    out: Place | None = None,
    quiet: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """`wmtp evaluate`: exact match and pass@k of a model on problems with a verifier.

    Args:
        model: a path, a loaded causal language model, or an `MTPModel`; None where `samples` is a file.
        problems: a path, "humaneval", or rows with prompt and what the verifier reads, or of a known form.
        verifier: who judges, by name.
        tokenizer: as for `train`.
        out: folder of every completion and of results.json; a second call goes on there. None: nothing is kept.
        quiet: prints nothing.
        settings: those of the command (`wmtp evaluate --help`): samples, max_new_tokens, chat, ...

    Returns what results.json holds.
    """

    (name, loaded), (place, given) = (None, None) if model is None else model_of(model), rows_of("problems", problems)
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory()) if out is None else out
        flat = {**settings, "model": name, "problems": place, "verifier": verifier, "out": folder}
        config = EvaluationConfig(**settings_from([EvaluationConfig], flat))
        check_evaluation(config, given, loaded is not None)
        stack.enter_context(less_noise())

        stack.enter_context(own_folder(config.out) if out is not None else nullcontext())
        memory = InMemory(loaded, _loaded_tokenizer(tokenizer, loaded), given)
        return evaluating.evaluate(config, Console(quiet=quiet), memory)


def _loaded_tokenizer(tokenizer: Any, model: Any) -> Any:
    where, found = tokenizer_of(tokenizer, model)
    return found if where is None or found is not None else load_tokenizer(where)
