"""What a data set of this size could have shown at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Array = npt.NDArray[np.float64]


def detectable_difference(
    n: npt.ArrayLike,
    share: npt.ArrayLike,
    base_rate: float,
    *,
    alpha: float = 0.01,
    power: float = 0.80,
) -> Array:
    """Smallest difference in outcome, holders minus the others, that would be found.

    Parameters
    ----------
    n
        Number of independent accounts.
    share
        Share of them that hold the trait, in (0, 1).
    base_rate
        Outcome share over all accounts.
    alpha
        One-sided error of the test.
    power
        Wanted chance of finding the difference.

    Returns
    -------
    numpy.ndarray
        Difference in share units (0.12 = 12 points); infinite where nobody or everybody holds the trait.

    Notes
    -----
    Normal approximation with the pooled variance p(1-p): (z_alpha + z_power) sqrt(p(1-p) / (n s (1-s))),
    Chow, Shao and Wang, *Sample Size Calculations in Clinical Research* (2nd ed.), section 4.2.

    Examples
    --------
    >>> round(float(detectable_difference(500, 0.20, 0.85)), 3)
    0.126
    """
    count, held = np.asarray(n, dtype=np.float64), np.asarray(share, dtype=np.float64)
    room = count * held * (1.0 - held)
    spread = max(base_rate * (1.0 - base_rate), 0.0)
    reach = float(ndtri(1 - alpha) + ndtri(power))
    with np.errstate(divide="ignore"):
        found = reach * np.sqrt(spread / np.maximum(room, 0.0))
    return np.asarray(np.where(room > 0, found, np.inf), dtype=np.float64)


def accounts_needed(
    difference: npt.ArrayLike,
    share: npt.ArrayLike,
    base_rate: float,
    *,
    alpha: float = 0.01,
    power: float = 0.80,
) -> Array:
    """Count the accounts with which a difference would be found; inverse of detectable_difference.

    Returns
    -------
    numpy.ndarray
        Whole numbers as float64; infinite where the difference is zero or nobody (everybody) holds the trait.

    Examples
    --------
    >>> int(accounts_needed(0.126, 0.20, 0.85))
    504
    """
    gap, held = np.abs(np.asarray(difference, dtype=np.float64)), np.asarray(share, dtype=np.float64)
    reach = float(ndtri(1 - alpha) + ndtri(power))
    spread = max(base_rate * (1.0 - base_rate), 0.0)
    room = held * (1.0 - held) * gap**2
    with np.errstate(divide="ignore"):
        needed = np.ceil(reach**2 * spread / np.maximum(room, 0.0))
    return np.asarray(np.where(room > 0, needed, np.inf), dtype=np.float64)
