"""Words to commands, nothing else. Torch is imported only when a command needs it, so `--help` answers at once."""

import sys
from collections.abc import Mapping
from importlib.metadata import version

from weighted_mtp.choices import unknown
from weighted_mtp.cli.commands import COMMANDS
from weighted_mtp.cli.grammar import PROGRAM, UsageError, answer
from weighted_mtp.training.stage_table import STAGE_TABLE

GROUPS = {
    "": "Token-level credit from verified completions.",
    "train": "One stage of training. Flags override the file.",
    "data": "Rows whose labels a program has verified: they are test-verified, no more.",
    "convert": "Models anew: from and to Meta's format, in another precision, with more heads or none.",
}
"""Commands that stand under a word of their own, and what is said above them."""
MOVED = {
    "study": "python -m research.chains.study",
    "real-code": "python -m research.real_code",
    "data doctests": "python -m research.doctests",
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `wmtp`; returns the exit status."""
    return answer(_dispatch, arguments)


def _dispatch(words: list[str]) -> int:
    if words == ["--version"]:
        print(version("weighted-mtp"))
        return 0
    group = words[0] if words and words[0] in GROUPS else ""
    rest = words[1:] if group else words
    known = _commands(group)
    if not rest or rest[0] in ("-h", "--help"):
        print(_overview(group, known))
        return 0
    name, *flags = rest
    full = f"{group} {name}".strip()
    if full in MOVED:
        raise UsageError(f"`{PROGRAM} {full}` is `{MOVED[full]}` now, in a clone of the repository")
    if name not in known:
        kind = {"train": "stage", "data": "data command", "convert": "conversion"}.get(group, "command")
        raise UsageError(unknown(kind, name, known))
    if group == "train":
        from weighted_mtp.cli.train import train

        return train(name, flags)
    return COMMANDS[full].answer(full, flags)


def _commands(group: str) -> Mapping[str, str]:
    """The lines of help of what stands in a group, under the words behind its own."""
    if group == "train":
        return {stage: row.help for stage, row in STAGE_TABLE.items()}
    if group:
        return {name.split()[1]: row.help for name, row in COMMANDS.items() if name.startswith(f"{group} ")}
    groups = {
        "train": f"one stage: {', '.join(STAGE_TABLE)}",
        "data": "rows whose labels a program has verified, problems with tests, and splits by task",
        "convert": "models anew: another layout or precision, heads added or dropped, Meta's format",
    }
    return groups | {name: row.help for name, row in COMMANDS.items() if " " not in name}


def _overview(group: str, known: Mapping[str, str]) -> str:
    what = "STAGE --config FILE [--KEY VALUE ...] [--resume auto|PATH]" if group == "train" else "COMMAND [options]"
    program = f"{PROGRAM} {group}".strip()
    width = max(map(len, known)) + 2
    lines = [f"  {name:<{width}}{line}" for name, line in known.items()]
    explain = f"{program} {what.split()[0]} --help explains one."
    return "\n".join([f"usage: {program} {what}", "", GROUPS[group], "", *lines, "", explain])


if __name__ == "__main__":
    sys.exit(main())
