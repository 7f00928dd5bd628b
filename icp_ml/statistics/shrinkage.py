"""Empirical Bayes: what remains of the best of many estimates once luck is taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, betaln, ndtr

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shrunken:
    """Posterior of many effects.

    Parameters
    ----------
    mean, low, high
        Posterior mean and equal-tailed interval of each effect, shape (m,).
    null_weight
        Posterior weight of the narrowest component (practically no effect), shape (m,).
    """

    mean: Array
    low: Array
    high: Array
    null_weight: Array


def shrink_effects(effects: npt.ArrayLike, errors: npt.ArrayLike, *, level: float = 0.90) -> Shrunken:
    """Shrink estimates towards zero as far as the whole set of them says.

    The prior is a mixture of normals around zero whose weights are fitted to all effects at once, so that a
    set of pure noise is shrunk to nothing while a clear effect among noise hardly moves.

    Parameters
    ----------
    effects
        Estimates, shape (m,); NaN stays NaN and isn't used.
    errors
        Their standard errors, shape (m,).
    level
        Coverage of the posterior interval.

    Notes
    -----
    Stephens, M. (2017), "False discovery rates: a new deal", *Biostatistics* 18, 275-294: normal likelihood,
    scale mixture of normals, weights by EM with a mild penalty that favours the null component. Posterior
    intervals stay valid after picking the largest estimate, as far as the prior holds (Senn 2008).

    Examples
    --------
    >>> noise = shrink_effects([0.1, -0.1, 0.05, 0.0, -0.06, 0.12], [0.1] * 6)
    >>> bool(abs(noise.mean).max() < 0.03)
    True
    """
    x, s = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(s) & (s > 0)
    empty = np.full(x.shape, np.nan)
    if not known.any():
        return Shrunken(empty, empty.copy(), empty.copy(), empty.copy())
    seen, error = x[known], s[known]
    widest = 2.0 * np.sqrt(max(float((seen**2 - error**2).max()), float(error.min()) ** 2))
    scales = np.concatenate([[0.0], np.geomspace(float(error.min()) / 4.0, widest, 12)])
    variance = scales[:, None] ** 2 + error[None, :] ** 2
    log_density = -0.5 * (np.log(variance) + seen[None, :] ** 2 / variance)
    weights = _mixture_weights(log_density)
    log_joint = np.log(np.maximum(weights, 1e-300))[:, None] + log_density
    posterior = np.exp(log_joint - log_joint.max(axis=0))
    posterior /= posterior.sum(axis=0)
    keep = scales[:, None] ** 2 / variance
    means, sds = keep * seen[None, :], np.sqrt(keep) * error[None, :]
    tail = (1.0 - level) / 2.0
    out = [empty.copy() for _ in range(4)]
    out[0][known] = (posterior * means).sum(axis=0)
    out[1][known] = _mixture_quantile(posterior, means, sds, tail)
    out[2][known] = _mixture_quantile(posterior, means, sds, 1.0 - tail)
    out[3][known] = posterior[0]
    return Shrunken(*out)


def _mixture_weights(log_density: Array, rounds: int = 300) -> Array:
    density = np.exp(log_density - log_density.max(axis=0))
    penalty = np.zeros(len(density))
    penalty[0] = 1.0
    weights = np.full(len(density), 1.0 / len(density))
    for _ in range(rounds):
        joint = weights[:, None] * density
        joint /= joint.sum(axis=0)
        weights = joint.sum(axis=1) + penalty
        weights /= weights.sum()
    return weights


def _mixture_quantile(posterior: Array, means: Array, sds: Array, at: float) -> Array:
    low, high = (means - 6 * sds).min(axis=0) - 1e-12, (means + 6 * sds).max(axis=0) + 1e-12
    width = np.where(sds > 0, sds, 1e-12)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = (posterior * ndtr((middle[None, :] - means) / width)).sum(axis=0)
        low, high = np.where(below < at, middle, low), np.where(below < at, high, middle)
    return np.asarray(0.5 * (low + high), dtype=np.float64)


def beta_binomial_prior(successes: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[float, float]:
    """Fit the beta distribution that a set of shares came from.

    Returns
    -------
    tuple
        (a, b): the prior counts of successes and failures; large when all shares are alike.

    Notes
    -----
    Maximum likelihood of the beta-binomial over a grid of prior sizes with the mean fixed at the pooled
    share: Robbins (1956); Casella (1985), *American Statistician* 39, 83-87.

    Examples
    --------
    >>> a, b = beta_binomial_prior([8, 9, 8, 9], [10, 10, 10, 10])
    >>> bool(a + b > 50)
    True
    """
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    pooled = float(np.clip((x.sum() + 0.5) / (n.sum() + 1.0), 1e-6, 1 - 1e-6))
    sizes = np.geomspace(1.0, 1e5, 120)
    a, b = (sizes * pooled)[:, None], (sizes * (1 - pooled))[:, None]
    likelihood = (betaln(x[None, :] + a, n[None, :] - x[None, :] + b) - betaln(a, b)).sum(axis=1)
    best = float(sizes[int(np.argmax(likelihood))])
    return best * pooled, best * (1 - pooled)


def shrink_rates(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = 0.90
) -> tuple[Array, Array, Array]:
    """Shrink many shares towards their common mean; posterior mean, low and high.

    Notes
    -----
    Beta posterior under :func:`beta_binomial_prior`.

    Examples
    --------
    >>> mean, low, high = shrink_rates([1, 50, 90], [1, 100, 100])
    >>> bool(0.5 < mean[0] < 1.0)
    True
    """
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    a, b = beta_binomial_prior(x, n)
    tail = (1.0 - level) / 2.0
    up, down = x + a, n - x + b
    return up / (up + down), betaincinv(up, down, tail), betaincinv(up, down, 1 - tail)
