"""The gate: numbers of two models in, a decision with its reasons out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from icp_ml.errors import NotEnoughDataError
from icp_ml.serve.gate import Judged, Rules, decide
from icp_ml.statistics.recalibration import calibration_intercept, calibration_slope

N = 2000


def sample(seed: int = 0, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = 0.5 + rng.normal(size=n)
    return (rng.random(n) < expit(truth)).astype(float), truth


def judged(y, champion, challenger, **more) -> Judged:
    return Judged("retained", y, champion, challenger, more.pop("accounts", np.arange(len(y))), **more)


def failed(decision) -> set[str]:
    return {check.name for check in decision.checks if not check.passed}


def test_a_model_is_not_worse_than_itself():
    y, truth = sample()
    decision = decide([judged(y, truth, truth)])
    assert decision.promoted
    assert (decision.checks[0].estimate, decision.checks[0].low, decision.checks[0].high) == (0.0, 0.0, 0.0)
    assert "not worse than the champion" in decision.reason
    assert f"{N} accounts" in decision.reason


def test_itself_is_not_better_when_superiority_is_asked():
    y, truth = sample()
    decision = decide([judged(y, truth, truth)], rules=Rules(superiority=True))
    assert not decision.promoted
    assert "not proven better" in decision.reason


def test_a_truly_better_one_is_promoted_under_both_rules():
    y, truth = sample()
    flat = np.full(N, 0.45)
    for superiority in (False, True):
        assert decide([judged(y, flat, truth)], rules=Rules(superiority=superiority)).promoted


@pytest.mark.parametrize(
    ("slope", "shift", "check"),
    [(2.0, 0.0, "slope"), (0.4, 0.0, "slope"), (1.0, 0.6, "intercept"), (-1.0, 0.0, "slope")],
)
def test_a_miscalibrated_one_is_refused_with_the_figure(slope, shift, check):
    y, truth = sample()
    decision = decide([judged(y, truth, slope * truth + shift)])
    assert not decision.promoted
    assert f"calibration {check} retained" in failed(decision)
    assert f"calibration {check}" in decision.reason


def test_a_fault_that_the_champion_shares_does_not_keep_the_champion():
    y, truth = sample()
    drifted = truth - 0.5
    assert decide([judged(y, drifted, drifted)]).promoted
    assert not decide([judged(y, truth, drifted)]).promoted


def test_one_segment_that_gets_worse_is_enough():
    y, truth = sample(n=6000)
    rng = np.random.default_rng(1)
    inside = rng.random(6000) < 0.2
    challenger = np.where(inside, rng.permutation(truth), truth)
    champion = 0.5 * truth
    parts = {"segment fintech": inside, "tier A": ~inside}
    decision = decide([judged(y, champion, challenger, parts=parts)])
    assert "segment fintech" in failed(decision)
    assert "segment fintech" in decision.reason


def test_small_parts_are_not_judged():
    y, truth = sample()
    inside = np.arange(N) < 29
    decision = decide([judged(y, truth, truth, parts={"tiny": inside, "whole": ~inside})])
    assert [check.name for check in decision.checks[:2]] == ["log loss", "whole"]


def test_accounts_are_resampled_whole():
    y, truth = sample(n=400)
    once = decide([judged(y, truth, 0.7 * truth)]).checks[0]
    four = np.repeat(np.arange(400), 4)
    repeated = decide([judged(y[four], truth[four], 0.7 * truth[four], accounts=four)]).checks[0]
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))
    assert repeated.accounts == 400


def test_blocks_of_resamples_change_nothing(monkeypatch):
    y, truth = sample(n=300)
    whole = decide([judged(y, truth, 0.8 * truth)]).checks[0]
    monkeypatch.setattr("icp_ml.serve.gate._CELLS", 1000)
    blocks = decide([judged(y, truth, 0.8 * truth)]).checks[0]
    assert (blocks.low, blocks.high) == pytest.approx((whole.low, whole.high))


def test_targets_count_alike_whatever_their_rows():
    y, truth = sample()
    good = Judged("retained", y, truth, truth, np.arange(N))
    bad = Judged("expanded", y[:200], truth[:200], np.zeros(200), np.arange(200))
    both = decide([good, bad]).checks[0]
    alone = decide([bad]).checks[0]
    assert both.estimate == pytest.approx(alone.estimate / 2)


def test_the_first_model_must_not_be_worse_than_the_base_rate():
    y, truth = sample()
    base = np.full(N, np.log(y.mean() / (1 - y.mean())))
    good = decide([judged(y, base, truth)], first=True, against="the base rate")
    assert good.promoted
    assert good.reason.startswith("first model, not worse than the base rate")
    bad = decide([judged(y, base, -2 * truth)], first=True, against="the base rate")
    assert not bad.promoted
    assert bad.reason.startswith("worse than the base rate")


@pytest.mark.parametrize(
    ("slope", "shift", "check"),
    [(3.5, 0.0, "slope"), (1.5, 0.0, "slope"), (-0.2, 0.0, "slope"), (1.0, 0.6, "intercept")],
)
def test_a_first_model_is_asked_for_its_calibration(slope, shift, check):
    y, truth = sample()
    base = np.full(N, np.log(y.mean() / (1 - y.mean())))
    found = decide([judged(y, base, slope * truth + shift)], first=True)
    assert not found.promoted
    assert f"calibration {check} retained" in failed(found)
    assert f"calibration {check}" in found.reason
    wide = Rules(slope=(0.0, 10.0), intercept=1.0)
    let = decide([judged(y, base, slope * truth + shift)], first=True, rules=wide)
    assert (f"calibration {check} retained" in failed(let)) == (slope < 0)


def test_a_first_model_that_is_too_cautious_is_no_worse_than_none():
    y, truth = sample()
    base = np.full(N, np.log(y.mean() / (1 - y.mean())))
    assert decide([judged(y, base, base + 0.4 * (truth - truth.mean()))], first=True).promoted


def test_few_accounts_refuse_no_first_model_by_chance():
    refused = 0
    for seed in range(60):
        y, truth = sample(seed, n=60)
        found = decide(
            [judged(y, np.full(60, 0.45), 1.4 * truth, promised=(0.72, 0.06))],
            first=True,
            rules=Rules(resamples=200),
        )
        refused += not found.promoted
    assert refused <= 2


def test_a_first_model_must_keep_the_auc_of_its_folds():
    y, truth = sample()
    base = np.full(N, np.log(y.mean() / (1 - y.mean())))
    kept = decide([judged(y, base, truth, promised=(0.74, 0.01))], first=True)
    assert kept.promoted
    lost = decide([judged(y, base, truth, promised=(0.90, 0.01))], first=True)
    assert failed(lost) == {"auc retained"}
    assert "0.900 in the folds of the training" in lost.reason
    unsure = decide([judged(y, base, truth, promised=(0.90, 0.08))], first=True)
    assert unsure.promoted
    assert decide(
        [judged(y, base, truth, promised=(0.90, 0.01))], first=True, rules=Rules(auc_drop=0.2)
    ).promoted
    assert decide([judged(y, base, truth)], first=True).promoted
    assert decide([judged(y, truth, truth, promised=(0.90, 0.01))]).promoted


def test_no_rows_is_no_decision():
    with pytest.raises(NotEnoughDataError, match="neither"):
        decide([])
    with pytest.raises(NotEnoughDataError, match="neither"):
        decide([judged(np.empty(0), np.empty(0), np.empty(0))])


def test_one_outcome_only_has_no_calibration():
    nan = np.isnan
    assert all(nan(calibration_slope(np.ones(5), np.arange(5.0), np.arange(5))))
    assert all(nan(calibration_slope(np.array([0.0, 1.0]), np.ones(2), np.arange(2))))
    assert all(nan(calibration_intercept(np.zeros(5), np.arange(5.0), np.arange(5))))
    decision = decide([judged(np.ones(50), np.full(50, 1.0), np.full(50, 1.0))])
    assert decision.promoted


def test_slope_and_intercept_are_those_of_the_distortion():
    y, truth = sample(n=40_000)
    slope, error = calibration_slope(y, 2.0 * truth, np.arange(40_000))
    assert abs(slope - 0.5) < 4 * error
    shift, error = calibration_intercept(y, truth + 0.3, np.arange(40_000))
    assert abs(shift + 0.3) < 4 * error


def test_a_decision_is_plain_data_and_the_same_every_time():
    y, truth = sample()
    call = [judged(y, truth, 0.9 * truth, parts={"tier A": truth > 1.0})]
    one = decide(call, notes={"traits kept": 0.5, "left": float("nan")}).to_state()
    assert one == decide(call, notes={"traits kept": 0.5, "left": float("nan")}).to_state()
    assert json.loads(json.dumps(one))["notes"] == {"traits kept": 0.5, "left": None}
