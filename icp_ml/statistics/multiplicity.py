"""P-values and what to do when there are many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Array = npt.NDArray[np.float64]


def benjamini_hochberg(p_values: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> Array:
    """Adjust p-values so that the false discovery rate is controlled.

    Parameters
    ----------
    p_values
        One per hypothesis; NaN (not testable) stays NaN and isn't counted.
    weights
        Prior weights fixed before the data were seen; scaled to a mean of one. None weighs all alike.

    Returns
    -------
    numpy.ndarray
        q-values in the order given; reporting every ``q <= 0.10`` keeps the expected share of false ones at
        or under 10 %.

    Notes
    -----
    Benjamini, Y. and Hochberg, Y. (1995), *JRSS B* 57, 289-300; valid under independence and positive
    regression dependence. Weights: Genovese, Roeder and Wasserman (2006), *Biometrika* 93, 509-524.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.02, 0.04, 0.04, 0.02]
    """
    p = np.asarray(p_values, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if not len(known):
        return q
    values = p[known]
    if weights is not None:
        scale = np.asarray(weights, dtype=np.float64)[known]
        values = values / (scale / scale.mean())
    order = np.argsort(values, kind="stable")
    ranked = values[order] * len(known) / np.arange(1, len(known) + 1)
    adjusted = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    q[known[order]] = adjusted
    return q


def holm(p_values: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> Array:
    """Adjust p-values so that the chance of even one false report is controlled, under any dependence.

    Parameters
    ----------
    p_values
        One per hypothesis; NaN (not testable) stays NaN and isn't counted.
    weights
        Prior weights fixed before the data were seen; None weighs all alike.

    Returns
    -------
    numpy.ndarray
        Adjusted p-values in the order given; reporting every value up to 0.10 errs in at most 10 % of uses.

    Notes
    -----
    Holm, S. (1979), *Scandinavian Journal of Statistics* 6, 65-70, with its section 4 for the weights.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    p = np.asarray(p_values, dtype=np.float64)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if not len(known):
        return out
    w = np.ones(len(known)) if weights is None else np.asarray(weights, dtype=np.float64)[known]
    order = np.argsort(p[known] / w, kind="stable")
    left = w[order][::-1].cumsum()[::-1]
    stepped = np.maximum.accumulate(p[known][order] / w[order] * left)
    out[known[order]] = np.minimum(stepped, 1.0)
    return out


def benjamini_yekutieli(p_values: npt.ArrayLike) -> Array:
    """Adjust p-values so that the false discovery rate is controlled under any dependence.

    Notes
    -----
    Benjamini, Y. and Yekutieli, D. (2001), *Annals of Statistics* 29, 1165-1188: the q-values of
    :func:`benjamini_hochberg` times the harmonic sum 1 + 1/2 + ... + 1/m.

    Examples
    --------
    >>> benjamini_yekutieli([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.042, 0.083, 0.083, 0.042]
    """
    p = np.asarray(p_values, dtype=np.float64)
    count = int((~np.isnan(p)).sum())
    harmonic = float((1.0 / np.arange(1, count + 1)).sum()) if count else 1.0
    return np.minimum(benjamini_hochberg(p) * harmonic, 1.0)


def selective_q(families: Sequence[npt.ArrayLike], q: float) -> list[Array]:
    """Adjust the q-values of several families for having looked at several families.

    Families are tested first, by their smallest q-value (a Simes test of "nothing in it"); the q-values of
    those that pass are then multiplied by the share of families that passed, inverted. Where every family
    holds something nothing is lost; where all are noise, the chance of any report stays at ``q`` for all
    families together.

    Parameters
    ----------
    families
        q-values of each family by :func:`benjamini_hochberg`; NaN is not tested.
    q
        False discovery rate aimed at.

    Notes
    -----
    Benjamini, Y. and Bogomolov, M. (2014), *JRSS B* 76, 297-318: false discovery rate averaged over the
    selected families. Values of families that don't pass are raised to at least their family's own q-value.

    Examples
    --------
    >>> [values.round(3).tolist() for values in selective_q([[0.01, 0.2], [0.6, 0.7]], 0.1)]
    [[0.02, 0.4], [0.6, 0.7]]
    """
    values = [np.asarray(family, dtype=np.float64) for family in families]
    heads = np.array([np.nanmin(v) if (~np.isnan(v)).any() else np.nan for v in values])
    across = benjamini_hochberg(heads)
    passed = int((across <= q).sum())
    factor = int((~np.isnan(across)).sum()) / passed if passed else 1.0
    out = []
    for v, family in zip(values, across, strict=True):
        raised = v * factor if family <= q else np.fmax(v, family) + 0.0 * v
        out.append(np.minimum(raised, 1.0))
    return out


def permutation_p(observed: npt.ArrayLike, permuted: npt.ArrayLike) -> Array:
    """One-sided p-values from statistics of permuted outcomes.

    Parameters
    ----------
    observed
        Statistics, shape (m,): large speaks against the null hypothesis.
    permuted
        The same statistics under B permutations, shape (m, B).

    Returns
    -------
    numpy.ndarray
        (1 + number at least as large) / (B + 1), shape (m,): never zero, and valid for any B.

    Notes
    -----
    Phipson, B. and Smyth, G. K. (2010), *Stat. Appl. Genet. Mol. Biol.* 9, article 39. Ties within 1e-9 count
    as "at least as large", so that rounding never makes a result significant.

    Examples
    --------
    >>> permutation_p([3.0], [[1.0, 2.0, 3.0, 0.5]]).tolist()
    [0.4]
    """
    stat = np.asarray(observed, dtype=np.float64)
    null = np.asarray(permuted, dtype=np.float64)
    slack = 1e-9 * (1.0 + np.abs(stat))
    hits = (null >= (stat - slack)[:, None]).sum(axis=1)
    return np.asarray((1.0 + hits) / (1.0 + null.shape[1]), dtype=np.float64)


def fisher_exact(good: int, n: int, other_good: int, other_n: int) -> float:
    """Two-sided exact p-value of a two-by-two table.

    Parameters
    ----------
    good, n
        Successes and trials of the first group.
    other_good, other_n
        Successes and trials of the second group.

    Notes
    -----
    Fisher, R. A. (1935): sum of all tables no more likely than the one seen, margins fixed.

    Examples
    --------
    >>> round(fisher_exact(1, 10, 8, 10), 4)
    0.0055
    """
    total, margin = n + other_n, good + other_good
    if total == 0 or n == 0 or other_n == 0:
        return 1.0
    cells = np.arange(max(0, margin - other_n), min(n, margin) + 1)

    def log_choose(top: int, below: npt.NDArray[np.int64]) -> Array:
        return np.asarray(gammaln(top + 1) - gammaln(below + 1) - gammaln(top - below + 1), dtype=np.float64)

    log_chance = log_choose(n, cells) + log_choose(other_n, margin - cells)
    chance = np.exp(log_chance - log_chance.max())
    chance /= chance.sum()
    seen = chance[cells == good][0]
    return float(min(1.0, chance[chance <= seen * (1 + 1e-9)].sum()))
