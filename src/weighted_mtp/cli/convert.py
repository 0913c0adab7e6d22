"""What `wmtp convert` does."""

from typing import Any

from weighted_mtp.cli.rows import console
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.terminal import say
from weighted_mtp.training.errors import require_folder


def meta(name: str, settings: Any) -> None:
    """`convert meta` and `convert to-meta`."""
    require_folder("--out", settings.out)
    quiet_libraries()
    from rich.progress import Progress

    from weighted_mtp.models.meta import convert

    shown = console(stderr=True)
    with Progress(console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("tensors")
        told = getattr(convert, name)(
            settings.directory, settings.out, settings.dtype, lambda i, n: bar.update(task, completed=i, total=n)
        )
    say(*told)


def export(name: str, settings: Any) -> None:
    """`convert export`, `add-heads`, `drop-heads` and `eagle`."""
    from weighted_mtp.models import sources

    require_folder("--out", settings.out)
    sources.require(settings.directory)
    quiet_libraries()
    from weighted_mtp.training import export

    say(getattr(export, name)(**vars(settings)))
