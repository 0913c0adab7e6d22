"""What `wmtp score` says of the experiment that is nearest to the user's own rows."""

import json
import tomllib
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

import pytest

from weighted_mtp.evaluation.measured import MEASURED, in_words, nearest

ROOT = Path(__file__).parents[2]
SETTINGS = json.loads(resources.files("weighted_mtp.evaluation").joinpath(MEASURED).read_text())


def setting(gated: float, oracle: float, *, decided: bool = True, own_samples: bool = False) -> dict:
    leads = {"gated": {"lead": gated, "decided": decided}, "oracle": {"lead": oracle, "decided": decided}}
    known = {"rows": 8_000, "whose": "a teacher", "share_right": 0.24, "right_only": 0.816}
    return known | {"own_samples": own_samples, "leads": leads}


def test_a_setting_in_words():
    assert in_words(setting(0.177, 0.183)) == (
        "nearest measured, with a generative critic: 8,000 rows of a teacher, 24.0 % right: keep: right solved 81.6 %, "
        "gated 17.7 points more, the oracle, which knows every wrong token, 18.3 points more"
    )


def test_where_gated_does_not_mix_its_lead_is_left_out():
    assert in_words(setting(0.177, 0.183), mixed=False) == (
        "nearest measured: 8,000 rows of a teacher, 24.0 % right: keep: right solved 81.6 %, "
        "the oracle, which knows every wrong token, 18.3 points more"
    )


def test_what_is_far_is_called_far():
    assert nearest(False, 1_000, 0.7).startswith("far from these rows, but nearest measured")
    assert nearest(True, 100, 0.9, mixed=False).startswith("far from these rows, but nearest measured: 1,280 rows")
    assert nearest(False, 4_000, 0.6).startswith("nearest measured")


def test_what_no_test_decides_is_called_undecided_and_an_identity_the_same():
    text = in_words(setting(0.0, -0.02, decided=False, own_samples=True))
    assert "gated, told to mix by skill, the same, the oracle" in text
    assert text.endswith("2.0 points fewer (undecided)")


@pytest.mark.parametrize("one", SETTINGS, ids=lambda one: f"{one['rows']} of {one['whose']}, {one['share_right']}")
def test_every_setting_is_nearest_to_itself(one):
    assert nearest(one["own_samples"], one["rows"], one["share_right"]) == in_words(one)


@pytest.mark.parametrize(
    ("own_samples", "rows", "share", "told"),
    [
        (False, 9_000, 0.07, "8,000 rows of a teacher, learned from scratch, 5.0 % right"),
        (False, 1_500, 0.3, "1,000 rows of a teacher, learned from scratch, 24.0 % right"),
        (False, 10, 0.0, "1,000 rows of a teacher"),
        (False, 10**7, 1.0, "8,000 rows of a teacher, learned from scratch, 70.0 % right"),
        (True, 9_000, 0.07, "4,000 rows of a small model's own, arithmetic"),
        (True, 640, 0.13, "1,280 rows of SmolLM2-135M's own, products"),
    ],
)
def test_the_nearest_is_of_the_same_kind_by_ratios_of_rows_and_odds(own_samples, rows, share, told):
    assert f"nearest measured, with a generative critic: {told}" in nearest(own_samples, rows, share)


@pytest.mark.parametrize(("rows", "share"), [(0, 0.5), (10, -0.1), (10, 1.1), (10, float("nan")), (float("nan"), 0.5)])
def test_no_row_and_no_share_are_errors(rows, share):
    with pytest.raises(ValueError, match="at least one row, and a share"):
        nearest(False, rows, share)


def test_the_file_goes_into_the_wheel():
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert any(fnmatch(f"evaluation/{MEASURED}", pattern) for pattern in package_data["weighted_mtp"])
