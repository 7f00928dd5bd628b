"""One target examined: searched, tested together with the other targets, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.data.dataset import Dataset
from icp_ml.data.schema import GOOD
from icp_ml.insight.adjusted import Adjusted, adjusted_effects
from icp_ml.insight.candidates import Design, build_design
from icp_ml.insight.evidence import CrossFit, crossfit
from icp_ml.insight.lifts import Counts, Lifts, Memberships, count, held_out_memberships, lifts
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.riskset import HAPPENS, Outcome, outcome_of
from icp_ml.statistics import benjamini_hochberg, holm, selective_q
from icp_ml.statistics.threads import one_blas_thread

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Below this number of events nothing is searched for.
LEAST_EVENTS = 30
#: Share of the searches that must agree with the reported condition.
LEAST_STABILITY = 0.6
#: One-sided 5 % on accounts left out, over and above the false discovery rate.
LEAST_HELD_OUT = 1.645
#: Prior weight of "the field is empty" against conditions on its value.
MISSING_WEIGHT = 0.2
#: Share of the permitted false discovery rate that is used; the rest is margin.
SPENT = 0.85
#: Accounts above which folds needn't be repeated.
MANY_ACCOUNTS = 5000
REPEATS = 4


@dataclass(frozen=True, slots=True)
class Searched:
    """One target after the search, before anything is claimed.

    Parameters
    ----------
    target
        The outcome.
    rows
        Row positions in the dataset with a known outcome.
    design, outcome, counts
        Bins, outcome and counts of these rows.
    fit
        The cross-fitted search.
    weights
        Prior weights of the candidates, shape (m,).
    enough
        Whether there were enough events to search at all.
    """

    target: str
    rows: Ints
    design: Design
    outcome: Outcome
    counts: Counts
    fit: CrossFit
    weights: Array
    enough: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything measured about one target; the traits table and the segments are made of it.

    Parameters
    ----------
    target
        The outcome.
    rows
        Row positions in the dataset with a known outcome.
    design, outcome, fit, counts, members
        Bins, outcome, cross-fitted search, counts and held-out memberships.
    predicates
        Reported condition of each candidate.
    held
        Membership of each account by it: share of its rows, NaN = unknown, shape (n, m).
    lifts, adjusted
        Effects.
    q_values, stability
        Per candidate, shape (m,).
    confirmed
        Candidate numbers that hold, strongest evidence first.
    enough
        Whether there were enough events to search at all.
    """

    target: str
    rows: Ints
    design: Design
    outcome: Outcome
    fit: CrossFit
    counts: Counts
    members: Memberships
    predicates: tuple[Predicate, ...]
    held: Array
    lifts: Lifts
    adjusted: Adjusted
    q_values: Array
    stability: Array
    confirmed: Ints
    enough: bool

    @property
    def base_rate(self) -> float:
        """Share of the account-snapshots at risk with the outcome."""
        return self.outcome.base_rate

    @property
    def materiality(self) -> float:
        """Smallest difference that matters: 5 points, or a third of the rarer outcome's share."""
        return max(0.05, min(self.base_rate, 1.0 - self.base_rate) / 3.0)

    @property
    def sign(self) -> int:
        """+1 where 1 is the good outcome, -1 where it is the bad one."""
        return GOOD[self.target]


def search_target(
    dataset: Dataset,
    target: str,
    *,
    seed: int,
    n_permutations: int = 6000,
    n_folds: int = 5,
    n_repeats: int = REPEATS,
) -> Searched:
    """Search and test all candidates of a dataset for one target.

    Parameters
    ----------
    dataset
        Accounts with features and outcomes.
    target
        ``retained``, ``expanded`` or ``churned_first_year``.
    seed
        Seeds folds and permutations.
    n_permutations, n_folds, n_repeats
        As in :func:`icp_ml.insight.evidence.crossfit`. Above 5,000 accounts one repeat is enough unless more
        than four are asked for.
    """
    rows, y = dataset.target(target)
    account = np.unique(dataset.groups[rows].astype(str), return_inverse=True)[1].astype(np.int64)
    design = build_design(dataset.features.iloc[rows], dataset.schema, account)
    outcome = outcome_of(account, y, dataset.labels.iloc[rows], dataset.horizon_months, HAPPENS[target])
    enough = outcome.events >= LEAST_EVENTS
    fit = crossfit(
        design,
        outcome,
        n_folds=n_folds,
        n_repeats=n_repeats if outcome.n_accounts <= MANY_ACCOUNTS or n_repeats > REPEATS else 1,
        n_permutations=n_permutations if enough else 0,
        seed=seed,
        good=GOOD[target],
    )
    counts = count(design, outcome)
    weights = prior_weights(design, counts, len(y))
    return Searched(target, rows.astype(np.int64), design, outcome, counts, fit, weights, enough)


def joint_q(searched: Sequence[Searched], q: float) -> list[Array]:
    """Return the q-values of each target, paid for over all targets; NaN where events were too few.

    They are divided by :data:`SPENT`, so that the share of false ones stays below ``q`` and not just at it.
    """
    families = [
        benjamini_hochberg(s.fit.p_values, weights=s.weights) if s.enough else np.full(len(s.weights), np.nan)
        for s in searched
    ]
    return [np.minimum(found / SPENT, 1.0) for found in selective_q(families, q)]


def certified_q(searched: Sequence[Searched]) -> list[Array]:
    """Return family-wise adjusted p-values over all targets together; NaN where events were too few."""
    p = [s.fit.p_values if s.enough else np.full(len(s.weights), np.nan) for s in searched]
    adjusted = holm(np.concatenate(p), weights=np.concatenate([s.weights for s in searched]))
    return np.split(adjusted, np.cumsum([len(values) for values in p])[:-1])


def measure(searched: Searched, q_values: Array, *, seed: int, q: float = 0.10) -> Evidence:
    """Measure what holds: lifts, effects at equal everything else, stability.

    Parameters
    ----------
    searched
        One target after the search.
    q_values
        Its q-values from :func:`joint_q`.
    seed
        Seeds the folds of the adjusted effects.
    q
        False discovery rate.
    """
    design, outcome, counts, fit = searched.design, searched.outcome, searched.counts, searched.fit
    stability = np.array([_agreement(design, fit, counts, j) for j in range(len(design.candidates))])
    members = held_out_memberships(design, fit, counts)
    raw = lifts(outcome, counts, members)
    # what is said of a trait and how much it is worth come from one sum: a line can't contradict itself
    agrees = np.array([pick.direction for pick in fit.final]) * np.nan_to_num(raw.mean) > 0
    holds = agrees & (stability >= LEAST_STABILITY) & (fit.held_out >= LEAST_HELD_OUT)
    passed = np.flatnonzero((q_values <= q) & holds)
    confirmed = passed[np.lexsort((-fit.statistic[passed], fit.p_values[passed]))].astype(np.int64)
    adjusted = adjusted_effects(design, outcome, fit, raw, confirmed, seed=seed)
    return Evidence(
        searched.target,
        searched.rows,
        design,
        outcome,
        fit,
        counts,
        members,
        tuple(c.predicate(f.bins) for c, f in zip(design.candidates, fit.final, strict=True)),
        _final_held(design, fit, counts),
        raw,
        adjusted,
        q_values,
        stability,
        confirmed,
        searched.enough,
    )


def examine(
    dataset: Dataset, target: str, *, seed: int, q: float = 0.10, n_permutations: int = 6000
) -> Evidence:
    """Search and measure one target on its own; see :func:`search_target` and :func:`measure`."""
    with one_blas_thread():
        searched = search_target(dataset, target, seed=seed, n_permutations=n_permutations)
        return measure(searched, joint_q([searched], q)[0], seed=seed, q=q)


def prior_weights(design: Design, counts: Counts, rows: int) -> Array:
    """Weights of the hypotheses by how much each could show, from feature values alone.

    A flag that few or nearly all accounts have can hardly show a difference: its weight is the square of its
    share of the best possible information, 4 s (1 - s). "The field is empty" counts a fifth.
    """
    out = np.ones(len(design.candidates))
    for j, candidate in enumerate(design.candidates):
        if candidate.search == "single":
            held = float(counts.held[:, design.bins_of(j)].sum()) / rows
            out[j] = np.clip(4.0 * held * (1.0 - held), 0.2, 1.0) ** 2
        if candidate.family == "missing":
            out[j] *= MISSING_WEIGHT
    return out


def _final_held(design: Design, fit: CrossFit, counts: Counts) -> Array:
    held = np.full(counts.known.shape, np.nan)
    for j, pick in enumerate(fit.final):
        known = counts.known[:, j]
        mine = counts.held[:, design.bins_of(j)] @ pick.bins
        held[:, j] = np.where(known > 0, mine / np.maximum(known, 1e-12), np.nan)
    return held


def _agreement(design: Design, fit: CrossFit, counts: Counts, j: int) -> float:
    """Share of the searches that found the reported condition or its like (Jaccard at least one half)."""
    size = counts.held[:, design.bins_of(j)].sum(axis=0)
    final = fit.final[j]
    if len(size) == 1:
        return float(np.mean([pick.direction == final.direction for pick in fit.found[j]]))
    agreeing = 0
    for pick in fit.found[j]:
        bins = pick.bins if pick.direction == final.direction else ~pick.bins
        union = float(size[bins | final.bins].sum())
        agreeing += float(size[bins & final.bins].sum()) >= 0.5 * union
    return agreeing / len(fit.found[j])
