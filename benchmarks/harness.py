"""How benchmarks measure: CPU time of interleaved runs, peak memory, results with provenance.

Other work shares the machine, so time is CPU time of this process on one thread; candidates take turns, and a
ratio is the median of the ratios within each turn. Nothing here is imported by the package.
"""

import ctypes
import json
import multiprocessing
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def cpu_times(
    candidates: dict[str, Callable[[], Any]], turns: int = 9, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of CPU, or of another clock, per candidate and turn; a turn runs each once; the first does not count."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(turns + 1):
        for name, function in candidates.items():
            start = clock()
            function()
            if turn:
                times[name].append(clock() - start)
    return times


def summary(values: list[float]) -> dict[str, Any]:
    """Median, quartiles and range of a list of at least two numbers."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": statistics.median(values),
        "quartiles": [low, high],
        "range": [min(values), max(values)],
        "n": len(values),
    }


def ratios(times: dict[str, list[float]], against: str) -> dict[str, dict[str, Any]]:
    """Per candidate, the summary of its paired ratios to the candidate `against`."""
    return {name: ratio(values, times[against]) for name, values in times.items() if name != against}


def ratio(values: list[float], against: list[float]) -> dict[str, Any]:
    """Summary of the ratios of what was measured in the same turns."""
    return summary([x / y for x, y in zip(values, against, strict=True)])


def peak_memory(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    """Bytes that `prepare(*arguments)()` takes at its peak above what `prepare` left resident.

    Runs in a fresh process, so `prepare` is a function of a module and its arguments are picklable. Counts
    resident pages (Linux), the packing buffers of the matmul library included.
    """
    return in_fresh_process(_peak_memory_here, prepare, arguments)


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments), of a module and picklable, in a process of its own.

    Raises:
        BrokenProcessPool: the process was killed, for want of memory say.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def _peak_memory_here(prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> int:
    torch.set_num_threads(1)
    function = prepare(*arguments)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _status_kilobytes("VmRSS")
    function()
    return 1024 * (_status_kilobytes("VmHWM") - before)


def _status_kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def growth_slope(sizes: list[int], costs: list[float]) -> float:
    """Exponent p of cost = c * size^p, by least squares on logarithms; 1 is linear."""
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (sizes, costs))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def environment() -> dict[str, Any]:
    """Commit, hardware and versions, to stand beside every figure."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no", "--", "src").splitlines()),
        "processor": _cpu_field("model name") or platform.processor(),
        "matrix_units": [x for x in ("amx_bf16", "avx512_bf16", "avx512f") if x in _cpu_field("flags").split()],
        "cores": multiprocessing.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _git(*arguments: str) -> str:
    run = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    return run.stdout.strip()


def _cpu_field(name: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write benchmarks/results/<name>-<kind of machine>.json: the results beside the environment that gave them.

    What multiplies matrices decides most ratios, so each kind keeps a file of its own: the GPU where one is
    asked for by name, else the widest matrix unit of the processor.
    """
    found = environment()
    machine = found["gpu"] if name == "gpu" else next(iter(found["matrix_units"]), "cpu")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{str(machine).lower().replace(' ', '_')}.json"
    path.write_text(json.dumps({"environment": found, **results}, indent=2) + "\n")
    return path


def read_results(name: str) -> list[dict[str, Any]]:
    """The results of one benchmark, a machine each."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}-*.json"))]
