"""Names to functions, nothing else. Torch is imported only when a command needs it, so `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace, set_parsing_settings

from weighted_mtp.cli_data import data
from weighted_mtp.cli_evaluate import evaluate
from weighted_mtp.cli_grammar import (
    PROGRAM,
    Parser,
    UsageError,
    answer,
    fail,
    moved,
    parse_config,
    train_parser,
    unknown,
)
from weighted_mtp.cli_inspect import inspect
from weighted_mtp.files import own_folder
from weighted_mtp.training.config import STAGES, RunConfig
from weighted_mtp.training.paths import expand_path, require_folder
from weighted_mtp.training.quiet import quiet_libraries
from weighted_mtp.training.score_config import ScoreConfig
from weighted_mtp.training.stage_table import STAGE_TABLE

COMMANDS = {
    "demo": "the main job, small, on made data: critic, arms, controls, a table and a page to look at",
    "train": "one stage: baseline, critic, verifiable or rho1",
    "score": "values, TD errors and weights of a data set by a critic, once and ahead",
    "data": "rows whose labels a program has verified, problems with tests, and splits by task",
    "evaluate": "exact match and pass@k of a model on problems with a verifier",
    "inspect": "completions of a run, every token coloured by its weight; with --page runs side by side",
    "generate": "completions of a prompt by a trained model",
}
MOVED = {"study": "python -m research.chains.study", "real-code": "python -m research.real_code"}
NOT_IN_CONFIG = ("config", "resume", "resume_with_changes")


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `wmtp`; returns the exit status."""
    return answer(_dispatch, arguments)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("weighted-mtp"))
        return 0
    command, *rest = words
    commands = {
        "demo": _demo,
        "data": data,
        "train": _train,
        "score": _score,
        "evaluate": evaluate,
        "inspect": inspect,
        "generate": _generate,
    }
    if command in MOVED:
        raise UsageError(moved(command, MOVED[command]))
    run = commands.get(command)
    if run is None:
        raise UsageError(unknown("command", command, COMMANDS))
    return run(rest)


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"usage: {PROGRAM} COMMAND [options]", "", "Token-level credit from verified completions.", ""]
    lines += [f"  {name:<{width}}{text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", f"{PROGRAM} COMMAND --help explains one."])


# wmtp train


def _train(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, STAGES)) + 2
        print(
            f"usage: {PROGRAM} train STAGE --config FILE [--KEY VALUE ...] "
            "[--resume auto|PATH [--resume_with_changes]]\n"
        )
        print("\n".join(f"  {stage:<{width}}{row.help}" for stage, row in STAGE_TABLE.items()))
        print(f"\n{PROGRAM} train STAGE --help lists every setting. Flags override the file.")
        return 0
    stage, *rest = words
    if stage not in STAGES:
        raise UsageError(unknown("stage", stage, STAGES))
    parsed = parse_config(train_parser(stage), rest)
    if parsed["stage"] != stage:
        raise UsageError(f"the configuration is of stage {parsed['stage']}: use `{PROGRAM} train {parsed['stage']}`")
    config = RunConfig.from_flat({key: value for key, value in parsed.items() if key not in NOT_IN_CONFIG})
    resume = parsed["resume"] and expand_path("--resume", parsed["resume"])
    with_changes = parsed["resume_with_changes"]
    if with_changes and not resume:
        raise UsageError("--resume_with_changes goes with --resume: add --resume auto, or the path of a checkpoint")
    from weighted_mtp.training.early_checks import check_run

    check_run(config, resume)
    quiet_libraries()
    from weighted_mtp.training.run import Interrupted, NonFiniteError, train

    try:
        output_dir = train(config, resume=resume, with_changes=with_changes)
    except Interrupted as stop:
        print(f"{PROGRAM}: {stop}", file=sys.stderr)
        return 130
    except NonFiniteError as error:
        return fail(str(error), status=1)
    if os.environ.get("RANK", "0") == "0":
        print(f"saved in {output_dir}; look at its tokens with: {PROGRAM} inspect {output_dir}")
    return 0


# wmtp demo, score, generate


def _demo(words: list[str]) -> int:
    parser = Parser(prog=f"{PROGRAM} demo", description=COMMANDS["demo"])
    parser.add_argument("--out", type=str, default="demo", help="Output directory; finished arms there are kept.")
    parser.add_argument("--seeds", type=int, default=3, help="Draws of data, initialisation and batch order.")
    parsed = Namespace(**parser.parse(words))
    if parsed.seeds < 1:
        raise UsageError(f"--seeds is {parsed.seeds}: give at least 1 (intervals need 2)")
    out = _out_folder(parsed.out)
    quiet_libraries()
    from weighted_mtp.experiments.demo import run_demo
    from weighted_mtp.training.run import Interrupted

    try:
        with own_folder(out):
            run_demo(out, parsed.seeds)
    except Interrupted:
        print(f"{PROGRAM}: stopped; the same command goes on with the unfinished arms", file=sys.stderr)
        return 130
    return 0


def _out_folder(given: str) -> Path:
    """Where a command of many runs writes, known to be possible."""
    out = expand_path("--out", given)
    require_folder("--out", out)
    return Path(out)


def _score(words: list[str]) -> int:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(prog=f"{PROGRAM} score", description=COMMANDS["score"])
    parser.add_class_arguments(ScoreConfig)
    config = ScoreConfig(**parser.parse(words))
    from weighted_mtp.training.early_checks import check_score

    check_score(config)
    quiet_libraries()
    from weighted_mtp.training.scoring import score

    print(score(config).summary())
    _print_quality(config)
    print(f"train on them with: {PROGRAM} train baseline --scheme column --train_file {config.out} ...")
    return 0


def _print_quality(config: ScoreConfig) -> None:
    """How good the critic is, once all shards are there."""
    from rich.console import Console

    from weighted_mtp.data.scored import unfinished_shards
    from weighted_mtp.experiments.critic_checks import quality_of_scores
    from weighted_mtp.reports.critic_quality import print_critic_quality

    if unfinished_shards(Path(config.out)):
        return
    quality, known = quality_of_scores(config.out, config.critic, config.gamma)
    print_critic_quality(Console(), quality.as_dict(), errors_known=known)


def _generate(words: list[str]) -> int:
    parser = Parser(prog=f"{PROGRAM} generate", description=COMMANDS["generate"])
    parser.add_argument("model", type=str, help="A directory saved by wmtp train, or any model path.")
    parser.add_argument("--prompt", type=str | None, default=None, help="Text to complete.")
    parser.add_argument("--chat", action="store_true", help="--prompt is what a user says to a chat model.")
    parser.add_argument(
        "--messages", type=str | None, default=None, metavar="FILE",
        help="In place of --prompt: JSON, a list of messages, or an object with messages and tools.",
    )  # fmt: skip
    parser.add_argument("--max_new_tokens", type=int, default=128, help="Tokens at most.")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy; above it samples.")
    parser.add_argument("--label", choices=["right", "wrong"], default=None, help="What a generative critic is told.")
    parsed = Namespace(**parser.parse(words))
    prompt, tools = _asked(parsed)
    if parsed.max_new_tokens < 1:
        raise UsageError(f"--max_new_tokens is {parsed.max_new_tokens}: give at least 1")
    if not 0 <= parsed.temperature < float("inf"):
        raise UsageError(f"--temperature is {parsed.temperature}: give 0 (greedy) or a number above it")
    model = expand_path("model", parsed.model)
    from weighted_mtp.models import sources

    sources.require(model)
    quiet_libraries()
    from weighted_mtp.experiments.generate import generate_text

    limits = parsed.max_new_tokens, parsed.temperature, parsed.label
    print(generate_text(model, prompt, *limits, tools, lambda line: print(line, file=sys.stderr)))
    return 0


def _asked(parsed: Namespace) -> tuple[str | list[dict[str, Any]], Any]:
    """The prompt of `wmtp generate`, and its tools."""
    if (parsed.prompt is None) == (parsed.messages is None):
        raise UsageError("give a prompt, and one of them: --prompt TEXT or --messages FILE")
    if parsed.messages is not None and parsed.chat:
        raise UsageError("--chat is for --prompt: what --messages holds is a chat already")
    if parsed.messages is not None:
        from weighted_mtp.data.chat_files import read_chat

        return read_chat(expand_path("--messages", parsed.messages))
    return ([{"role": "user", "content": parsed.prompt}] if parsed.chat else parsed.prompt), None


if __name__ == "__main__":
    sys.exit(main())
