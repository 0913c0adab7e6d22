"""Verified completions: one row schema, tokens and labels, batches, orders of sampling, and the made task; what needs
torch is imported when it is asked for."""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]

# __init__.pyi says what is where
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
