"""How many completions `wmtp data verify` checks in a second, each in a fresh sandbox of its own.

python -m benchmarks.verify [--quick]

Wall time, since processes of other users and of the kernel do part of the work; so run it on a quiet machine.
"""

import argparse
import os
import time
from typing import Any

from benchmarks.harness import summary, write_results
from weighted_mtp.verifiers.python_tests import PythonTests

ROW = {
    "prompt": "from typing import List\n\n\ndef below_zero(operations: List[int]) -> bool:\n",
    "completion": "    total = 0\n    for step in operations:\n        total += step\n        if total < 0:\n"
    "            return True\n    return False\n",
    "test": "def check(candidate):\n    assert candidate([]) == False\n    assert candidate([1, 2, -4, 5]) == True\n"
    "    assert candidate([1, -1, 2, -2]) == False\n",
    "entry_point": "below_zero",
}
WANTED_PER_SECOND = 60
"""On two cores."""


def checks_per_second(workers: int, count: int) -> float:
    verifier = PythonTests(workers=workers)
    start = time.perf_counter()
    verdicts = [found.verdict for found in verifier.judge_all([ROW] * count)]
    seconds = time.perf_counter() - start
    assert verdicts == ["pass"] * count
    return count / seconds


def measure(count: int, turns: int) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    rates: dict[int, list[float]] = {workers: [] for workers in sorted({1, cores})}
    for _ in range(turns):
        for workers, found in rates.items():
            found.append(checks_per_second(workers, count))
    return {"rows": count, "rates": [{"workers": w, "per_second": summary(r)} for w, r in rates.items()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does the script run?")
    quick = parser.parse_args().quick
    found = measure(*((4, 2) if quick else (100, 9)))
    for one in found["rates"]:
        rate = one["per_second"]
        print(f"{one['workers']} at a time: {rate['median']:.1f} checks/s, {rate['range']}")
    if not quick:
        print(write_results("verify", found))


if __name__ == "__main__":
    main()
