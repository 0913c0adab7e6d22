import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.reports.made_runs import three_runs
from weighted_mtp.demo.page.content import Accuracy, Curve, Histogram, PageContent, SummaryRow
from weighted_mtp.inspection.content import RunPage
from weighted_mtp.reports.token_view import TokenView

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A fresh headless Chromium; where there is none the tests are left out, unless REQUIRE_BROWSER=1."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "left out: chromium and chromedriver are not both installed (Debian: chromium-driver)"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(f"REQUIRE_BROWSER=1, but {reason}")
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots are kept to be looked at; ignored by git."""
    folder = Path(__file__).parents[2] / ".artifacts"
    folder.mkdir(exist_ok=True)
    return folder


SEEDS = (0, 1, 2)
T_QUANTILE = 4.3027  # 97.5 %, two degrees of freedom
MEANS = {
    "uniform": 0.684, "right_only": 0.998, "td_beta0.9": 0.893, "td_beta0.3": 0.996, "td_whitened": 0.999,
    "rho1": 0.702, "implicit": 0.941, "mtp_uniform": 0.655, "mtp_td_beta0.3": 0.978,
    "shuffled_across": 0.691, "lognormal": 0.688,
}  # fmt: skip
WRONG_AT = 2


@pytest.fixture(scope="session")
def report() -> PageContent:
    """A report as the demo would fill it: eleven arms, three draws, made up but plausible."""
    rng = np.random.default_rng(0)
    draws = {arm: _draws(arm, center, rng) for arm, center in MEANS.items()}
    return PageContent(
        title="weighted-mtp demo: chains with systematic errors",
        lead="Eleven ways to weigh the tokens of verified completions, trained on the same 16,000 traces (69"
        " % right) of the easy setting and asked 512 unseen prompts. Three draws of data and initialisation.",
        summary=[_row(arm, draws) for arm in MEANS],
        accuracies=[
            Accuracy(arm=arm, seed=seed, accuracy=value)
            for arm, values in draws.items()
            for seed, value in zip(SEEDS, values, strict=False)
        ],
        curves=[curve for arm, values in draws.items() for curve in _curves(arm, values, rng)],
        histograms=[_histogram(arm, rng) for arm in MEANS if arm != "right_only"],
        examples=[
            _example(arm, right, rng)
            for arm in ("td_beta0.3", "td_whitened", "uniform")
            for right in (True, False, False, True, False, True)
        ],
        facts=[
            ("date", "2025-06-01"), ("commit", "0123abc"), ("python", "3.11.7"), ("torch", "2.13.0"),
            ("hardware", "2 CPU cores"), ("wall time", "6 min 12 s"),
        ],
        notes=[
            "right_only, td_beta0.3 and td_whitened tie: the easy setting does not tell them apart.",
            "The arms with four heads were drawn once and carry no interval.",
            "이 표의 숫자는 세 번의 추첨에서 나왔다.",
        ],
    )  # fmt: skip


def _histogram(arm: str, rng: np.random.Generator) -> Histogram:
    spread = {"uniform": 0.0, "mtp_uniform": 0.0, "td_beta0.9": 0.18}.get(arm, 0.6)
    weights = np.exp(spread * rng.standard_t(3, 4000)).clip(0.1, 5)
    if arm == "rho1":
        weights = (rng.random(4000) < 0.6).astype(float)
    counts, edges = np.histogram(weights, bins=40, range=(0, 5))
    return Histogram(arm=arm, edges=edges.tolist(), counts=counts.tolist())


def _example(arm: str, right: bool, rng: np.random.Generator) -> TokenView:
    td_errors = rng.normal(0, 0.03, 5)
    if not right:
        td_errors[WRONG_AT] = -0.55
    values = (0.69 + td_errors.cumsum()).clip(0.01, 0.99)
    scale = {"td_beta0.3": 0.3, "td_whitened": 0.15}.get(arm)
    weights = np.exp(td_errors / scale).clip(0.1, 5) if scale else np.ones(5)
    start = int(rng.integers(10))
    return TokenView(
        prompt=f"{start} +3 *7 +7 *3 :",
        label=right,
        tokens=[*(f" {digit}" for digit in rng.integers(0, 10, 4)), "<eos>"],
        weights=weights.tolist(),
        td_errors=td_errors.tolist(),
        values=values.tolist(),
        token_error=[not right and position == WRONG_AT for position in range(5)],
        arm=arm,
    )


@pytest.fixture(scope="session")
def code_example() -> TokenView:
    """A completion of several lines, as real code has them."""
    lines = ("    |for| item| in| items|:\n", "        |return| True|\n", "    |return| False|\n")
    tokens = [token for line in lines for token in line.split("|")]
    td_errors = [0.0, 0.02, 0.01, 0.0, 0.04, 0.0, 0.0, -0.02, -0.45, 0.0, 0.0, 0.05, 0.3, 0.01]
    return TokenView(
        prompt='def every(items):\n    """한국어 설명: are all of them true?"""\n',
        label=False,
        tokens=tokens,
        weights=[math.exp(td / 0.3) for td in td_errors],
        td_errors=td_errors,
        values=None,
        token_error=[token == " True" for token in tokens],
        arm="td_beta0.3",
    )


def _draws(arm: str, center: float, rng: np.random.Generator) -> list[float]:
    count = 1 if arm.startswith("mtp_") else 3
    spread = 0.001 if center > 0.99 else 0.012
    return [float(min(1.0, center + spread * rng.standard_normal())) for _ in range(count)]


def _row(arm: str, draws: dict[str, list[float]]) -> SummaryRow:
    values, base = draws[arm], draws["mtp_uniform" if arm.startswith("mtp_") else "uniform"]
    differences = [a - b for a, b in zip(values, base, strict=True)]
    several = len(values) > 1
    half = T_QUANTILE * stdev(differences) / math.sqrt(len(values)) if several else None
    own = arm in ("uniform", "mtp_uniform")
    row = SummaryRow(
        arm=arm,
        mean=mean(values),
        std=stdev(values) if several else None,
        n=len(values),
        diff=None if own else mean(differences),
        low=None if own or half is None else mean(differences) - half,
        high=None if own or half is None else mean(differences) + half,
    )
    if arm.startswith("mtp_"):
        row["baseline"] = "mtp_uniform"
    if arm == "rho1":
        row["note"] = "reference trained on right-only rows, 120 steps"
    return row


def _curves(arm: str, values: list[float], rng: np.random.Generator) -> list[Curve]:
    steps = list(range(0, 121, 10))
    curves: list[Curve] = []
    for seed, final in zip(SEEDS, values, strict=False):
        progress = 1 / (1 + np.exp(-(np.array(steps) - 45 - 4 * rng.standard_normal()) / 9))
        accuracy = (0.1 + (final - 0.1) * progress).clip(0, 1)
        loss = 2.3 - 1.7 * progress + 0.03 * rng.standard_normal(len(steps))
        curves.append(Curve(arm=arm, seed=seed, metric="accuracy", steps=steps, values=accuracy.tolist()))
        curves.append(Curve(arm=arm, seed=seed, metric="loss", steps=steps, values=loss.tolist()))
    return curves


@pytest.fixture(scope="session")
def run_page() -> RunPage:
    """Three runs: one without values, one with TD errors, one of four heads with credit; six completions of each."""
    return three_runs()
