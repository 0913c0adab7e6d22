"""The command line's grammar: flags and files into settings, and one line for a mistake."""

import difflib
import re
from argparse import SUPPRESS
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from weighted_mtp.training.config import RunConfig

PROGRAM = "wmtp"
STAGE_HELP = {
    "baseline": "stage 0: uniform weights (or a weights column)",
    "critic": "stage 1: V(prefix) = P(success) from the labels",
    "verifiable": "stage 2: weights from the critic's TD errors",
    "rho1": "stage 3: the tokens with the largest excess loss over a reference",
}


class UsageError(Exception):
    """A mistake on the command line."""


class Parser(ArgumentParser):
    """A parser that gives one line for a mistake, with the nearest key, and exits with 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing usage."""
        raise UsageError(_about_value(message) or shorten(message))


def shorten(message: str) -> str:
    """One line of at most 500 characters."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines)[:500]


_VALUE = re.compile(r'Parser key "([\w.]+)":\s(.*?)(?:Got value|Given value): (.*)', re.DOTALL)
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
    found = _VALUE.search(message)
    if found is None:
        return None
    key, expected, value = found[1], found[2], found[3].strip()
    nested = _NESTED.fullmatch(value)
    if nested:
        key, value = f"{key}.{nested[1]}", nested[2]
    literals = " ".join(re.findall(r"Literal\[(.*?)\]", expected))
    wanted: dict[str, None] = dict.fromkeys(re.findall(r"'(.*?)'", literals))
    for kind in re.findall(r"Expected an? <class '(\w+)'>", expected):
        wanted[_KINDS.get(kind) or kind] = None
    return f"--{key} {value}: give {' or '.join(wanted)}" if wanted else None


def unknown(kind: str, given: str, known: Any) -> str:
    """A mistyped name, with the nearest one."""
    near = difflib.get_close_matches(given, list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
    return f"unknown {kind} {given!r}: {hint}"


def train_parser(stage: str) -> Parser:
    """Every setting of a run as a flag."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # a setting's line of doc is its help
    program = f"{PROGRAM} train {stage}"
    usage = f"{program} --config FILE [--KEY VALUE ...] [--resume auto|PATH]"
    parser = Parser(prog=program, usage=usage, description=STAGE_HELP[stage])
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below.")
    parser.add_argument("--resume", type=str | None, default=None, help="auto, or the path of a checkpoint.")
    parser.add_argument("--stage", type=str, default=stage, help=SUPPRESS)  # a run.yaml names its stage
    for part in RunConfig.PARTS.values():
        parser.add_class_arguments(part)
    return parser


def parse_config(parser: Parser, words: list[str]) -> dict[str, Any]:
    """Flags over the file over defaults, under their flat names."""
    known = [
        "config",
        "resume",
        "stage",
        *(f.name for part in RunConfig.PARTS.values() for f in fields(part)),
    ]
    check_flags(words, known)
    _check_file(words, known)
    parsed = parser.parse_args(words)
    assert isinstance(parsed, Namespace)
    return dict(parsed.as_dict())


def check_flags(words: list[str], known: list[str]) -> None:
    """Raises for a flag that is no setting."""
    for word in words:
        if word.startswith("--") and word != "--help":
            name = word[2:].split("=")[0].split(".")[0].rstrip("+")
            if name not in known and not name.startswith("print_"):
                raise UsageError(unknown("setting", name, known))


def _check_file(words: list[str], known: list[str]) -> None:
    """Reads the configuration file's keys first: a mistyped key is named with its nearest neighbour."""
    path = _value_of("--config", words)
    if path is None:
        return
    import yaml

    if not Path(path).is_file():
        raise UsageError(f"--config {path}: there is no such file")
    try:
        content = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is not valid YAML: {shorten(str(error))}") from None
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} holds {type(content).__name__}: give `key: value` lines")
    for key in content:
        if key not in known:
            raise UsageError(f"--config {path}: {unknown('setting', str(key), known)}")


def _value_of(flag: str, words: list[str]) -> str | None:
    for i, word in enumerate(words):
        if word == flag:
            if i + 1 == len(words):
                raise UsageError(f"{flag} needs a value")
            return words[i + 1]
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
    return None
