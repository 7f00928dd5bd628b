from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from icp_ml import statistics as s

P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_holds_the_share_and_stays_a_share(good: int, bad: int) -> None:
    low, high = s.wilson(good, good + bad)
    share = good / max(good + bad, 1)
    assert 0.0 <= low <= high <= 1.0
    if good + bad:
        assert low - 1e-12 <= share <= high + 1e-12


def test_no_trials_say_nothing() -> None:
    assert [float(x) for x in s.wilson(0, 0)] == [0.0, 1.0]
    assert [float(x) for x in s.newcombe(0, 0, 5, 10)] == [-1.0, 1.0]


@given(st.integers(1, 60), st.data())
def test_exact_interval_agrees_with_scipy_and_contains_wilsons_share(n: int, data: st.DataObject) -> None:
    good = data.draw(st.integers(0, n))
    low, high = s.clopper_pearson(good, n)
    want = stats.binomtest(good, n).proportion_ci(0.90, method="exact")
    assert np.allclose([low, high], [want.low, want.high], atol=1e-9)


def test_level_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        s.wilson(1, 2, level=90)


@given(P_VALUES)
def test_bh_agrees_with_scipy(p: list[float]) -> None:
    assert np.allclose(s.benjamini_hochberg(p), stats.false_discovery_control(p))


@given(P_VALUES)
def test_by_is_never_below_bh(p: list[float]) -> None:
    assert (s.benjamini_yekutieli(p) >= s.benjamini_hochberg(p) - 1e-12).all()


def test_untestable_hypotheses_are_not_counted() -> None:
    q = s.benjamini_hochberg([0.01, np.nan, 0.5])
    assert np.isnan(q[1])
    assert np.allclose(q[[0, 2]], s.benjamini_hochberg([0.01, 0.5]))


def test_weights_favour_their_hypothesis_and_only_their_ratio_counts() -> None:
    plain = s.benjamini_hochberg([0.02, 0.2, 0.9])
    weighed = s.benjamini_hochberg([0.02, 0.2, 0.9], weights=[2.0, 0.5, 0.5])
    assert weighed[0] < plain[0]
    assert np.allclose(weighed, s.benjamini_hochberg([0.02, 0.2, 0.9], weights=[4.0, 1.0, 1.0]))


def test_several_families_of_noise_cost_and_full_families_do_not() -> None:
    found, noise = np.array([0.01, 0.03]), np.array([0.5, 0.9])
    both, one = s.selective_q([found, found], 0.1), s.selective_q([found, noise], 0.1)
    assert np.allclose(both[0], found)
    assert np.allclose(one[0], 2 * found)
    assert (one[1] >= noise).all()
    assert np.isnan(s.selective_q([np.array([np.nan]), found], 0.1)[0]).all()


def test_a_family_that_fails_reports_nothing() -> None:
    families = s.selective_q([np.array([0.08, 0.3]), np.array([0.9]), np.array([0.8])], 0.1)
    assert not any((family <= 0.1).any() for family in families)


def test_permutation_p_is_valid_under_the_null() -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal(size=(2000, 20))
    p = s.permutation_p(draws[:, 0], draws[:, 1:])
    assert p.min() >= 1 / 20
    for level in (0.05, 0.1, 0.5):
        assert (p <= level).mean() <= level + 0.025


def test_ties_count_against_the_finding() -> None:
    assert s.permutation_p([1.0], [[1.0 + 1e-15, 1.0 - 1e-15]])[0] == 1.0


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_fisher_agrees_with_scipy(a: int, b: int, c: int, d: int) -> None:
    want = stats.fisher_exact([[a, b], [c, d]]).pvalue if a + b and c + d else 1.0
    assert s.fisher_exact(a, a + b, c, c + d) == pytest.approx(want, abs=1e-9)


@given(st.integers(100, 20_000), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_power_functions_are_each_others_inverse(n: int, share: float, base: float) -> None:
    gap = float(s.detectable_difference(n, share, base))
    assert abs(float(s.accounts_needed(gap, share, base)) - n) <= 1


def test_power_says_what_a_simulation_shows() -> None:
    rng, n, share, base = np.random.default_rng(2), 800, 0.3, 0.8
    gap = float(s.detectable_difference(n, share, base, alpha=0.01, power=0.8))
    held = rng.random((4000, n)) < share
    y = rng.random((4000, n)) < np.where(held, base + gap * (1 - share), base - gap * share)
    k = held.sum(axis=1)
    yes, no = (y & held).sum(axis=1) / k, (y & ~held).sum(axis=1) / (n - k)
    error = np.sqrt(base * (1 - base) * (1 / k + 1 / (n - k)))
    assert ((yes - no) / error > stats.norm.ppf(0.99)).mean() == pytest.approx(0.8, abs=0.05)


def test_nobody_holding_a_trait_is_never_decidable() -> None:
    assert np.isinf(s.detectable_difference(1000, 0.0, 0.8))
    assert np.isinf(s.accounts_needed(0.1, 1.0, 0.8))


def test_noise_is_shrunk_away_and_a_clear_effect_is_kept() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, 100)
    shrunken = s.shrink_effects(np.append(noise, 0.2), np.full(101, 0.02))
    assert np.abs(shrunken.mean[:100]).mean() < 0.3 * np.abs(noise).mean()
    assert shrunken.mean[100] > 0.18
    assert shrunken.low[100] < 0.2 < shrunken.high[100]
    assert shrunken.null_weight[100] < 0.01


def test_shrinking_is_odd_and_passes_unknown_through() -> None:
    x, e = np.array([0.1, -0.05, np.nan, 0.3]), np.full(4, 0.05)
    up, down = s.shrink_effects(x, e), s.shrink_effects(-x, e)
    assert np.isnan(up.mean[2])
    assert np.allclose(up.mean, -down.mean, equal_nan=True)
    assert np.allclose(up.low, -down.high, equal_nan=True, atol=1e-9)


def test_the_best_of_many_is_covered_after_selection() -> None:
    rng, hits, bias = np.random.default_rng(3), 0, 0.0
    for _ in range(200):
        true = np.where(rng.random(60) < 0.2, rng.normal(0, 0.1, 60), 0.0)
        seen = true + rng.normal(0, 0.05, 60)
        top = int(np.abs(seen).argmax())
        shrunken = s.shrink_effects(seen, np.full(60, 0.05))
        bias += float(
            np.sign(seen[top]) * np.array([seen[top] - true[top], shrunken.mean[top] - true[top]]) @ [1, -3]
        )
        hits += bool(shrunken.low[top] - 1e-9 <= true[top] <= shrunken.high[top] + 1e-9)
    # nine in ten are aimed at; fitting the prior to 60 estimates costs some
    assert hits >= 156
    # on average the shrunken best is off by less than a third of what the raw best is off by
    assert bias > 0


def test_rates_are_pulled_to_the_common_one_by_how_little_is_known() -> None:
    mean, low, high = s.shrink_rates([0, 0, 80, 85, 78, 30], [1, 30, 100, 100, 100, 40])
    assert mean[0] > mean[1]
    assert (low < mean).all()
    assert (mean < high).all()


def test_stability_of_random_and_of_equal_selections() -> None:
    rng = np.random.default_rng(1)
    assert abs(s.nogueira_stability(rng.random((200, 30)) < 0.3)) < 0.02
    assert s.nogueira_stability(np.tile([1, 0, 0, 1], (5, 1))) == 1.0
    assert np.isnan(s.nogueira_stability(np.ones((3, 4))))
    with pytest.raises(ValueError, match="at least 2"):
        s.nogueira_stability([[1, 0]])


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), st.integers(0, 99))
def test_bootstrap_draws_whole_accounts(groups: list[str], seed: int) -> None:
    weights = s.bootstrap_weights(groups, 5, seed=seed)
    first = {group: groups.index(group) for group in groups}
    assert (weights.sum(axis=1) >= 0).all()
    assert all((weights[:, i] == weights[:, first[group]]).all() for i, group in enumerate(groups))
    assert (weights[:, list(first.values())].sum(axis=1) == len(first)).all()


def test_effective_sample_size_and_overlap() -> None:
    assert s.effective_sample_size([0.0, 0.0]) == 0.0
    assert s.effective_sample_size([3.0] * 7) == pytest.approx(7)
    assert s.jaccard([], []) == 1.0
    assert s.jaccard([0.5, 0.5], [1.0, 0.0]) == pytest.approx(1 / 3)
