"""Multi-token prediction over any Hugging Face decoder: model, loading, warm-up of new heads.

What needs torch is imported when it is asked for, so that a path that leads to no model is told without it.
"""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]

# __init__.pyi says what is where
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
