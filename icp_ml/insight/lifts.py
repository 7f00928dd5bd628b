"""How much a trait is worth: outcome share against the risk set, on accounts that did not find it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from icp_ml.insight.candidates import Design
from icp_ml.insight.evidence import CrossFit
from icp_ml.insight.riskset import Outcome
from icp_ml.statistics import shrink_effects

Array = npt.NDArray[np.float64]
#: How far estimates move towards their empirical Bayes mean, and how much wider intervals are.
SHRINKAGE = 0.6
INFLATION = 1.2


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows and outcomes per account and bin; every row counts one.

    Parameters
    ----------
    held
        Rows in the bin, shape (n, bins).
    gain
        Sum over these rows of the outcome less what is usual in the risk set.
    known
        Rows where the candidate's field is known, shape (n, m).
    known_gain
        The same sum over those.
    """

    held: Array
    gain: Array
    known: Array
    known_gain: Array


def count(design: Design, outcome: Outcome) -> Counts:
    """Count rows and outcomes per account and bin."""
    n, each, surprise = outcome.n_accounts, np.ones(len(outcome.y)), outcome.surprise
    return Counts(
        design.per_account(outcome.account, n, each),
        design.per_account(outcome.account, n, surprise),
        design.known_per_account(outcome.account, n, each),
        design.known_per_account(outcome.account, n, surprise),
    )


@dataclass(frozen=True, slots=True)
class Memberships:
    """Who holds what, judged by conditions that were found on other accounts.

    Parameters
    ----------
    held, gain
        Average over repeats of an account's rows that meet the condition found without it, and of their
        outcomes less what is usual; shape (n, m).
    """

    held: Array
    gain: Array


def held_out_memberships(design: Design, fit: CrossFit, counts: Counts) -> Memberships:
    """Apply each fold's condition to the accounts of that fold, never to those that found it."""
    n, m = counts.known.shape
    held, gain = np.zeros((n, m)), np.zeros((n, m))
    n_folds = int(fit.folds.max()) + 1
    share = 1.0 / len(fit.folds)
    for j, picks in enumerate(fit.found):
        columns = design.bins_of(j)
        for r, fold in enumerate(fit.folds):
            for k in range(n_folds):
                pick, inside = picks[r * n_folds + k], fold == k
                mine = counts.held[inside, columns] @ pick.bins
                more = counts.gain[inside, columns] @ pick.bins
                if pick.direction != fit.final[j].direction:
                    mine, more = counts.known[inside, j] - mine, counts.known_gain[inside, j] - more
                held[inside, j] += share * mine
                gain[inside, j] += share * more
    return Memberships(held, gain)


def held_out_rows(design: Design, fit: CrossFit, outcome: Outcome, j: int) -> Array:
    """Return how far each row meets candidate ``j``'s conditions found without its account; NaN = unknown."""
    columns = design.bins_of(j)
    hits = np.flatnonzero((design.column >= columns.start) & (design.column < columns.stop))
    row, code = design.row[hits], design.column[hits] - columns.start
    n_folds = int(fit.folds.max()) + 1
    out = np.zeros(len(outcome.y))
    for r, fold in enumerate(fit.folds):
        picks = fit.found[j][r * n_folds : (r + 1) * n_folds]
        met = np.zeros(len(outcome.y))
        # a row has one bin of a candidate at most
        met[row] = np.stack([pick.bins for pick in picks])[fold[outcome.account[row]], code]
        turned = np.array([pick.direction != fit.final[j].direction for pick in picks])
        out += np.where(turned[fold[outcome.account]], 1.0 - met, met)
    return np.where(design.known[:, j] > 0, out / len(fit.folds), np.nan)


@dataclass(frozen=True, slots=True)
class Lifts:
    """Lift of each candidate, share units, shape (m,): as measured, and shrunken with its 90 % interval."""

    raw: Array
    error: Array
    mean: Array
    low: Array
    high: Array


def lifts(outcome: Outcome, counts: Counts, members: Memberships, *, level: float = 0.90) -> Lifts:
    """Outcome share of rows with the trait less that of their risk sets, then shrunken.

    Notes
    -----
    Linearised ratio estimate with one residual per account (Cochran 1977, *Sampling Techniques*, 6.3),
    and with the variance of one account's outcome added, so that a few holders who all fared alike don't look
    certain. Shrinkage by :func:`icp_ml.statistics.shrink_effects` over all candidates of the target, so that
    the best of many isn't reported as if it had been the only one; 60 % of the way, because full shrinkage
    takes too much off the few large effects (the compromise of Efron and Morris 1972, *JASA* 67, 130-139).
    The interval is as wide as before shrinking and 20 % wider for the folds' dependence; both numbers were
    set on simulations with known lifts.
    """
    n, base = outcome.n_accounts, outcome.base_rate
    total = members.held.sum(axis=0)
    safe = np.maximum(total, 1e-12)
    lift = members.gain.sum(axis=0) / safe
    # what the risk sets' means owe to the holders themselves is taken off
    share = total / np.maximum(counts.known.sum(axis=0), 1e-12)
    influence = (members.gain - lift * members.held - share * counts.known_gain) / safe
    holders = safe * n / len(outcome.y)
    floor = base * (1.0 - base) / np.maximum(holders, 1.0) ** 2
    error = np.sqrt((influence**2).sum(axis=0) * n / max(n - 1, 1) + floor)
    raw = np.where(total > 0, lift, np.nan)
    moved = SHRINKAGE * (shrink_effects(raw, error).mean - raw)
    half = float(ndtri(0.5 + level / 2)) * INFLATION * error
    return Lifts(raw, error, raw + moved, raw + moved - half, raw + moved + half)
