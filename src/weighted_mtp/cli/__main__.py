"""`python -m weighted_mtp.cli` is `wmtp`, for launchers that start modules."""

import sys

from weighted_mtp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
