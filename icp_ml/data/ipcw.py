"""Unfinished horizons: weights that let the finished ones speak for them, and one row per observed period.

A row whose window isn't over is neither retained nor lost. Counting it as retained makes every chance look
better than it is; leaving it out while keeping those who left early makes it look worse.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml import parameters
from icp_ml.errors import ConfigError, NotEnoughDataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Largest weight of one row; beyond it a handful of rows would decide.
MOST_WEIGHT = 20.0
MOST_PERIODS = 6_000
MOST_DRAWN = 10**9


def read_follow_up(periods: npt.ArrayLike, left: npt.ArrayLike, horizon: int) -> tuple[Ints, Bools]:
    """Check follow-up times and cut them off at the horizon.

    Parameters
    ----------
    periods
        Whole periods (months) that each row was followed: up to the one in which it left, or up to the last
        day known.
    left
        Whether it left in the last of them.
    horizon
        Length of the window in periods.

    Returns
    -------
    periods, left
        Periods from 0 to ``horizon``, and whether the row left within the horizon.

    Raises
    ------
    ConfigError
        If lengths differ, a period is negative or no whole number, or a row left in no period.
    """
    horizon = parameters.whole("horizon", horizon, 1, MOST_PERIODS)
    times, events = parameters.numbers("periods", periods), np.asarray(left).astype(np.bool_)
    if times.shape != events.shape:
        raise ConfigError(
            f"expected one event for each of {len(times)} rows, found {events.size} events: give both",
            found=events.size,
        )
    bad = ~np.isfinite(times) | (times < 0) | (times != np.round(times)) | (events & (times < 1))
    if bad.any():
        raise ConfigError(
            f"expected whole periods from 0 (from 1 where a row left), found {int(bad.sum())} others, first "
            f"{times[bad][0]} at row {int(np.argmax(bad))}",
            count=int(bad.sum()),
        )
    return np.minimum(times, horizon).astype(np.int64), events & (times <= horizon)


def censoring_weights(
    periods: npt.ArrayLike,
    left: npt.ArrayLike,
    horizon: int,
    *,
    strata: npt.ArrayLike | None = None,
    most: float = MOST_WEIGHT,
) -> Floats:
    """Return inverse-probability-of-censoring weights: 0 for unfinished rows, 1 / G for the others.

    G is the Kaplan-Meier chance of being followed at least as long, with censoring as the event: of a row
    that left in period t, the chance not to be cut off before t; of one that stayed, not before the horizon
    (Robins & Finkelstein 2000, Biometrics 56:779; as used for Brier scores by Graf et al. 1999, Statistics in
    Medicine 18:2529). Cutting off must not depend on the outcome given ``strata``; a cut by the calendar
    doesn't, unless newer accounts are other accounts.

    Parameters
    ----------
    periods, left, horizon
        See :func:`read_follow_up`.
    strata
        G is counted within each value of it, such as the quarter of the snapshot or a size band.
    most
        Cap of a weight.

    Returns
    -------
    Floats
        One weight per row; their sum is about the number of rows.

    Raises
    ------
    ConfigError
        If follow-up times are no whole periods.
    NotEnoughDataError
        If in some stratum nobody was followed to the horizon: nothing can be weighted up to it.

    Examples
    --------
    >>> censoring_weights([2, 1, 1, 2], [False, True, False, False], horizon=2).round(2).tolist()
    [1.5, 1.0, 0.0, 1.5]
    """
    most = parameters.number("most", most, 1, 1e12)
    times, events = read_follow_up(periods, left, horizon)
    names = np.zeros(len(times), dtype=np.int64) if strata is None else np.asarray(strata)
    weights = np.zeros(len(times))
    for name in np.unique(names.astype(str)).tolist():
        rows = np.flatnonzero(names.astype(str) == name)
        finished = events[rows] | (times[rows] >= horizon)
        if not (times[rows] >= horizon).any():
            raise NotEnoughDataError(
                f"expected rows that were followed for {horizon} periods in stratum {name!r}, found none of "
                f"{len(rows)}: a shorter horizon, or fewer strata",
                stratum=name,
            )
        followed = _chance_of_follow_up(times[rows], events[rows], horizon)
        weights[rows] = np.where(finished, 1.0 / followed[times[rows]], 0.0)
    return np.minimum(weights, most)


def _chance_of_follow_up(times: Ints, events: Bools, horizon: int) -> Floats:
    """Return G(t-) for t = 0 ... horizon: the chance not to be cut off before period t is over.

    Who is followed for k whole periods and still there is cut off after k; those who leave in a period are
    counted before those who are cut off after it.
    """
    survival = np.ones(horizon + 1)
    for after in range(horizon):
        cut = int(((times == after) & ~events).sum())
        at_risk = int(((times > after) | ((times == after) & ~events)).sum())
        survival[after + 1] = survival[after] * (1.0 - cut / at_risk if at_risk else 1.0)
    return np.maximum(survival, 1e-12)


def rows_by_weight(weights: npt.ArrayLike, seed: int = 0) -> Ints:
    """Draw rows so that each comes as often as its weight says, for estimators that know no weights.

    Systematic sampling (Madow 1949): the number of copies of a row is its weight rounded up or down, and the
    number of all rows is the sum of the weights.

    Examples
    --------
    >>> rows_by_weight([1.0, 0.0, 2.0, 1.0]).tolist()
    [0, 2, 2, 3]
    """
    given = parameters.numbers("weights", weights)
    if not len(given) or (given < 0).any() or not 0 < given.sum() <= MOST_DRAWN:
        raise ConfigError(
            f"expected weights of at least 0 that add up to more than 0 and at most {MOST_DRAWN:,}, found "
            f"{len(given)} weights from {given.min(initial=0.0):g} on: correct them",
            count=len(given),
        )
    total = np.cumsum(given)
    rng = np.random.default_rng(parameters.seed(seed))
    points = np.arange(int(round(total[-1])), dtype=np.float64) + rng.random()
    return np.minimum(np.searchsorted(total, points, side="right"), len(total) - 1).astype(np.int64)


def period_rows(periods: npt.ArrayLike, left: npt.ArrayLike, horizon: int) -> tuple[Ints, Ints, Floats]:
    """Return a row for each observed period of each row: its position, the period, whether it left then.

    Examples
    --------
    >>> rows, period, event = period_rows([2, 0, 1], [True, False, False], horizon=12)
    >>> rows.tolist(), period.tolist(), event.tolist()
    ([0, 0, 2], [1, 2, 1], [0.0, 1.0, 0.0])
    """
    times, events = read_follow_up(periods, left, horizon)
    rows = np.repeat(np.arange(len(times), dtype=np.int64), times)
    first = np.repeat(np.cumsum(times) - times, times)
    period: npt.NDArray[Any] = np.arange(len(rows), dtype=np.int64) - first + 1
    return rows, period, (events[rows] & (period == times[rows])).astype(np.float64)
