"""All benchmarks, one after the other, and the page made from their results.

python -m benchmarks [--quick]

Each runs in a process of its own. About an hour and a half on one core of 2025; with --quick a few minutes, on
made-up sizes, and nothing is written.
"""

import argparse
import subprocess
import sys

BENCHMARKS = ("scan", "loss", "steps", "packing", "decoding", "drafts", "verify", "convert", "gpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="do the scripts run?")
    quick = ["--quick"] * parser.parse_args().quick
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *quick], check=True)
    if not quick:
        subprocess.run([sys.executable, "-m", "benchmarks.page"], check=True)


if __name__ == "__main__":
    main()
