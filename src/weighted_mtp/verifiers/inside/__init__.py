"""Programs that run inside the sandbox, in processes of their own: read as text by the parent, never imported there."""

import functools
from importlib import resources


@functools.cache
def source_of(program: str) -> str:
    """The text of one of this folder's programs."""
    return resources.files(__name__).joinpath(f"{program}.py").read_text(encoding="utf-8")
