"""The command line's grammar: flags and files into settings, and one line for a mistake."""

import difflib
import json
import os
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from weighted_mtp.cli_yaml import read_flags_alike, read_settings
from weighted_mtp.training.checkpoints import MADE_WITH_FILE, list_checkpoints
from weighted_mtp.training.config import CHANGES_KEY, RUN_FILE, RunConfig
from weighted_mtp.training.paths import expand_path
from weighted_mtp.training.stage_table import STAGE_TABLE

PROGRAM = "wmtp"


class UsageError(Exception):
    """A mistake on the command line."""


def answer(run: Callable[[list[str]], int], arguments: list[str] | None, program: str = PROGRAM) -> int:
    """Runs a command on its words; returns the exit status: of a user's mistake 2, after one line.

    Args:
        run: the command; returns its exit status.
        arguments: its words; None: those that this process was called with.
        program: what its lines begin with.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return run(words)
    except UsageError as error:
        return fail(str(error), program=program)
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("WMTP_DEBUG") or not _is_user_mistake(error):
            raise
        return fail(shorten(str(error)), program=program)


def _is_user_mistake(error: Exception) -> bool:
    """Our own errors are ValueErrors (ConfigError, DataError, CheckpointError, ...); files raise OSError."""
    return isinstance(error, ValueError | OSError)


def fail(message: str, status: int = 2, program: str = PROGRAM) -> int:
    """Says what is wrong, and gives the exit status."""
    print(f"{program}: error: {message}", file=sys.stderr)
    return status


class Parser(ArgumentParser):
    """A parser that gives one line for a mistake, with the nearest key, and exits with 2."""

    def __init__(self, **options: Any) -> None:
        read_flags_alike()
        super().__init__(**options)

    def parse(self, words: list[str]) -> dict[str, Any]:
        """The settings that these words give, under their names.

        Raises:
            UsageError: a flag that is no setting, a value of another kind, a missing one.
        """
        flags = (name for action in self._actions for name in action.option_strings)
        check_flags(words, [name[2:] for name in flags if re.fullmatch(r"--(?!help|print_)\w+", name)])
        try:
            parsed = self.parse_args(words)
        except RecursionError:
            raise UsageError("a value on the command line is nested too deeply to be read") from None
        assert isinstance(parsed, Namespace)
        return dict(parsed.as_dict())

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing usage."""
        raise UsageError(_about_value(message) or _about_words(message, self.args or []) or shorten(message))


def shorten(message: str) -> str:
    """One line of at most 500 characters."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines)[:500]


_KEY = re.compile(r'Parser key "([\w.]+)":\s')
_GIVEN = re.compile(r"Given value: (.*)|Got value: (.*)")
_NESTED = re.compile(r"NestedArg\(key='(.*?)', val='?(.*?)'?\)")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list, as [1,2]",
    "dict": "a mapping, as {a: 1}",
    "NoneType": "null",
}


def _about_value(message: str) -> str | None:
    """jsonargparse's complaint about a value, in our words; None where it is about something else."""
    key = _KEY.search(message)
    given = list(_GIVEN.finditer(message))  # of a union the last one is the whole value
    if key is None or not given:
        return None
    name, value = key[1], (given[-1][1] or given[-1][2]).strip()
    nested = _NESTED.fullmatch(value)
    if nested:
        name, value = f"{name}.{nested[1]}", nested[2]
    of_union = re.search(r"Subtypes: \[(.*)\]", message)
    expected = of_union[1] if of_union else message[: given[0].start()]
    wanted = dict.fromkeys(re.findall(r"'([^']*)'", " ".join(re.findall(r"Literal\[(.*?)\]", expected))))
    for kind in re.findall(r"<class '(\w+)'>|\b(list|dict)\[", expected):
        wanted[_KINDS.get(kind[0] or kind[1], kind[0])] = None
    return f"--{name} {shorten(value)[:200]}: give {' or '.join(wanted)}" if wanted else None


def _about_words(message: str, words: list[str]) -> str | None:
    """argparse's complaints about the words themselves, in ours."""
    flag = re.fullmatch(r"argument (--\w+): expected (?:one|at least one) argument", message)
    if flag is None:
        return None
    minus = any(re.match(r"-[\d.]", word) for word in words)
    return f"{flag[1]} needs a value" + (f"; write a negative one as {flag[1]}=-1" if minus else "")


def moved(command: str, now: str) -> str:
    """Where a command went that is not in the package any more."""
    return f"`{PROGRAM} {command}` is `{now}` now, in a clone of the repository"


def unknown(kind: str, given: str, known: Any) -> str:
    """A mistyped name, with those that are near: spelled alike, of these initials, or with this as a part.

    >>> unknown("setting", "lr", ["learning_rate", "lora_rank", "seed"])
    "unknown setting 'lr': did you mean learning_rate or lora_rank?"
    """
    near = difflib.get_close_matches(given, list(known), n=1)
    if not near:
        initials = {name: "".join(part[0] for part in name.split("_") if part) for name in known}
        near = [name for name in known if initials[name] == given or (len(given) > 2 and given in name)][:3]
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    return f"unknown {kind} {given!r}: {hint}"


def train_parser(stage: str) -> Parser:
    """Every setting of a run as a flag."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # a setting's line of doc is its help
    program = f"{PROGRAM} train {stage}"
    usage = f"{program} --config FILE [--KEY VALUE ...] [--resume auto|PATH [--resume_with_changes]]"
    parser = Parser(prog=program, usage=usage, description=STAGE_TABLE[stage].help)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below.")
    parser.add_argument("--resume", type=str | None, default=None, help="auto, or the path of a checkpoint.")
    parser.add_argument(
        "--resume_with_changes",
        action="store_true",
        help="With --resume: go on with other settings, rows or models than the checkpoint's; run.yaml says which.",
    )
    parser.add_argument("--stage", type=str, default=stage, help=SUPPRESS)  # a run.yaml names its stage
    for part in RunConfig.PARTS.values():
        parser.add_class_arguments(part)
    return parser


def parse_config(parser: Parser, words: list[str]) -> dict[str, Any]:
    """Flags over the file over defaults, under their flat names; wherever `--config` stands."""
    path, flags = _take_config(words)
    if path is None:
        return parser.parse(flags)
    # Read by us, because the parser's own reading lets doubled keys pass; checked by the parser like flags.
    settings = _checked(path, read_settings(path))
    if "--resume=auto" in flags or ("--resume", "auto") in pairwise(flags):
        settings = _of_moved_run(Path(path), settings)
    content = json.dumps(settings, ensure_ascii=False)
    return parser.parse(["--config", content, *flags])


def _of_moved_run(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run.yaml whose directory was moved or copied: what lay in it lies where run.yaml lies now.

    One that was copied alone lies beside no checkpoint and no finished run, and means its `output_dir`.
    """
    given, here = str(settings.get("output_dir", "")), path.parent
    holds_run = (here / MADE_WITH_FILE).is_file() or bool(list_checkpoints(here))
    if path.name != RUN_FILE or not given or not holds_run or here.resolve() == Path(given).resolve():
        return settings

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == given or value.startswith(given.rstrip("/") + "/")):
            return str(path.parent / Path(value).relative_to(given))
        return value

    return {name: moved(value) for name, value in settings.items()}


def check_flags(words: list[str], known: list[str]) -> None:
    """Raises for a flag that is no setting."""
    for word in words:
        if word == "--":
            raise UsageError("-- is no flag: leave it out, and write a value that begins with a minus as --KEY=-1")
        if word.startswith("--") and word != "--help":
            name = word[2:].split("=")[0].split(".")[0].rstrip("+")
            if name not in known and not name.startswith("print_"):
                raise UsageError(unknown("setting", name, known))


def _take_config(words: list[str]) -> tuple[str | None, list[str]]:
    """The file that `--config` names, and the other words."""
    paths, others, given = [], [], iter(words)
    for word in given:
        if word == "--config":
            paths.append(next(given, None))
        elif word.startswith("--config="):
            paths.append(word.partition("=")[2])
        else:
            others.append(word)
    if len(paths) > 1:
        raise UsageError(f"--config is given {len(paths)} times: give one file, and flags for what differs")
    if paths == [None]:
        raise UsageError("--config needs a value")
    return (expand_path("--config", paths[0]) if paths else None), others


def _checked(path: str, settings: dict[Any, Any]) -> dict[str, Any]:
    """What the file holds, without what stands empty and may."""
    kinds = {name: kind for part in RunConfig.PARTS.values() for name, kind in get_type_hints(part).items()}
    known = ["resume", "stage", *kinds]
    settings = {key: value for key, value in settings.items() if key != CHANGES_KEY}  # a history, of a run.yaml
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"--config {path}: {unknown('setting', str(key), known)}")
        if value is None and key != "resume" and type(None) not in get_args(kinds.get(key)):
            raise UsageError(f"--config {path}: {key} is empty: give a value, or remove the line")
    return {key: value for key, value in settings.items() if value is not None}
