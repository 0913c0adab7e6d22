import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from weighted_mtp.reports import Accuracy, Curve, Histogram, PageContent, SummaryRow, TokenView
from weighted_mtp.reports.run_content import InspectedRun, Reliability, RunPage, Series, ValueQuality
from weighted_mtp.reports.study_numbers import Bin

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


SHARES = {"low_success": 0.24, "share_05": 0.05, "share_15": 0.15, "share_50": 0.494, "share_70": 0.7}
NUMBERS = {"n_1000": 1000, "n_16000": 16000}
STUDY_ARMS = {  # accuracy where 5 % are right, and where all would be; made up but plausible
    "uniform": (0.12, 0.99), "right_only": (0.31, 1.3), "return_weighted": (0.25, 1.2), "td_beta0.3": (0.2, 1.2),
    "td_whitened": (0.27, 1.22), "log_odds": (0.88, 1.1), "implicit": (0.5, 1.1), "label_conditioned": (0.7, 1.0),
    "rho1": (0.14, 0.95), "oracle": (0.96, 1.1), "shuffled_across": (0.12, 0.98),
}  # fmt: skip
QUICK_ARMS = ("uniform", "right_only", "td_whitened", "log_odds", "oracle", "shuffled_across")
MTP_ARMS = ("uniform", "right_only", "td_whitened", "log_odds", "log_odds_position")
CRITICS = {
    "value_head": 0.64, "value_bce": 0.66, "value_lambda": 0.65, "value_pairwise": 0.56, "log_odds": 0.96,
    "implicit": 0.81,
}  # fmt: skip
PAIRS = [
    *(("log_odds", arm) for arm in ("right_only", "oracle", "label_conditioned", "td_whitened", "implicit", "rho1")),
    ("log_odds", "return_weighted"), ("td_whitened", "right_only"), ("td_whitened", "shuffled_across"),
    ("mtp_log_odds", "mtp_right_only"), ("mtp_log_odds", "mtp_log_odds_position"), ("mtp_log_odds", "log_odds"),
]  # fmt: skip


@pytest.fixture(scope="session")
def study() -> dict[str, Any]:
    """The results of a whole study: seven settings, five draws."""
    rng = np.random.default_rng(1)
    plan = {setting: list(STUDY_ARMS) for setting in SHARES}
    plan |= {setting: list(QUICK_ARMS[:-1]) for setting in NUMBERS}
    plan["low_success"] += ["td_beta0.9", "gae_whitened", "lognormal", "shuffled"]
    plan["low_success"] += [f"mtp_{arm}" for arm in MTP_ARMS]
    return _study(plan, list(CRITICS), 5, rng, preset="full")


@pytest.fixture(scope="session")
def quick_study() -> dict[str, Any]:
    """The results of the quick preset: one setting, six arms, two critics, two draws."""
    plan = {"low_success": list(QUICK_ARMS)}
    return _study(plan, ["value_head", "log_odds"], 2, np.random.default_rng(2), preset="quick")


@pytest.fixture(scope="session")
def single_draw_study() -> dict[str, Any]:
    """The quick preset with a single draw: nothing has an interval."""
    plan = {"low_success": list(QUICK_ARMS)}
    return _study(plan, ["value_head", "log_odds"], 1, np.random.default_rng(3), preset="quick")


def _study(
    plan: dict[str, list[str]], critics: list[str], draws: int, rng: np.random.Generator, *, preset: str
) -> dict[str, Any]:
    runs = {(s, arm): _study_draws(s, arm, draws, rng) for s, arms in plan.items() for arm in arms}
    compared = [(s, *pair) for s in plan for pair in PAIRS if all((s, arm) in runs for arm in pair)]
    summary = {
        s: [_study_row(runs, s, arm, "mtp_uniform" if arm.startswith("mtp_") else "uniform") for arm in arms]
        for s, arms in plan.items()
    }
    return {
        "arms": [
            {"setting": s, "arm": arm, "seed": seed, "accuracy": value, "share_right": SHARES.get(s, 0.24),
             "n_traces": NUMBERS.get(s, 8000), "steps": 300, "train_rows": 8000, "cpu_seconds": 12.0 + seed}
            for (s, arm), values in runs.items()
            for seed, value in enumerate(values)
        ],
        "meta": {
            "preset": preset, "draws": draws, "summary": summary, "minutes": 71.2, "date": "2025-06-01",
            "versions": "torch 2.13.0", "python": "3.11.7", "machine": "x86_64, Linux",
            "settings": {
                s: {"share_right": SHARES.get(s, 0.24), "n_traces": NUMBERS.get(s, 8000), "right_with_error": 0.22}
                for s in plan
            },
            "comparisons": [
                {"setting": s, "first": first, "second": second, "n": draws}
                | _paired(runs[s, first], runs[s, second])
                for s, first, second in compared
            ],
            "critics": [
                _critic(s, critic, seed, rng)
                for s in plan
                for critic in (critics if s == "low_success" else critics[:1] + critics[-2:])
                for seed in range(draws)
            ],
        },
    }  # fmt: skip


def _study_draws(setting: str, arm: str, draws: int, rng: np.random.Generator) -> list[float]:
    low, high = STUDY_ARMS.get(arm.removeprefix("mtp_").removesuffix("_position"), (0.2, 1.1))
    share, number = SHARES.get(setting, 0.24), NUMBERS.get(setting, 8000)
    center = low + (high - low) * ((share - 0.05) / 0.95) ** 0.6 + 0.06 * math.log2(number / 8000)
    values = center + rng.normal(0, 0.025, draws) - 0.08 * arm.endswith("_position")
    return [float(value) for value in values.clip(0, 1)]


def _paired(first: list[float], second: list[float]) -> dict[str, float | None]:
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if len(differences) == 1:
        return {"diff": differences[0], "low": None, "high": None}
    quantile = {2: 12.706, 5: 2.776}[len(differences)]
    half = quantile * stdev(differences) / math.sqrt(len(differences))
    return {"diff": mean(differences), "low": mean(differences) - half, "high": mean(differences) + half}


def _study_row(runs: dict[tuple[str, str], list[float]], setting: str, arm: str, base: str) -> dict[str, Any]:
    values = runs[setting, arm]
    row: dict[str, Any] = {"arm": arm, "mean": mean(values), "n": len(values), "baseline": base}
    row["std"] = stdev(values) if len(values) > 1 else None
    own = {"diff": None, "low": None, "high": None}
    return row | (own if arm == base else _paired(values, runs[setting, base]))


def _critic(setting: str, critic: str, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    auc = CRITICS[critic] + 0.008 * rng.standard_normal()
    known = np.linspace(0.52, 0.75 + auc / 4, 10)
    centers = np.arange(0.05, 1, 0.1)
    rates = (centers + (0.9 - auc) * np.sin(6 * centers) * 0.4).clip(0, 1)
    return {
        "setting": setting, "critic": critic, "seed": seed, "auc": auc, "auc_within_wrong": auc - 0.04,
        "top1": auc - 0.4 * (1 - auc) - 0.2, "position_only_auc": 0.5 + auc / 9, "length_only_auc": 0.5,
        "final_ece": 0.1 * (1 - auc), "ece": 0.3 * (1 - auc) / 2, "explained_variance": auc - 0.5,
        "brier": 0.25 - auc / 5, "outcome_auc": auc + 0.02, "cpu_seconds": 14.5,
        "auc_by_position": [None, *known[1:].tolist()],
        "reliability": [
            {"low": low, "high": low + 0.1, "mean": low + 0.05, "rate": float(rate), "count": int(count)}
            for low, rate, count in zip((centers - 0.05).tolist(), rates, 900 * (1.05 - centers) ** 3, strict=True)
        ],
    }  # fmt: skip


@pytest.fixture(scope="session")
def run_page() -> RunPage:
    """Three runs: one without values, one with TD errors, one of four heads with credit; six completions of each."""
    rng = np.random.default_rng(4)
    runs = [_run("baseline", "uniform"), _run("td", "td"), _run("log_odds", "log_odds", heads=4)]
    views = [_view(run, row, rng) for row in range(6) for run in runs]
    return RunPage(title="baseline, td, log_odds", lead="Three runs.", runs=runs, examples=views)


def _run(name: str, scheme: str, heads: int = 1) -> InspectedRun:
    steps = list(range(0, 101, 10))
    falling = [3.0 - step / 50 for step in steps]
    metrics = ["loss", "weight_mean", *(f"ce_head_{k}" for k in range(heads))]
    record = {f"{split}/{name}": Series(steps, falling) for split in ("train", "eval") for name in metrics}
    bins = [Bin(0.1, 0.15, 300), Bin(0.6, 0.5, 200)]
    quality = ValueQuality(
        rows=50, values=500, source="evaluation rows of eval.jsonl", explained_variance=0.25, outcome_auc=0.75,
        error_auc=None if name == "td" else 0.9,
        reliability=[Reliability("all prefixes", 0.07, bins)]
        + [Reliability(f"{part} third", 0.11, bins[:1]) for part in ("first", "middle", "last") if heads > 1],
    )  # fmt: skip
    return InspectedRun(
        name=name, stage="baseline" if scheme == "uniform" else "verifiable", scheme=scheme, start="base",
        parameters=151_936, heads=heads, steps=100,
        settings={"seed": 0, "critic": None if heads == 1 else "runs/critic"},
        record=record, quality=None if scheme == "uniform" else quality,
    )  # fmt: skip


def _view(run: InspectedRun, row: int, rng: np.random.Generator) -> TokenView:
    right = row % 2 == 0
    td_errors = rng.normal(0, 0.02, 5)
    td_errors[WRONG_AT] -= 0.0 if right else 0.1 * row
    td_errors[-1] = 0.3 if right else -0.9  # the outcome minus the value
    knows = run.quality is not None
    view = TokenView(
        row=row,
        prompt=f"{row} +3 *7 +7 *3 :",
        label=right,
        tokens=[*(f" {digit}" for digit in rng.integers(0, 10, 4)), "<eos>"],
        weights=np.exp(td_errors).tolist(),
        td_errors=td_errors.tolist() if knows else None,
        values=[0.5, 0.5, 0.5, 0.4, 0.4] if knows else None,
        token_error=[not right and position == WRONG_AT for position in range(5)],
        losses=rng.exponential(1.0, (5, run.heads)).tolist(),
        arm=run.name,
    )
    if run.heads > 1:
        view["credit"] = (10 * td_errors).tolist()
        view["head_weights"] = rng.uniform(0, 2, (5, run.heads)).tolist()
    return view
