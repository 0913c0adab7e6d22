"""How much each prediction matters: signals of a critic in, weights out. Needs torch alone, and that when asked.

Numbers are float32, or float64 where the input is. A shape or an option that does not fit raises ValueError.
"""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]

# __init__.pyi says what is where
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
