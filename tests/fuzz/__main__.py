"""python -m tests.fuzz 50000 [SEED]: so many dirty inputs in all, the same for a seed."""

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.fuzz.inputs import KINDS, run_cases

SHARES = {"command lines": 1, "settings": 4, "chat templates": 4, "files": 4, "rows": 6, "tensor functions": 6}
"""How often each kind is tried, by what it costs."""


def main(count: int, seed: int) -> None:
    """Prints how many of each kind were taken and refused; raises at the first that was neither."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    begin, total = time.monotonic(), sum(SHARES.values())
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            found = run_cases(kind, count * SHARES[kind] // total, Path(folder), seed)
        print(f"{kind}: {found['taken']} taken, {found['refused']} refused", flush=True)
    print(f"{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
