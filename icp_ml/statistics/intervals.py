"""Intervals for a share and for the difference of two shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri

Array = npt.NDArray[np.float64]


def _both_sides(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, found {level!r}")
    return 0.5 + level / 2.0


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = 0.90) -> tuple[Array, Array]:
    """Score interval of a share.

    Parameters
    ----------
    successes, trials
        Counts, or effective counts (they need not be whole); broadcast against each other.
    level
        Two-sided coverage aimed at.

    Returns
    -------
    tuple
        Lower and upper bound, shares in [0, 1]. No trials give (0, 1): nothing is known.

    Notes
    -----
    Wilson, E. B. (1927), *JASA* 22, 209-212; the form without continuity correction.

    Examples
    --------
    >>> low, high = wilson(85, 100, level=0.95)
    >>> round(float(low), 4), round(float(high), 4)
    (0.7672, 0.9069)
    """
    n = np.asarray(trials, dtype=np.float64)
    x = np.asarray(successes, dtype=np.float64)
    z = float(ndtri(_both_sides(level)))
    safe = np.where(n > 0, n, 1.0)
    share = x / safe
    middle = (share + z * z / (2 * safe)) / (1 + z * z / safe)
    spread = np.maximum(share * (1 - share), 0.0) / safe + z * z / (4 * safe**2)
    half = z / (1 + z * z / safe) * np.sqrt(spread)
    low = np.where(n > 0, np.maximum(middle - half, 0.0), 0.0)
    high = np.where(n > 0, np.minimum(middle + half, 1.0), 1.0)
    return low, high


def newcombe(
    successes: npt.ArrayLike,
    trials: npt.ArrayLike,
    other_successes: npt.ArrayLike,
    other_trials: npt.ArrayLike,
    *,
    level: float = 0.90,
) -> tuple[Array, Array]:
    """Interval of the difference of two independent shares, first minus second.

    Notes
    -----
    Newcombe, R. G. (1998), *Statistics in Medicine* 17, 873-890, method 10 (hybrid score).

    Examples
    --------
    >>> low, high = newcombe(56, 70, 48, 80, level=0.95)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0524, 0.3339)
    """
    n, m = np.asarray(trials, dtype=np.float64), np.asarray(other_trials, dtype=np.float64)
    p = np.asarray(successes, dtype=np.float64) / np.where(n > 0, n, 1.0)
    q = np.asarray(other_successes, dtype=np.float64) / np.where(m > 0, m, 1.0)
    low_p, high_p = wilson(successes, trials, level=level)
    low_q, high_q = wilson(other_successes, other_trials, level=level)
    difference = p - q
    low = difference - np.sqrt((p - low_p) ** 2 + (high_q - q) ** 2)
    high = difference + np.sqrt((high_p - p) ** 2 + (q - low_q) ** 2)
    known = (n > 0) & (m > 0)
    return np.where(known, low, -1.0), np.where(known, high, 1.0)


def clopper_pearson(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = 0.90
) -> tuple[Array, Array]:
    """Exact interval of a share: never covers less than it says, usually more.

    Notes
    -----
    Clopper, C. and Pearson, E. S. (1934), *Biometrika* 26, 404-413, by beta quantiles.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 30, level=0.90)
    >>> float(low), round(float(high), 4)
    (0.0, 0.095)
    """
    n, x = np.asarray(trials, dtype=np.float64), np.asarray(successes, dtype=np.float64)
    tail = 1.0 - _both_sides(level)
    low = np.where(x > 0, betaincinv(np.maximum(x, 1e-9), n - x + 1, tail), 0.0)
    high = np.where(x < n, betaincinv(x + 1, np.maximum(n - x, 1e-9), 1 - tail), 1.0)
    return low, high
