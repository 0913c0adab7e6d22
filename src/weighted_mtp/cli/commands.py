"""The commands of `wmtp`, one row each: its line of help, its settings, and what it runs. What a command needs is
imported when it is called, so that `--help` answers at once and a mistake is told before torch is there."""

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from weighted_mtp.cli import convert, rows
from weighted_mtp.cli.grammar import PROGRAM, Parser, fail, parse_over_file
from weighted_mtp.cli.rows import console
from weighted_mtp.cli.score import score
from weighted_mtp.files import own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.terminal import printable, say, status_of
from weighted_mtp.training.errors import require_file, require_folder
from weighted_mtp.value_weighting.registry import PATHS
from weighted_mtp.verifiers.table import VERIFIERS


class Command(NamedTuple):
    """A command whose settings are a dataclass."""

    help: str
    """What it is for, in a line."""
    settings: str
    """module:Class of the settings, which are its flags."""
    run: Callable[[Any], int | None]
    """Gets the settings, does the work and prints what came of it; returns the exit status where that is not 0."""
    words: Mapping[str, str] = {}
    """Settings that are given as words and not as flags, with their lines of help."""
    bare: Mapping[str, str] = {}
    """What a flag without a value means."""
    goes_on: str = ""
    """With what the same command goes on after Ctrl-C, SIGTERM or SIGHUP."""
    file: str = ""
    """Where settings may stand in a file, `--config`: its line of help."""

    def answer(self, name: str, words: list[str]) -> int:
        """Runs it on its words; returns the exit status."""
        module, _, class_name = self.settings.partition(":")
        settings = getattr(import_module(f"weighted_mtp.{module}"), class_name)
        parser = Parser(prog=f"{PROGRAM} {name}", description=self.help)
        kinds = {field.name: field.type for field in fields(settings)}
        for word, line in self.words.items():
            many = {list[str]: "+", str | None: "?"}.get(kinds[word])
            parser.add_argument(word, type=str, nargs=many, help=line)
        if self.file:
            parser.add_argument("--config", action="config", help=self.file)
        parser.add_class_arguments(settings, skip=set(self.words))
        parser.name_choices(scheme=PATHS, verifier=VERIFIERS)
        parsed = parse_over_file(parser, words, [settings]) if self.file else parser.parse(words, self.bare)
        try:
            return self.run(settings(**{name: value for name, value in parsed.items() if name != "config"})) or 0
        except KeyboardInterrupt as stop:
            say(f"{PROGRAM}: stopped{self.goes_on and f'; the same command goes on {self.goes_on}'}", error=True)
            return status_of(stop)


def _demo(settings: Any) -> None:
    require_folder("--out", settings.out)
    quiet_libraries()
    from weighted_mtp.demo.main import run_demo

    with own_folder(settings.out):
        run_demo(Path(settings.out), settings.seeds)


def _evaluate(settings: Any) -> None:
    from weighted_mtp.evaluation.problems import check_evaluation

    check_evaluation(settings)
    quiet_libraries()
    from weighted_mtp.evaluation.evaluate import RESULTS, SAMPLES, evaluate

    shown, out = console(), Path(settings.out)
    with own_folder(out):
        evaluate(settings, shown)
    shown.print(f"every completion: {out / SAMPLES}; numbers: {out / RESULTS}", soft_wrap=True, markup=False)


def _improve(settings: Any) -> int:
    from weighted_mtp.improve.settings import check_improve

    problems, held_out = check_improve(settings)
    from weighted_mtp.improve.run import PAGE, improve, show_plan
    from weighted_mtp.improve.steps import StepFailedError

    if settings.dry_run:
        show_plan(settings, problems, held_out, console())
        return 0
    quiet_libraries()
    with own_folder(settings.out):
        try:
            say(improve(settings, problems, held_out, console()))
        except StepFailedError as error:
            return fail(str(error), status=1)
    say(f"look at {Path(settings.out) / PAGE}")
    return 0


def _inspect(settings: Any) -> None:
    from weighted_mtp.inspection.run_dirs import check_dirs

    dirs, moved = [Path(run) for run in settings.run], settings.moved()
    logging.disable(logging.WARNING)  # what is odd about a run is said when it is read
    try:
        check_dirs(dirs, moved)
    finally:
        logging.disable(logging.NOTSET)
    page = Path(settings.page) if settings.page else dirs[0] / "page.html"
    if settings.on_page:
        require_file("--page", page)
    quiet_libraries()
    rows, count, label = settings.rows, settings.count, settings.label
    if not settings.on_page:
        from weighted_mtp.inspection.finished_run import inspect_run

        inspect_run(dirs[0], rows, count or 4, label, console(), moved)
        return
    from weighted_mtp.inspection.side_by_side import Selection, inspect_on_page
    from weighted_mtp.reports.layout import page_server

    selection = Selection(rows, count or 24, label)
    write = partial(inspect_on_page, dirs, page, selection, settings.judged_rows, console(stderr=True), moved)
    if not settings.serve:
        say(f"look at {write()}")
        return
    with page_server(page, settings.port or 0) as server:  # a port that cannot be had is told before the page is made
        say(f"{write()} is at http://127.0.0.1:{server.server_port}/ until Ctrl-C")
        server.serve_forever()


def _generate(settings: Any) -> None:
    from weighted_mtp.data.sources import read_chat
    from weighted_mtp.models import sources

    prompt, tools = settings.prompt, None
    if settings.messages is not None:
        prompt, tools = read_chat(settings.messages)
    elif settings.chat:
        prompt = [{"role": "user", "content": prompt}]
    sources.require(settings.model)
    quiet_libraries()
    from weighted_mtp.evaluation.decoding import generate_text

    limits = settings.max_new_tokens, settings.temperature, settings.label, settings.guidance
    tell = partial(say, error=True)
    text = generate_text(settings.model, prompt, *limits, tools, tell, settings.drafts)
    print(printable(text) if sys.stdout.isatty() else text)


_MODEL = {"model": "A directory saved by wmtp train, or any model path."}
_DIRECTORY = {"directory": "As MODEL of generate."}
_MISSING = "with the rows that are missing"
COMMANDS = {
    "demo": Command(
        "the main job, small, on made data: critic, arms, controls, a table and a page to look at",
        "cli.settings:DemoSettings",
        _demo,
        goes_on="with the unfinished arms",
    ),
    "score": Command(
        "values, TD errors and weights of a data set by a critic, once and ahead",
        "training.score_settings:ScoreConfig",
        score,
        goes_on="with what is missing",
    ),
    "data verify": Command(
        "label completions by a verifier", "cli.settings:VerifySettings", rows.verify, goes_on=_MISSING
    ),
    "data mutants": Command(
        "right and wrong completions, by mutating reference solutions that have tests",
        "labelling.mutants.references:MutantsConfig",
        rows.mutants,
        goes_on=_MISSING,
    ),
    "data reasoning-gym": Command(
        "prompts of procedural tasks, with verified completions",
        "labelling.reasoning_gym.rows:ReasoningGymConfig",
        rows.reasoning_gym,
        goes_on=_MISSING,
    ),
    "data split": Command(
        "training and test files by task, near-duplicates on one side", "labelling.split:SplitConfig", rows.split
    ),
    "sample": Command(
        "rows from prompts: what a model writes, in a directory or behind a server, and a verdict on each",
        "sampling.settings:SampleConfig",
        rows.sample,
        {"model": "A directory, or http(s)://HOST/v1 of a server that speaks OpenAI's protocol."},
        goes_on="where it stopped",
    ),
    "evaluate": Command(
        "exact match and pass@k of a model on problems with a verifier",
        "evaluation.problems:EvaluationConfig",
        _evaluate,
        {"model": "As of generate; none where --samples is a file."},
        goes_on="where it stopped",
    ),
    "improve": Command(
        "rounds of sample, verify, credit, train and evaluate, and a page of them side by side",
        "improve.settings:ImproveConfig",
        _improve,
        goes_on="with the step that was stopped",
        file="YAML file of the settings below, or one that comes with the package: improve/tiny.yaml.",
    ),
    "inspect": Command(
        "completions of a run, every token coloured by its weight; with --page runs side by side on one HTML page",
        "cli.settings:InspectSettings",
        _inspect,
        {"run": "output_dir of a finished wmtp train; with --page several."},
        bare={"page": ""},
    ),
    "generate": Command(
        "completions of a prompt by a trained model", "cli.settings:GenerateSettings", _generate, _MODEL
    ),
    "convert meta": Command(
        "a checkpoint of Meta's multi-token models into a directory that every command reads",
        "cli.settings:ConvertSettings",
        partial(convert.meta, "from_meta"),
        {"directory": "With params.json, consolidated.pth or consolidated.00.pth, ..., and tokenizer.model."},
    ),
    "convert to-meta": Command(
        "the way back: a trained Llama as params.json and consolidated.00.pth",
        "cli.settings:ConvertSettings",
        partial(convert.meta, "to_meta"),
        {"directory": "A directory saved by wmtp train or wmtp convert meta, or a plain Llama."},
    ),
    "convert export": Command(
        "a model anew, with a model card: the layout of now, another precision, files of another size",
        "cli.settings:ExportSettings",
        partial(convert.export, "export"),
        _DIRECTORY,
    ),
    "convert add-heads": Command(
        "a model with fresh heads for further tokens, or for values",
        "cli.settings:AddHeadsSettings",
        partial(convert.export, "add_heads"),
        _DIRECTORY,
    ),
    "convert drop-heads": Command(
        "the decoder alone, without what lies beside it",
        "cli.settings:DropHeadsSettings",
        partial(convert.export, "drop_heads"),
        _DIRECTORY,
    ),
    "convert eagle": Command(
        "the head of a model trained with heads: eagle as a draft model for vLLM and SGLang",
        "cli.settings:DropHeadsSettings",
        partial(convert.export, "eagle"),
        _DIRECTORY,
    ),
}
