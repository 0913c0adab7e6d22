"""The command line's grammar: flags and files into settings, and one line for a mistake."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from weighted_mtp.cli.settings_files import read_flags_alike, read_settings
from weighted_mtp.files import FULL_DISK
from weighted_mtp.terminal import say, status_of, stoppable
from weighted_mtp.training.errors import expand_path
from weighted_mtp.training.trainer_fields import unknown_setting

PROGRAM = "wmtp"


class UsageError(ValueError):
    """A mistake on the command line."""


def answer(run: Callable[[list[str]], int], arguments: list[str] | None, program: str = PROGRAM) -> int:
    """Runs a command on its words (None: those of this process); returns the exit status: of a user's mistake 2, after
    one line that begins with the program. Our own errors are ValueErrors, files raise OSError. A full disk or memory is
    nobody's mistake: 1. A signal: 128 and its number."""
    try:
        with stoppable():
            return run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt as stop:
        say(f"{program}: {str(stop) or 'stopped'}", error=True)
        return status_of(stop)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if os.environ.get("WMTP_DEBUG") or (isinstance(error, RuntimeError) and not _of_memory(error)):
            raise
        if isinstance(error, MemoryError | RuntimeError):
            asked = re.search(r"[Tt]ried to allocate [\d.]+ \w+", str(error))
            what = f" ({asked[0].lower()})" if asked else ""
            return fail(f"not enough memory{what}: take smaller batches, shorter rows or a smaller model", 1, program)
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            full = f"no space left on device, where {error.filename or 'its files'} was to be written"
            then = getattr(error, "__notes__", ["what is there is whole; make room, and the same command goes on"])
            return fail(f"{full}: {then[0]}", 1, program)
        return fail(shorten(str(error)), program=program)


def fail(message: str, status: int = 2, program: str = PROGRAM) -> int:
    """Says what is wrong, and gives the exit status."""
    say(f"{program}: error: {message}", error=True)
    return status


def _of_memory(error: RuntimeError) -> bool:
    """Whether torch, or its allocator of CPUs or GPUs, has no room for a tensor."""
    return bool(re.search("out of memory|allocate memory|size calculation overflowed", str(error)))


class Parser(ArgumentParser):
    """A parser that gives one line for a mistake, with the nearest key, and exits with 2."""

    def __init__(self, **options: Any) -> None:
        read_flags_alike()
        set_parsing_settings(docstring_parse_attribute_docstrings=True)  # a setting's line of doc is its help
        super().__init__(**options)

    def parse(self, words: list[str], bare: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The settings that these words give, under their names; `bare` says what a flag without a value means.
        UsageError: a flag that is no setting, a value of another kind, a missing one."""
        words = self._with_values(words, bare or {})
        flags = (name for action in self._actions for name in action.option_strings)
        check_flags(words, [name[2:] for name in flags if re.fullmatch(r"--(?!help|print_(?!config))\w+", name)])
        try:
            parsed = self.parse_args(words)
        except RecursionError:
            raise UsageError("a value on the command line is nested too deeply to be read") from None
        except OverflowError:
            raise UsageError("a number on the command line or in the file is too large: give one below 1e308") from None
        assert isinstance(parsed, Namespace)
        return dict(parsed.as_dict())

    def name_choices(self, **tables: Iterable[str]) -> None:
        """Adds the names of a table to the help of the setting that chooses among them."""
        for action in self._actions:
            if tables.get(action.dest):
                action.help = f"{action.help} Names: {', '.join(tables[action.dest])}."

    def _with_values(self, words: list[str], bare: Mapping[str, str]) -> list[str]:
        """The words, with a value behind the bare flags that have a meaning, as those of true or false."""
        meanings = {a.dest: "true" for a in self._actions if getattr(a, "_typehint", None) is bool} | dict(bare)
        meant = {f"--{name}": value for name, value in meanings.items()}
        following = zip_longest(words, words[1:], fillvalue="--")
        return [
            f"{word}={meant[word]}" if word in meant and after.startswith("--") else word for word, after in following
        ]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing usage."""
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            raise UsageError(self._needed(missing.split(", ")))
        raise UsageError(_about_value(message) or _about_words(message, self.args or []) or shorten(message))

    def _needed(self, missing: list[str]) -> str:
        """What was not given, as it would be written."""
        flags = {action.dest for action in self._actions if action.option_strings}
        names = [f"--{name}" if name in flags else name.upper() for name in missing]
        return f"needed {'is' if len(names) == 1 else 'are'} {', '.join(names)}: `{self.prog} --help` explains"


def parse_over_file(
    parser: Parser,
    words: list[str],
    parts: Iterable[type],
    also: tuple[str, ...] = (),
    prepare: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda path, settings: settings,
) -> dict[str, Any]:
    """Flags over the file that `--config` names, wherever it stands, over defaults. `parts` are the dataclasses of the
    settings, `also` what else may stand in the file; `prepare` returns what is taken of it."""
    path, flags = _take_config(words)
    if path is None:
        return parser.parse(flags)
    # Read by us, because the parser's own reading lets doubled keys pass; checked by the parser like flags.
    kinds = {name: kind for part in parts for name, kind in get_type_hints(part).items()}
    settings = _checked(path, prepare(path, read_settings(path)), kinds, also)
    return parser.parse(["--config", json.dumps(settings, ensure_ascii=False), *flags])


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


def _checked(path: str, settings: dict[Any, Any], kinds: Mapping[str, Any], also: tuple[str, ...]) -> dict[str, Any]:
    """What the file holds, without what stands empty and may."""
    known = [*also, *kinds]
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"--config {path}: {unknown_setting(str(key), known)}")
        if value is None and key != "resume" and type(None) not in get_args(kinds.get(key)):
            raise UsageError(f"--config {path}: {key} is empty: give a value, or remove the line")
    return {key: value for key, value in settings.items() if value is not None}


def shorten(message: str) -> str:
    """One line of at most 500 characters."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines)[:500]


_KEY = re.compile(r'Parser key "([\w.]+)":\s')
_GIVEN = re.compile(r"Given value: (.*)|Got value: (.*)")
_NESTED = re.compile(r"NestedArg\(key='(.*?)', val='?(.*?)'?\)")
_KINDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "list": "a list, as [1,2]",
    "dict": "a mapping, as {a: 1}", "NoneType": "null",
}  # fmt: skip


def _about_value(message: str) -> str | None:
    """jsonargparse's complaint about a value, in our words; None where it is about something else."""
    key = _KEY.search(message)
    if key is not None and "integer string conversion" in message:
        return f"--{key[1]} has thousands of digits: give a number below 2**63, about 9e18"
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
    if (texts := _KINDS["list"]) in wanted and "list[str]" in expected:
        names = value if re.fullmatch(r"\w[\w.]*(,\w[\w.]*)*", value) else "a,b"
        wanted = dict.fromkeys(texts.replace("1,2", names) if what == texts else what for what in wanted)
    given_as = f"--{name} {shorten(value)[:200]}" if value else f"--{name} is empty"
    return f"{given_as}: give {' or '.join(wanted)}" if wanted else None


def _about_words(message: str, words: list[str]) -> str | None:
    """argparse's complaints about the words themselves, in ours."""
    if message.startswith("unrecognized arguments: "):
        return f"{message.partition(': ')[2]} belongs to no setting: write --KEY VALUE"
    flag = re.fullmatch(r"argument (--\w+): expected (?:one|at least one) argument", message)
    if flag is None:
        return None
    minus = any(re.match(r"-[\d.]", word) for word in words)
    return f"{flag[1]} needs a value" + (f"; write a negative one as {flag[1]}=-1" if minus else "")


def check_flags(words: list[str], known: list[str]) -> None:
    """Raises for a flag that is no setting; says of one that stands there twice which of its values counts."""
    given = Counter(word.split("=")[0] for word in words if word.startswith("--"))
    for flag, times in given.items():
        if times > 1 and not flag.endswith("+"):
            say(f"{PROGRAM}: {flag} is given {times} times: the last one counts", error=True)
    for word in words:
        if word == "--":
            raise UsageError("-- is no flag: leave it out, and write a value that begins with a minus as --KEY=-1")
        if word.startswith("--") and word != "--help":
            name = word[2:].split("=")[0].split(".")[0].rstrip("+")
            if name not in known:
                raise UsageError(unknown_setting(name, known))
