"""How good a batch's chances can be expected to be before outcomes are known, and how good they were.

The expectation takes the calibrated chances at their word (confidence-based estimation): whoever has a
chance of 0.9 counts as nine tenths of a good outcome. Its interval adds what luck does to outcomes and what
the calibration couldn't know. It can't see that outcomes follow from the fields in another way than before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

from icp_ml.model.calibration import Calibration, log_loss_rows
from icp_ml.model.metrics import metric_errors
from icp_ml.model.propensity import PropensityClassifier
from icp_ml.statistics import wilson

Floats = npt.NDArray[np.float64]

PERFORMANCE_COLUMNS = (
    "target",
    "metric",
    "estimate",
    "low",
    "high",
    "realised",
    "realised_low",
    "realised_high",
    "trained",
    "n",
    "alarm_low",
    "alarm_high",
    "alarm",
)
AUC, LOG_LOSS = "auc", "log_loss"
RATES = {"retained": "churn", "expanded": "expansion"}
SEED = 20_263
CHOICES = 1.0
"""Variances of the slope that are added for the choices of the model, made on the same rows; chosen on
simulated bases, where models differ by more than the covariance of their calibration says."""
_CELLS = 20_000_000
_MOST_DRAWS, _FEWEST_DRAWS = 1_000, 200


@dataclass(frozen=True, slots=True)
class Levels:
    """How sure the intervals are.

    Parameters
    ----------
    interval
        Coverage of each interval, 0 to 1.
    chance
        Chance that any measure raises a false alarm.
    """

    interval: float = 0.95
    chance: float = 0.02


def performance_rows(
    propensities: Mapping[str, PropensityClassifier],
    log_odds: Mapping[str, Floats],
    outcomes: Mapping[str, Floats],
    levels: Levels,
) -> pd.DataFrame:
    """Estimate each measure of a batch and, where outcomes are known, compare.

    Parameters
    ----------
    propensities
        Target → classifier, for its calibration and what it had in training.
    log_odds
        Target → calibrated log-odds per account.
    outcomes
        Target → outcome per account, NaN where it isn't known yet; targets without any may be absent.
    levels
        How sure the intervals are.

    Returns
    -------
    Three rows per target with the columns of ``PERFORMANCE_COLUMNS``. Where outcomes are known, estimate and
    realised value are of the accounts that have one, else the estimate is of all.
    """
    measures = 3 * len(propensities)
    parts = []
    for target, classifier in propensities.items():
        f, y = log_odds[target], outcomes.get(target)
        if y is not None and np.isfinite(y).any():
            known = np.isfinite(y)
            f, y = f[known], y[known]
        else:
            y = None
        parts.append(_one_target(target, classifier, f, y, levels, levels.chance / measures))
    return pd.DataFrame([row for part in parts for row in part], columns=list(PERFORMANCE_COLUMNS))


Row = tuple[object, ...]


def _one_target(
    target: str, classifier: PropensityClassifier, f: Floats, y: Floats | None, levels: Levels, chance: float
) -> list[Row]:
    # draws go by rank, so that the order of the batch doesn't matter
    order = np.argsort(f, kind="stable")
    f = f[order]
    y = None if y is None else y[order]
    drawn = draw_measures(f, classifier.calibration_)
    trained = _trained(classifier)
    z_interval = float(ndtri(0.5 + levels.interval / 2.0))
    rows: list[Row] = []
    for measure, estimate in expected_measures(f).items():
        low, high = _around(measure, estimate, drawn[measure], z_interval)
        alarm_low, alarm_high = _alarm_ends(measure, estimate, drawn[measure], chance)
        realised, real_low, real_high = (
            _realised(measure, f, y, z_interval, levels.interval) if y is not None else (np.nan,) * 3
        )
        name = measure
        numbers = np.array([estimate, low, high, realised, real_low, real_high, trained[measure]])
        ends = np.array([alarm_low, alarm_high])
        alarm = bool(np.isfinite(realised)) and not alarm_low <= realised <= alarm_high
        if measure == "rate":
            name = RATES.get(target, target)
            if name == "churn":
                numbers, ends = (1.0 - numbers)[[0, 2, 1, 3, 5, 4, 6]], (1.0 - ends)[::-1]
        rows.append((target, name, *numbers.tolist(), len(f), *ends.tolist(), alarm))
    return rows


def expected_measures(log_odds: Floats) -> dict[str, float]:
    """Return the expected AUC, log loss and rate of accounts whose chances are right.

    Parameters
    ----------
    log_odds
        Calibrated log-odds.

    Notes
    -----
    AUC: each pair counts by the chance that the first has the good outcome and the second hasn't. The method
    is that of NannyML's CBPE (Białek et al. 2024, arXiv:2407.08649), without its thresholds.

    Examples
    --------
    >>> found = expected_measures(np.array([-1.0, 1.0]))
    >>> round(found["auc"], 3), round(found["rate"], 3)
    (0.881, 0.5)
    """
    p = expit(log_odds)
    values, place = np.unique(log_odds, return_inverse=True)
    good = np.bincount(place, weights=p, minlength=len(values))
    bad = np.bincount(place, weights=1.0 - p, minlength=len(values))
    # an account is no pair with itself
    own = float((p * (1.0 - p)).sum())
    below = np.cumsum(bad) - bad
    pairs = float(p.sum() * (1.0 - p).sum()) - own
    wins = float((good * (below + 0.5 * bad)).sum()) - 0.5 * own
    return {
        AUC: wins / pairs if pairs > 0 else float("nan"),
        LOG_LOSS: float(log_loss_rows(p, log_odds).mean()),
        "rate": float(p.mean()),
    }


def draw_measures(log_odds: Floats, calibration: Calibration) -> dict[str, Floats]:
    """Draw what may be realised: another calibration within its covariance, then outcomes by chance.

    Parameters
    ----------
    log_odds
        Calibrated log-odds, rising.
    calibration
        What gave them.

    Returns
    -------
    dict
        Measure → one value per draw, on the scale of :func:`_scaled`; NaN where a draw has one outcome only.
    """
    rng = np.random.default_rng(SEED)
    n = len(log_odds)
    draws = int(np.clip(_CELLS // max(n, 1), _FEWEST_DRAWS, _MOST_DRAWS))
    raw = (log_odds - calibration.intercept) / calibration.slope if calibration.slope > 0 else np.zeros(n)
    covariance = np.array(calibration.covariance).reshape(2, 2)
    shifts = rng.multivariate_normal(np.zeros(2), covariance, size=draws, method="eigh")
    tilts = rng.normal(0.0, np.sqrt(CHOICES * covariance[0, 0]), draws)
    centred = raw - raw.mean()
    ranks = rankdata(log_odds)
    rest = float(np.logaddexp(0.0, log_odds).mean())
    found = {AUC: np.full(draws, np.nan), LOG_LOSS: np.zeros(draws), "rate": np.zeros(draws)}
    for b, ((slope, intercept), tilt) in enumerate(zip(shifts, tilts, strict=True)):
        y = rng.random(n) < expit(log_odds + slope * raw + intercept + tilt * centred)
        good = int(y.sum())
        if 0 < good < n:
            found[AUC][b] = (ranks[y].sum() - good * (good + 1) / 2.0) / (good * (n - good))
        found[LOG_LOSS][b] = rest - log_odds[y].sum() / n
        found["rate"][b] = good / n
    return {measure: _scaled(measure, values, n) for measure, values in found.items()}


def _scaled(measure: str, values: Floats, n: int) -> Floats:
    """Log for the log loss, logit for AUC and rate: there they are nearly normal, and bounds stay inside."""
    if measure == LOG_LOSS:
        return np.log(np.maximum(values, 1e-9))
    edge = 0.5 / (n + 1.0)
    return np.asarray(logit(np.clip(values, edge, 1.0 - edge)))


def _around(measure: str, estimate: float, drawn: Floats, z: float) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(estimate) or len(known) < 2:
        return float("nan"), float("nan")
    half = z * float(known.std(ddof=1))
    if measure == LOG_LOSS:
        return estimate * float(np.exp(-half)), estimate * float(np.exp(half))
    middle = float(logit(np.clip(estimate, 1e-9, 1.0 - 1e-9)))
    return float(expit(middle - half)), float(expit(middle + half))


def _alarm_ends(measure: str, estimate: float, drawn: Floats, chance: float) -> tuple[float, float]:
    """Return where alarms begin; a better AUC or log loss than expected is none."""
    sides = 2.0 if measure == "rate" else 1.0
    low, high = _around(measure, estimate, drawn, float(-ndtri(chance / sides)))
    return (0.0 if measure == LOG_LOSS else low, 1.0 if measure == AUC else high)


def _realised(measure: str, f: Floats, y: Floats, z: float, level: float) -> tuple[float, float, float]:
    """Return the realised value with its interval over accounts."""
    n = len(y)
    if measure == "rate":
        low, high = wilson(float(y.sum()), n, level=level)
        return float(y.mean()), float(low), float(high)
    value, error = metric_errors(y, f, np.arange(n), names=[measure])[measure]
    if measure == LOG_LOSS:
        half = z * error if n > 1 else float("nan")
        return value, value - half, value + half
    if min(y.sum(), n - y.sum()) < 2:
        return float("nan"), float("nan"), float("nan")
    # On the logit scale, where bounds stay inside.
    edge = 0.5 / (n + 1.0)
    inside = float(np.clip(value, edge, 1.0 - edge))
    middle, half = float(logit(inside)), z * error / (inside * (1.0 - inside))
    return value, float(expit(middle - half)), float(expit(middle + half))


def _trained(classifier: PropensityClassifier) -> dict[str, float]:
    """Return the out-of-fold measures of the final choice, and the base rate, from training."""
    last = classifier.cv_results_.iloc[-1]
    return {AUC: float(last["auc"]), LOG_LOSS: float(last["log_loss"]), "rate": float(classifier.base_rate_)}
