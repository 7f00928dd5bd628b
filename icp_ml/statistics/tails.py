"""p-values beyond what was drawn: the tail of a null distribution, extrapolated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Largest draws that the tail is fitted to, and the draws beyond a statistic from which no fit is needed.
TAIL = 250
ENOUGH = 10
#: Range of the shape: never a bounded tail, never one heavier than the statistics here can have.
SHAPES = (0.0, 0.3)


def tail_p(observed: npt.ArrayLike, drawn: npt.ArrayLike, *, tail: int = TAIL, enough: int = ENOUGH) -> Array:
    """One-sided p-values from draws under the null hypothesis, extrapolated where too few reach as far.

    Parameters
    ----------
    observed
        Statistics, shape (m,): large speaks against the null hypothesis.
    drawn
        The same statistics under the null hypothesis, shape (m, B).
    tail
        Largest draws that a generalised Pareto distribution is fitted to.
    enough
        Draws at least as large from which the share of draws is taken as it is.

    Returns
    -------
    numpy.ndarray
        Shape (m,), never above (1 + number at least as large) / (B + 1), never 0.

    Notes
    -----
    Knijnenburg, T. A., Wessels, L. F. A., Reinders, M. J. T. and Shmulevich, I. (2009), *Bioinformatics* 25,
    i161-i168, with the shape by probability-weighted moments (Hosking and Wallis 1987, *Technometrics* 29,
    339-349), kept from 0 to 0.3: a bounded tail would call what lies beyond it impossible.

    Examples
    --------
    >>> draws = np.random.default_rng(0).exponential(size=(1, 20_000))
    >>> bool(1e-7 < tail_p([14.0], draws)[0] < 1e-5)  # the truth is 8e-7, and no draw reaches it
    True
    """
    stat, null = np.asarray(observed, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    size = null.shape[1]
    slack = 1e-9 * (1.0 + np.abs(stat))
    hits = (null >= (stat - slack)[:, None]).sum(axis=1)
    counted = (1.0 + hits) / (1.0 + size)
    far = np.flatnonzero(hits < enough)
    if not len(far) or size < 2 * tail:
        return np.asarray(counted)
    top = np.sort(np.partition(null[far], size - tail - 1, axis=1)[:, size - tail - 1 :], axis=1)
    start, excess = top[:, 0], top[:, 1:] - top[:, :1]
    scale, shape = _pareto(excess)
    beyond = np.maximum(stat[far] - start, 0.0) / scale
    log_left = np.where(shape > 1e-6, -np.log1p(shape * beyond) / np.maximum(shape, 1e-6), -beyond)
    out = counted.copy()
    out[far] = np.minimum(counted[far], np.maximum(tail / size * np.exp(log_left), 1e-300))
    return np.asarray(out)


def _pareto(excess: Array) -> tuple[Array, Array]:
    """Scale and shape of each row of excesses, sorted."""
    k = excess.shape[1]
    mean = np.maximum(excess.mean(axis=1), 1e-12)
    upper = 1.0 - (np.arange(1, k + 1) - 0.35) / k
    weighted = np.maximum((excess * upper).mean(axis=1), 1e-13)
    shape = np.clip(2.0 - mean / np.maximum(mean - 2.0 * weighted, 1e-12), *SHAPES)
    return mean * (1.0 - shape), shape
