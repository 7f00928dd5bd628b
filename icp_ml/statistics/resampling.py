"""Resampling by account, agreement of selections, and how many accounts a weighting is worth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def bootstrap_weights(groups: npt.ArrayLike, n_resamples: int, *, seed: int) -> Array:
    """Row weights of bootstrap samples that draw whole groups (accounts) with replacement.

    Parameters
    ----------
    groups
        Group of each row, shape (n,).
    n_resamples
        Number of bootstrap samples B.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Shape (B, n): how often the row's group was drawn. Rows of one group always share their weight.

    Notes
    -----
    Cluster (case) bootstrap: Davison and Hinkley (1997), *Bootstrap Methods and their Application*, 3.8.

    Examples
    --------
    >>> weights = bootstrap_weights(["a", "a", "b"], 4, seed=1)
    >>> weights.shape, bool((weights[:, 0] == weights[:, 1]).all())
    ((4, 3), True)
    """
    _, code = np.unique(np.asarray(groups), return_inverse=True)
    count = int(code.max()) + 1 if len(code) else 0
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1.0 / max(count, 1)), size=n_resamples)
    return np.asarray(drawn[:, code], dtype=np.float64)


def effective_sample_size(weights: npt.ArrayLike) -> float:
    """Say how many equally weighted rows a weighting is worth: (sum w)^2 / sum w^2.

    Notes
    -----
    Kish, L. (1965), *Survey Sampling*, section 11.7.

    Examples
    --------
    >>> effective_sample_size([1.0, 1.0, 1.0, 1.0]), effective_sample_size([1.0, 0.0])
    (4.0, 1.0)
    """
    w = np.asarray(weights, dtype=np.float64)
    square = float((w**2).sum())
    return float(w.sum()) ** 2 / square if square > 0 else 0.0


def jaccard(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Overlap of two memberships: shared weight over united weight; two empty sets agree fully.

    Parameters
    ----------
    one, other
        Memberships in [0, 1], same length; soft ones compare by minimum and maximum.

    Notes
    -----
    Jaccard (1912); for soft memberships Ruzicka (1958).

    Examples
    --------
    >>> jaccard([1, 1, 0, 0], [1, 0, 0, 1])
    0.3333333333333333
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 0 else 1.0


def nogueira_stability(selected: npt.ArrayLike) -> float:
    """Agreement of several selections, corrected for agreement by luck.

    Parameters
    ----------
    selected
        Shape (M, d): 1 where run m selected item j.

    Returns
    -------
    float
        1 = the same set every time, about 0 = no better than random sets of that size; NaN when nothing or
        everything is always selected, where agreement says nothing.

    Notes
    -----
    Nogueira, Sechidis and Brown (2018), *JMLR* 18(174), equation 4.

    Examples
    --------
    >>> nogueira_stability([[1, 0, 0], [1, 0, 0]])
    1.0
    """
    z = np.asarray(selected, dtype=np.float64)
    runs = z.shape[0]
    if runs < 2:
        raise ValueError(f"expected at least 2 selections, found {runs}")
    share = z.mean(axis=0)
    kept = float(share.mean())
    if kept in (0.0, 1.0):
        return float("nan")
    variance = runs / (runs - 1) * share * (1 - share)
    return float(1.0 - variance.mean() / (kept * (1 - kept)))
