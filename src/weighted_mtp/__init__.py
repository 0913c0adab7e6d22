"""Token-level credit from verified completions, for next-token and multi-token fine-tuning.

What needs torch is imported when it is asked for.
"""

import os

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]

# __init__.pyi says what is where
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a run asks no network that nobody named

IGNORED = -100
"""The label of a token that is read but not learned."""
