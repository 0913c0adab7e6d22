"""A Ray cluster of this machine, and what other folders' tests have made."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.sampling.conftest import written  # noqa: F401
from tests.training.conftest import critic_dir, prepare, rows, train  # noqa: F401


@pytest.fixture(scope="session")
def ray_installed() -> None:
    """Skips, or fails where it must not, without Ray."""
    needs("ray", "REQUIRE_RAY", "Ray is not installed: pip install 'weighted-mtp[ray]'")


@pytest.fixture(scope="session")
def cluster(ray_installed: None) -> Iterator[str]:
    """The address of a real cluster of two cores."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    signal.signal(signal.SIGTERM, before)  # Ray's own would stay for the tests behind
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """700 rows to be judged, of which the odd ones are wrong."""
    import json

    made = [{"prompt": f"{i}+1", "completion": f"{i + 1 + i % 2}", "answer": f"{i + 1}"} for i in range(700)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path
