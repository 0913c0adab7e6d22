"""What the commands that make and judge rows run, beside `commands`, the table."""

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from weighted_mtp.cli.grammar import PROGRAM
from weighted_mtp.engine.settings import sharded
from weighted_mtp.files import own_file, own_folder
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.terminal import printable, say
from weighted_mtp.training.errors import require_file, require_folder


def console(**options: Any) -> Any:
    """A terminal of rich, imported when it is wanted; what others wrote does not steer it."""
    from rich.console import Console
    from rich.segment import Segment

    class Plain(Console):
        def render(self, *args: Any, **kwargs: Any) -> Any:
            for one in super().render(*args, **kwargs):
                yield one if one.control else Segment(printable(one.text), one.style)

    return Plain(**options)


def verify(settings: Any) -> None:
    """`wmtp data verify`, and with --again what became of old verdicts."""
    from weighted_mtp.data.json_lines import require_objects

    require_objects(settings.input)
    source, out = Path(settings.input), Path(settings.output or "")
    if settings.output:
        require_file("--output", out)
    if settings.again:
        from weighted_mtp.labelling.again import judge_again

        with own_file(out) if settings.output else nullcontext():
            return judge_again(settings, console(stderr=True)).show(console())
    from weighted_mtp.labelling.verify import label_file
    from weighted_mtp.verifiers.table import make_verifier

    options = {name: getattr(settings, name) for name in ("timeout", "seed", "allow", "environment")}
    verifier, out = make_verifier(settings.verifier, **options), sharded(out, settings.shard)
    with own_file(out):
        say(label_file(source, out, verifier, console(stderr=True), settings, settings.shard).summary(out))


def mutants(settings: Any) -> None:
    """`wmtp data mutants`."""
    from weighted_mtp.data.json_lines import require_objects

    if settings.input is not None:
        require_objects(settings.input)
    require_file("out", settings.out)
    from weighted_mtp.labelling.mutants.build import build_mutants

    with own_file(settings.out):
        report = build_mutants(settings, console(stderr=True))
    console().print(report.table())
    say(f"{settings.out}: {report.summary()}")


def reasoning_gym(settings: Any) -> None:
    """`wmtp data reasoning-gym`."""
    from weighted_mtp.verifiers.reasoning_gym import ReasoningGym

    if settings.list:
        from weighted_mtp.labelling.reasoning_gym.rows import print_tasks

        print_tasks(ReasoningGym(), console())
        return
    files = {name: getattr(settings, name) for name in ("out", "problems") if getattr(settings, name) is not None}
    for name, path in files.items():
        require_file(name, path)
    from weighted_mtp.labelling.reasoning_gym.rows import make_rows

    with ExitStack() as owned:
        for path in files.values():
            owned.enter_context(own_file(path))
        say(make_rows(settings, ReasoningGym(settings.timeout), console(stderr=True)).summary())


def split(settings: Any) -> None:
    """`wmtp data split`."""
    from weighted_mtp.labelling.split import split_file

    require_folder("out", settings.out)
    with own_folder(settings.out):
        report = split_file(settings)
    say(report.summary())
    if report.warning():
        say(f"{PROGRAM}: warning: {report.warning()}", error=True)


def sample(settings: Any) -> None:
    """`wmtp sample`."""
    from weighted_mtp.sampling.settings import check_sample

    check_sample(settings)
    require_file("--out", settings.path)
    quiet_libraries()
    from weighted_mtp.sampling.sample import sample as write

    with own_file(settings.path):
        say(write(settings, console(stderr=True)).summary(settings))
