"""When, with what and on what a comparison ran."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version


def provenance() -> list[tuple[str, str]]:
    """Date, versions, Python and machine, as (name, value)."""
    packages = ("weighted-mtp", "torch", "transformers", "accelerate", "mlflow")
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("versions", ", ".join(f"{name} {version(name)}" for name in packages)),
        ("python", platform.python_version()),
        ("machine", f"{platform.machine()}, {platform.system()}"),
    ]
