"""Every scheme of the table passes the same checks; then what is special to each."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from weighted_mtp.value_weighting import (
    SCHEMES,
    Signals,
    WeightingScheme,
    align_to_heads,
    build_weights,
    compute_gae,
    make_scheme,
    moments,
    top_share,
    weigh,
    weight_stats,
    whiten,
)

NAN = math.nan

CASES = {
    "uniform": ("uniform", {}),
    "column": ("column", {}),
    "column floor": ("column", {"floor": 0.5}),
    "td": ("td", {}),
    "td sharp": ("td", {"beta": 0.1}),
    "td batch": ("td", {"whitening": "batch"}),
    "td ema": ("td", {"whitening": "ema"}),
    "td gae": ("td", {"credit": "gae", "lam": 0.9}),
    "td floor": ("td", {"beta": 0.1, "entropy_floor": 0.8}),
    "td unit mean": ("td", {"unit_mean": True, "whitening": "ema"}),
    "log_odds": ("log_odds", {}),
    "log_odds plain": ("log_odds", {"whitening": "none", "smoothing": 0.1}),
    "log_odds batch": ("log_odds", {"whitening": "batch", "beta": 0.5}),
    "log_odds floor": ("log_odds", {"whitening": "none", "beta": 0.2, "entropy_floor": 0.8}),
    "log_odds unit mean": ("log_odds", {"unit_mean": True, "smoothing": 0.05}),
    "gated": ("gated", {}),
    "gated half": ("gated", {"skill": 0.5}),
    "gated plain": ("gated", {"skill": 0.9, "whitening": "none", "beta": 0.5}),
    "return_weighted": ("return_weighted", {}),
    "return_weighted ema": ("return_weighted", {"whitening": "ema", "unit_mean": True}),
    "softmax": ("softmax", {"temperature": 0.3}),
    "softmax floor": ("softmax", {"temperature": 0.1, "entropy_floor": 0.9, "credit": "gae"}),
    "rho1": ("rho1", {}),
    "rho1 absolute": ("rho1", {"mode": "absolute"}),
    "rho1 reference": ("rho1", {"mode": "reference", "keep_fraction": 0.3}),
    "dft": ("dft", {}),
    "profit": ("profit", {"tau": 0.6}),
    "prift": ("prift", {}),
    "iw_sft": ("iw_sft", {"temperature": 2.0}),
    "iw_sft token": ("iw_sft", {"form": "token"}),
    "eaft": ("eaft", {"alpha": 0.5}),
    "top_entropy": ("top_entropy", {}),
    "steps": ("steps", {}),
    "signed": ("signed", {"floor": 0.5}),
    "signed gae": ("signed", {"credit": "gae"}),
    "signed critic": ("signed", {"credit": "critic", "beta": 2.0}),
    "w_reinforce": ("w_reinforce", {"floor": 0.5}),
    "w_reinforce clip": ("w_reinforce", {"clip": 0.2}),
    "nft": ("nft", {}),
    "nft root": ("nft", {"epsilon": 0.3, "prompt_weight": "root", "floor": 0.5}),
    "nft none": ("nft", {"prompt_weight": "none"}),
    "position_aligned": ("position_aligned", {}),
    "position_aligned signed": ("position_aligned", {"inner": "signed"}),
    "position_aligned log_odds": ("position_aligned", {"inner": "log_odds"}),
    "position_aligned rho1": ("position_aligned", {"inner": "rho1"}),
    "shuffled": ("shuffled", {}),
    "shuffled rho1": ("shuffled", {"inner": "rho1"}),
    "shuffled nft": ("shuffled", {"inner": "nft"}),
    "shuffled_across": ("shuffled_across", {"inner": "td", "inner_options": {"beta": 0.3}}),
    "shuffled_across rho1": ("shuffled_across", {"inner": "rho1"}),
    "lognormal": ("lognormal", {"inner": "td", "inner_options": {"whitening": "ema"}}),
    "lognormal rho1": ("lognormal", {"inner": "rho1"}),
}


def scheme_floor(case):
    name, options = CASES[case]
    return make_scheme(name, **options).floor


every_scheme = pytest.mark.parametrize("case", CASES)
SIGNED = [case for case in CASES if scheme_floor(case) is not None]
LENGTHS = (9, 4, 1, 0, 7)


def scheme_of(case):
    name, options = CASES[case]
    return make_scheme(name, **options)


def make_signals(n_future=3, garbage=NAN, packed=False, seed=0, **changes):
    """Five rows, right-padded, with a gap in the first; `garbage` wherever nothing is valid."""
    generator = torch.Generator().manual_seed(seed)
    batch, seq = len(LENGTHS), max(LENGTHS)
    mask = torch.arange(seq) < torch.tensor(LENGTHS)[:, None]
    mask[0, 3:5] = False
    segments = torch.ones(batch, seq, dtype=torch.int64)
    if packed:
        segments[:, 5:] = 2
    segments = torch.where(torch.arange(seq) < torch.tensor(LENGTHS)[:, None], segments, 0)
    same = align_to_heads(segments, n_future) == segments[..., None]
    valid = align_to_heads(mask, n_future) & same & (segments != 0)[..., None]
    draw = {
        name: torch.rand(*shape, generator=generator)
        for name, shape in {
            "values": (batch, seq),
            "weights": (batch, seq),
            "nll": (batch, seq, n_future),
            "reference_nll": (batch, seq, n_future),
            "entropy": (batch, seq, n_future),
            "entropy_top20": (batch, seq, n_future),
            "steps": (batch, seq),
        }.items()
    }
    fields = {
        name: torch.where(mask if x.ndim == 2 else valid, x, garbage).requires_grad_() for name, x in draw.items()
    }
    rewards = (torch.rand(batch, seq, generator=generator) * 2).floor()
    credit = torch.randn(batch, seq, generator=generator)
    fields |= {
        "mask": mask,
        "valid": valid,
        "rewards": rewards if packed else rewards[:, 0],
        "pass_rate": torch.rand(batch, generator=generator),
        "credit": torch.where(mask, credit, garbage).requires_grad_(),
        "segment_ids": segments if packed else None,
        "generator": torch.Generator().manual_seed(7),
    }
    return Signals(**(fields | changes))


PER_POSITION = ("values", "credit", "weights", "steps", "nll", "reference_nll", "entropy", "entropy_top20")
TENSORS = ("mask", "valid", "rewards", "pass_rate", "segment_ids", *PER_POSITION)


def padded(signals, left, right):
    """The same rows with columns of garbage to the left and to the right."""

    def pad(x):
        if x is None or x.ndim == 1:
            return x
        fill = NAN if x.is_floating_point() else 0
        return F.pad(x, (0, 0) * (x.ndim - 2) + (left, right), value=fill)

    changes = {name: pad(getattr(signals, name)) for name in TENSORS}
    return dataclasses.replace(signals, **changes, generator=torch.Generator().manual_seed(7))


def rows(signals, chosen):
    parts = {name: None if (x := getattr(signals, name)) is None else x[chosen] for name in TENSORS}
    return dataclasses.replace(signals, **parts)


def test_every_scheme_of_the_table_has_a_case():
    assert {name for name, _ in CASES.values()} == set(SCHEMES)


@every_scheme
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("n_future", [1, 3])
def test_weights_are_finite_zero_outside_the_mask_and_negative_only_with_a_floor(case, packed, n_future):
    signals = make_signals(n_future, packed=packed)
    scheme = scheme_of(case)
    for _ in range(2):
        weights = weigh(scheme, signals)
        scheme.commit()
        assert weights.shape == signals.valid.shape
        assert weights.dtype == torch.float32
        assert torch.isfinite(weights).all()
        assert case in SIGNED or (weights >= 0).all()
        assert (weights[~signals.valid] == 0).all()
        assert weights.abs().sum() > 0


@every_scheme
def test_weights_carry_no_gradient(case):
    assert not weigh(scheme_of(case), make_signals()).requires_grad


@every_scheme
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("left", "right"), [(3, 0), (0, 2), (2, 5)])
def test_weights_do_not_depend_on_padding(case, packed, left, right):
    plain, wide = scheme_of(case), scheme_of(case)
    for seed in (0, 1):
        signals = make_signals(packed=packed, seed=seed)
        expected = weigh(plain, signals)
        actual = weigh(wide, padded(signals, left, right))
        torch.testing.assert_close(actual[:, left : left + expected.shape[1]], expected)
        plain.commit()
        wide.commit()


@every_scheme
def test_batch_without_a_valid_prediction_gives_zeros(case):
    signals = rows(make_signals(), slice(3, 4))
    assert (weigh(scheme_of(case), signals) == 0).all()


@every_scheme
def test_half_precision_signals_give_float32_weights(case):
    signals = make_signals()
    halves = {name: getattr(signals, name).bfloat16() for name in (*PER_POSITION, "rewards", "pass_rate")}
    weights = weigh(scheme_of(case), dataclasses.replace(signals, **halves))
    assert weights.dtype == torch.float32
    assert torch.isfinite(weights).all()


# uniform reads nothing, and shuffled_across moves weights between rows by intent
READS_ITS_OWN_ROW = [case for case in CASES if not case.startswith(("uniform", "shuffled_across"))]


@pytest.mark.parametrize("case", READS_ITS_OWN_ROW)
def test_nan_at_a_valid_position_is_not_hidden_and_stays_in_its_row(case):
    signals = make_signals()
    poisoned = {name: getattr(signals, name).detach().clone() for name in (*PER_POSITION, "rewards")}
    for name, tensor in poisoned.items():
        tensor[4 if name == "rewards" else (4, 2)] = NAN
    weights = weigh(scheme_of(case), dataclasses.replace(signals, **poisoned))
    assert torch.isnan(weights[4]).any()
    assert torch.isfinite(weights[:4]).all()


SEES_NO_OTHER_ROW = (
    "uniform",
    "column",
    "column floor",
    "dft",
    "profit",
    "prift",
    "iw_sft",
    "iw_sft token",
    "eaft",
    "steps",
    "signed",
    "signed gae",
    "signed critic",
    "w_reinforce",
    "w_reinforce clip",
    "nft",
    "nft root",
    "nft none",
    "td",
    "td ema",
    "td unit mean",
    "log_odds",
    "log_odds plain",
    "log_odds floor",
    "log_odds unit mean",
    "return_weighted",
    "return_weighted ema",
    "softmax",
    "position_aligned",
    "position_aligned log_odds",
)


@pytest.mark.parametrize("case", SEES_NO_OTHER_ROW)
@pytest.mark.parametrize("packed", [False, True])
def test_micro_batches_equal_the_whole_batch(case, packed):
    whole, split = scheme_of(case), scheme_of(case)
    for seed in range(3):
        signals = make_signals(packed=packed, seed=seed)
        expected = weigh(whole, signals)
        parts = [weigh(split, rows(signals, part)) for part in (slice(0, 1), slice(1, 4), slice(4, 5))]
        torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=1e-6)
        whole.commit()
        split.commit()


@every_scheme
def test_state_dict_is_the_checkpoint(case):
    first, second = scheme_of(case), scheme_of(case)
    weigh(first, make_signals(seed=1))
    first.commit()
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(weigh(second, make_signals()), weigh(first, make_signals()), rtol=0, atol=0)


@pytest.mark.parametrize("case", ["td ema", "td unit mean", "log_odds", "lognormal"])
def test_evaluation_reads_the_statistics_of_training_and_leaves_them(case):
    scheme = scheme_of(case)
    weigh(scheme, make_signals(seed=1))
    scheme.commit()
    before = {name: value.clone() for name, value in scheme.state_dict().items()}
    expected = weigh(scheme.eval(), make_signals())
    actual = weigh(scheme.train(), make_signals(training=False))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    scheme.commit()
    assert all(torch.equal(value, before[name]) for name, value in scheme.state_dict().items())


@every_scheme
def test_missing_signal_is_an_error_that_says_how_to_supply_it(case):
    scheme = scheme_of(case)
    for name in scheme.requires:
        missing = "rewards" if name == "outcomes" else name  # which are made of them
        with pytest.raises(ValueError, match=rf"scheme {type(scheme).__name__} reads signals.{name}, which is missing"):
            weigh(scheme, make_signals(**{missing: None}))


def test_td_is_the_published_pair_of_functions_aligned_to_the_heads():
    signals = make_signals()
    expected = align_to_heads(build_weights(signals.td_errors, 0.9, mask=signals.mask), 3)
    expected = torch.where(signals.valid, expected, 0.0).detach()
    torch.testing.assert_close(weigh(make_scheme("td"), signals), expected, rtol=0, atol=0)


def test_td_with_gae_credit_weighs_advantages():
    signals = make_signals(1, gamma=0.9)
    advantages = compute_gae(signals.values, signals.rewards, signals.mask, 0.9, 0.8).detach()
    expected = build_weights(advantages, 0.5, mask=signals.mask)
    actual = weigh(make_scheme("td", credit="gae", lam=0.8, beta=0.5), signals)[..., 0]
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_whitened_td_has_beta_one_unless_told():
    signals = make_signals(1)
    scores = whiten(signals.td_errors, signals.mask)
    for options, beta in (({}, 1.0), ({"beta": 0.5}, 0.5)):
        weights = weigh(make_scheme("td", whitening="batch", **options), signals)[..., 0]
        torch.testing.assert_close(weights, build_weights(scores, beta, mask=signals.mask), rtol=0, atol=0)


def test_ema_whitening_equals_batch_whitening_after_one_step_on_the_same_batch():
    signals = make_signals()
    ema = make_scheme("td", whitening="ema")
    weigh(ema, signals)
    ema.commit()
    torch.testing.assert_close(weigh(ema, signals), weigh(make_scheme("td", whitening="batch"), signals))


def test_unit_mean_divides_by_the_mean_of_earlier_steps():
    signals = make_signals(1)
    plain, scheme = weigh(make_scheme("td", beta=0.1), signals), make_scheme("td", beta=0.1, unit_mean=True)
    torch.testing.assert_close(weigh(scheme, signals), plain)
    assert scheme.clip_bounds() == (0.1, 5.0)
    scheme.commit()
    scaled = weigh(scheme, signals)
    assert scaled[signals.valid].mean().item() == pytest.approx(1.0, abs=1e-6)
    mean = plain[signals.valid].mean()
    torch.testing.assert_close(scaled, plain / mean)
    torch.testing.assert_close(torch.stack(scheme.clip_bounds()), torch.tensor([0.1, 5.0]) / mean)


def test_entropy_floor_keeps_the_weights_of_every_sequence_spread():
    signals = make_signals(1)
    # clip bounds far away, so that the weights are the softmax up to a factor
    scheme = make_scheme("td", beta=0.01, entropy_floor=0.9, min_weight=0.0, max_weight=1e30)
    weights = weigh(scheme, signals)[..., 0]
    for row in (0, 1, 4):
        entropy = weight_stats(moments(weights[row], signals.mask[row]))["weight_entropy"]
        assert entropy.item() == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("packed", [False, True])
def test_softmax_weights_have_mean_one_over_each_sequence(packed):
    signals = make_signals(1, packed=packed)
    weights = weigh(make_scheme("softmax", temperature=0.2), signals)[..., 0]
    segments = signals.segment_ids if packed else signals.mask.long()
    for row in range(len(LENGTHS)):
        for segment in segments[row].unique().tolist():
            chosen = signals.mask[row] & (segments[row] == segment)
            if chosen.any():
                assert weights[row, chosen].mean().item() == pytest.approx(1.0, abs=1e-5)


def test_column_takes_the_weights_as_they_are():
    signals = make_signals(1)
    weights = weigh(make_scheme("column"), signals)[..., 0]
    assert torch.equal(weights[signals.mask], signals.weights[signals.mask])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # nll - reference is 3, -4, 1, 0
        ("signed", [1.0, 0.0, 1.0, 0.0]),
        ("absolute", [1.0, 1.0, 0.0, 0.0]),
        # reference is 1, 5, 2, .5
        ("reference", [1.0, 0.0, 0.0, 1.0]),
    ],
)
def test_rho1_keeps_the_highest_scores(mode, expected):
    mask = torch.ones(1, 4, dtype=torch.bool)
    nll, reference = torch.tensor([[4.0, 1.0, 3.0, 0.5]]), torch.tensor([[1.0, 5.0, 2.0, 0.5]])
    signals = Signals(mask=mask, valid=mask[..., None], nll=nll[..., None], reference_nll=reference[..., None])
    assert weigh(make_scheme("rho1", keep_fraction=0.5, mode=mode), signals).flatten().tolist() == expected


def test_rho1_counts_the_valid_predictions_of_each_head():
    signals = make_signals(3)
    weights = weigh(make_scheme("rho1", keep_fraction=0.6), signals)
    for head in range(3):
        assert weights[..., head].sum().item() == math.ceil(0.6 * signals.valid[..., head].sum().item() - 1e-9)


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    [(5, 0.6, 3), (100, 0.6, 60), (50, 0.3, 15), (10, 0.1, 1), (1, 0.01, 1), (3, 1.0, 3), (7, 0.5, 4)],
)
def test_share_is_rounded_up_without_floating_point_surprises(count, share, kept):
    scores = torch.rand(1, count, 1)
    assert top_share(scores, torch.ones_like(scores), share).sum().item() == kept


def test_top_share_breaks_ties_by_place_and_counts_minus_infinity():
    ties = torch.ones(1, 4000, 1)
    assert top_share(ties, ties, 0.5).flatten().tolist() == [1.0] * 2000 + [0.0] * 2000
    scores, valid = torch.full((1, 4, 1), -math.inf), torch.tensor([[[0], [1], [1], [1]]])
    assert top_share(scores, valid, 0.6).flatten().tolist() == [0.0, 1.0, 1.0, 0.0]


OUT_OF_RANGE = [
    ("td", {"beta": 0}, r"beta is 0; needed is a number in \(0, inf\)"),
    ("td", {"min_weight": 6.0}, "min_weight is 6.0"),
    ("td", {"whitening": "emma"}, "whitening is 'emma'; needed is one of none, batch, ema"),
    ("td", {"credit": "mc"}, "credit is 'mc'; needed is one of td, gae"),
    ("td", {"lam": 1.5}, "lam is 1.5"),
    ("td", {"entropy_floor": 1.0}, r"entropy_floor is 1.0; needed is a number in \[0, 1\)"),
    ("td", {"whitening": "ema", "ema_decay": 1.0}, r"decay is 1.0; needed is a number in \[0, 1\)"),
    ("log_odds", {"smoothing": 0.5}, r"smoothing is 0.5; needed is a number in \[0, 0.5\)"),
    ("log_odds", {"smoothing": -0.1}, r"smoothing is -0.1; needed is a number in \[0, 0.5\)"),
    ("log_odds", {"beta": None}, r"beta is None; needed is a number in \(0, inf\)"),
    ("return_weighted", {"whitening": "emma"}, "whitening is 'emma'; needed is one of none, batch, ema"),
    ("softmax", {"temperature": -1}, "temperature is -1"),
    ("rho1", {"keep_fraction": 0.0}, r"keep_fraction is 0.0; needed is a number in \(0, 1\]"),
    ("rho1", {"mode": "excess"}, "mode is 'excess'; needed is one of signed, absolute, reference"),
    ("shuffled", {"inner": "tdd"}, "unknown weighting scheme 'tdd'; nearest is 'td'"),
    ("shuffled", {"inner_options": {"betta": 1}}, "unexpected keyword argument 'betta'; its options are: beta, "),
    ("uniform", {"beta": 1}, "its options are: none"),
    ("column", {"floor": 0.0}, r"floor is 0.0; needed is a number in \(0, 1\)"),
    ("steps", {"floor": 1.0}, r"floor is 1.0; needed is a number in \(0, 1\)"),
    ("profit", {"tau": 1.0}, r"tau is 1.0; needed is a number in \[0, 1\)"),
    ("iw_sft", {"form": "rows"}, "form is 'rows'; needed is one of row, token"),
    ("iw_sft", {"max_weight": 0.1, "form": "token"}, r"min_weight is 0.2; needed is a number in \[0, 0.1\]"),
    ("iw_sft", {"temperature": 0.0}, r"temperature is 0.0; needed is a number in \(0, inf\)"),
    ("eaft", {"alpha": -1.0}, r"alpha is -1.0; needed is a number in \(0, inf\)"),
    ("top_entropy", {"share": 0.0}, r"share is 0.0; needed is a number in \(0, 1\]"),
    ("signed", {"credit": "log_odds"}, "credit is 'log_odds'; needed is one of td, gae, critic"),
    ("signed", {"min_weight": 0.1}, r"min_weight is 0.1; needed is a number in \(-inf, 0\]"),
    ("signed", {"floor": 0.0}, r"floor is 0.0; needed is a number in \(0, 1\)"),
    ("w_reinforce", {"floor": None}, r"floor is None; needed is a number in \(0, 1\)"),
    ("w_reinforce", {"clip": 1.0}, r"clip is 1.0; needed is a number in \(0, 1\)"),
    ("nft", {"epsilon": 0.0}, r"epsilon is 0.0; needed is a number in \(0, inf\)"),
    ("nft", {"prompt_weight": "grpo"}, "prompt_weight is 'grpo'; needed is one of hard, root, none"),
    ("lognormal", {"inner": "signed"}, "scheme SignedCredit gives negative weights"),
]


@pytest.mark.parametrize(("name", "options", "message"), OUT_OF_RANGE)
def test_option_out_of_range_says_what_is_needed(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_scheme(name, **options)


def test_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match="unknown weighting scheme 'unifrom'; nearest is 'uniform'") as error:
        make_scheme("unifrom")
    assert all(name in str(error.value) for name in SCHEMES)


OWN_MODULE = """
from weighted_mtp.value_weighting import WeightingScheme

class Tripled(WeightingScheme):
    def __init__(self, factor=3.0):
        super().__init__()
        self.factor = factor

    def forward(self, signals):
        return self.factor * signals.mask

not_a_scheme = dict
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_package_of_a_test").mkdir()
    (tmp_path / "own_package_of_a_test" / "schemes.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_package_of_a_test.schemes"


def test_own_class_is_loaded_by_its_import_path(own_module):
    signals = make_signals(1)
    weights = weigh(make_scheme(f"{own_module}:Tripled", factor=4.0), signals)
    assert torch.equal(weights[signals.valid].unique(), torch.tensor([4.0]))
    shuffled = make_scheme("shuffled", inner=f"{own_module}:Tripled")
    assert torch.equal(weigh(shuffled, signals)[signals.valid].unique(), torch.tensor([3.0]))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package_here:X", "cannot be imported: No module named 'no_such_package_here'"),
        ("{module}:Quadrupled", "cannot be imported: .*Quadrupled"),
        ("{module}:not_a_scheme", "needed is a subclass of WeightingScheme"),
        (":X", "cannot be imported"),
    ],
)
def test_own_class_that_cannot_be_loaded_says_why(own_module, path, message):
    with pytest.raises(ValueError, match=message):
        make_scheme(path.format(module=own_module))


def test_error_inside_an_own_module_is_not_mistaken_for_a_missing_option(own_module):
    with pytest.raises(ValueError, match="unexpected keyword argument 'faktor'; its options are: factor"):
        make_scheme(f"{own_module}:Tripled", faktor=1.0)


class WrongShape(WeightingScheme):
    def forward(self, signals):
        return torch.ones(2)


class WithGradient(WeightingScheme):
    def forward(self, signals):
        with torch.enable_grad():
            return signals.values * 2


def test_scheme_that_returns_another_shape_is_an_error():
    with pytest.raises(ValueError, match=r"WrongShape returned weights of shape \[2\]; needed is"):
        weigh(WrongShape(), make_signals())


def test_scheme_that_switches_gradients_on_gives_weights_without():
    assert not weigh(WithGradient(), make_signals()).requires_grad


@pytest.mark.parametrize(
    "changes",
    [{"mask": torch.ones(5)}, {"valid": torch.ones(5, 9)}, {"values": torch.ones(5, 8)}, {"nll": torch.ones(5, 9, 1)}],
)
def test_signals_of_another_shape_are_an_error(changes):
    with pytest.raises(ValueError, match=r"has shape .*; needed is"):
        make_signals(**changes)
