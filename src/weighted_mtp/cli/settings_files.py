"""Files of settings: plain YAML, read strictly, so that nothing in them is dropped, doubled or guessed: numbers as
people write them (1e-4), dates, 12:30 and a bare no as text; no key twice, no reference to a list or mapping, no deep
nesting. Values of flags are read alike."""

import re
from pathlib import Path
from typing import Any

import yaml

from weighted_mtp.training.errors import ConfigError

SHIPPED = Path(__file__).parents[1] / "configs"
MOST_NESTED = 20
MOST_BYTES = 1_000_000
_TAG = "tag:yaml.org,2002:"


def read_settings(path: str) -> dict[str, Any]:
    """The keys and values of a file of settings; one that comes with the package goes by its name there. ConfigError:
    there is no such file, it is none of YAML, or not `key: value` lines."""
    file = _found(path)
    if file.is_dir():
        inside = file / "run.yaml"
        hint = f"; did you mean {inside}?" if inside.is_file() else ": give a YAML file"
        raise ConfigError(f"--config {path} is a directory{hint}")
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(f"--config {path} has more than {MOST_BYTES:,} bytes: give a file of settings, not of rows")
    settings = _parsed(path, content)
    if not isinstance(settings, dict):
        found = {type(None): "nothing", list: "a list"}.get(type(settings), "text")
        raise ConfigError(f"--config {path} holds {found}: give `key: value` lines")
    return settings


def _found(path: str) -> Path:
    """The file of that path, or of that name among those that come with the package, as a clone has it or without."""
    if path and Path(path).exists():
        return Path(path)
    shipped = sorted(file.relative_to(SHIPPED).as_posix() for file in SHIPPED.rglob("*.yaml"))
    name = path.removeprefix("configs/")
    if name not in shipped:
        raise ConfigError(f"--config {path}: there is no such file; with the package come {', '.join(shipped)}")
    return SHIPPED / name


def read_flags_alike() -> None:
    """Lets jsonargparse read the values of flags as files are read here: its own reader takes 1:30 for 90, and numbers
    are read by the default loader, whatever `set_loader` says."""
    from jsonargparse import _loaders_dumpers

    _loaders_dumpers.yaml_default_loader = _Loader


def _parsed(path: str, content: bytes) -> Any:
    try:
        return yaml.load(content, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"--config {path} is not valid YAML: {error.problem or error.context}{where}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path} is not UTF-8 text (byte {error.start})") from None
    except yaml.reader.ReaderError as error:
        if error.encoding == "unicode":
            reason = f"it holds the character {error.character!r}, which no text has"
        else:
            reason = f"it is not UTF-8 text (byte {error.position})"
        raise ConfigError(f"--config {path} is not valid YAML: {reason}") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise ConfigError(f"--config {path} is not valid YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            # A few lines of lists of lists of references are gigabytes, and a reference to itself has no end.
            if not isinstance(self.anchors.get(event.anchor), yaml.ScalarNode):
                raise _mistake(f"*{event.anchor} stands for no single value: write it out", event.start_mark)
        event = self.peek_event()
        if (tag := getattr(event, "tag", None)) is not None and not self._says(tag, getattr(event, "value", None)):
            raise _mistake(f"the tag {tag} does not fit this value: write the value alone", event.start_mark)
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise _mistake(f"it is nested more than {MOST_NESTED} deep", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _says(self, tag: str, value: str | None) -> bool:
        """Whether a tag makes a text of a value, or says what the value is without it."""
        kind = None if value is None else self.resolve(yaml.ScalarNode, value, (True, False))
        return kind is not None and (tag in (_TAG + "str", kind) or (tag, kind) == (_TAG + "float", _TAG + "int"))

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _mistake("a key is a list or a mapping: give a name", key.start_mark)
            if key.value in seen:
                raise _mistake(f"the key {key.value!r} stands there twice: remove one", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _mistake(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _resolve(tag: str, pattern: str, first: str = "-+0123456789.") -> None:
    regex = re.compile(f"^(?:{pattern})$")
    _Loader.add_implicit_resolver(_TAG + tag, regex, list(first))


# PyYAML copies the table of the base class on the first addition; what it knows of numbers, dates and yes and no goes.
_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, regex) for tag, regex in entries if tag.rpartition(":")[2] not in ("int", "float", "timestamp", "bool")
    ]
    for letter, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_resolve("int", r"[-+]?(?:0|[1-9][0-9_]*)")
_resolve(
    "float", r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
