"""Short conjunctions of confirmed traits, found on some accounts and measured on the others."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from icp_ml.insight.examine import Evidence
from icp_ml.statistics import jaccard

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEGMENT_COLUMNS = (
    "name",
    "conditions",
    "target",
    "n_accounts",
    "support",
    "rate",
    "lift",
    "lift_low",
    "lift_high",
    "jaccard_stability",
    "decidable",
)
LEAST_ACCOUNTS = 30


@dataclass(frozen=True, slots=True)
class _Base:
    """Memberships of the atoms, by final condition and by conditions found without the account; outcome per account."""

    atoms: Ints
    held: Array
    rates: Array
    sign: int


def segments_table(
    evidence: Evidence, *, max_conditions: int = 3, n_folds: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Find the best helpful and the best harmful conjunction of confirmed traits.

    Each fold of accounts is left out once: the conjunction is grown on the rest, a condition being added only while
    it raises the lower bound of the lift; the accounts left out are then judged by it. The reported conjunction is
    grown on all accounts; its lift is the one of the accounts left out, and a further condition has to raise
    that lower bound too.

    Parameters
    ----------
    evidence
        What was measured about one target.
    max_conditions
        Most conditions of one segment.
    n_folds
        Folds of accounts.
    seed
        Seeds the folds.

    Returns
    -------
    pandas.DataFrame
        Columns of the contract; empty when nothing holds.
    """
    found = [_segment(evidence, side, max_conditions, n_folds, seed) for side in (1, -1)]
    rows = [row for row in found if row is not None]
    return pd.DataFrame(rows, columns=list(SEGMENT_COLUMNS)) if rows else empty_segments()


def empty_segments() -> pd.DataFrame:
    """Return a segments table without rows, columns and types as promised."""
    text = {"name", "conditions", "target"}
    return pd.DataFrame(
        {
            name: pd.Series(
                [], dtype=object if name in text else np.int64 if name == "n_accounts" else np.float64
            )
            for name in SEGMENT_COLUMNS
        }
    )


def _segment(
    e: Evidence, side: int, max_conditions: int, n_folds: int, seed: int
) -> dict[str, object] | None:
    atoms = _atoms(e, side)
    if not len(atoms):
        return None
    n = e.outcome.n_accounts
    held = np.where(np.isnan(e.held[:, atoms]), 0.0, e.held[:, atoms]) >= 0.5
    outcome = e.outcome.rates if side > 0 else 1.0 - e.outcome.rates
    if e.fit.final[int(atoms[0])].direction < 0 and side > 0:
        outcome = 1.0 - outcome
    outcome = e.outcome.rates * side
    folds = np.random.default_rng([seed, 11]).permutation(n) % n_folds
    whole = _grow(held, outcome, np.ones(n, dtype=bool), max_conditions)
    best: tuple[float, list[int], Array, float, float] | None = None
    for depth in range(1, len(whole) + 1):
        members, shapes = np.zeros(n), []
        for k in range(n_folds):
            train = folds != k
            grown = _grow(held, outcome, train, depth)
            inside = held[:, grown].all(axis=1)
            members[~train] = inside[~train]
            shapes.append(inside)
        lift, error = _lift(members, outcome)
        lower = lift - float(ndtri(0.95)) * error
        final = held[:, whole[:depth]].all(axis=1)
        stable = float(np.median([jaccard(final, shape) for shape in shapes]))
        if members.sum() < LEAST_ACCOUNTS or (best is not None and lower <= best[0]):
            break
        best = (lower, whole[:depth], final.astype(np.float64), lift, stable)
    if best is None or best[0] <= 0.0:
        return None
    return _row(e, atoms, best, side)


def _atoms(e: Evidence, side: int) -> Ints:
    """Confirmed traits of one side that aren't mere stand-ins, one per feature but all tools."""
    chosen, seen = [], set()
    for j in e.confirmed.tolist():
        candidate = e.design.candidates[j]
        if e.fit.final[j].direction * 1 != side or e.adjusted.low[j] <= 0.0 <= e.adjusted.high[j]:
            continue
        if candidate.family == "missing" or candidate.key in seen:
            continue
        seen.add(candidate.key)
        chosen.append(j)
    return np.array(chosen[:10], dtype=np.int64)


def _grow(held: npt.NDArray[np.bool_], outcome: Array, rows: npt.NDArray[np.bool_], depth: int) -> list[int]:
    """Add the condition that raises the lower bound most, until none does."""
    chosen: list[int] = []
    inside = np.ones(int(rows.sum()), dtype=bool)
    best = -np.inf
    values, local = outcome[rows], held[rows]
    while len(chosen) < depth:
        bounds = []
        for j in range(held.shape[1]):
            together = inside & local[:, j]
            if j in chosen or together.sum() < LEAST_ACCOUNTS:
                bounds.append(-np.inf)
                continue
            lift, error = _lift(together.astype(np.float64), values)
            bounds.append(lift - float(ndtri(0.95)) * error)
        top = int(np.argmax(bounds))
        if bounds[top] <= best:
            break
        best, inside = bounds[top], inside & local[:, top]
        chosen.append(top)
    return chosen


def _lift(members: Array, outcome: Array) -> tuple[float, float]:
    total = max(float(members.sum()), 1e-12)
    rate, base = float((members * outcome).sum()) / total, float(outcome.mean())
    influence = members * (outcome - rate) / total - (outcome - base) / len(outcome)
    # one account's worth of the base spread keeps a small all-good group from looking certain
    floor = float(outcome.var()) / total**2
    return rate - base, float(np.sqrt((influence**2).sum() + floor))


def _row(
    e: Evidence, atoms: Ints, best: tuple[float, list[int], Array, float, float], side: int
) -> dict[str, object]:
    lower, places, final, lift, stable = best
    numbers = [int(atoms[place]) for place in places]
    known = ~np.isnan(e.held[:, numbers]).any(axis=1)
    out_already = (e.held[:, numbers] < 0.5).any(axis=1)
    bounds = sorted((side * lower, side * (2 * lift - lower)))
    predicates = [e.predicates[j] for j in numbers]
    return {
        "name": " and ".join(predicate.text() for predicate in predicates),
        "conditions": json.dumps([predicate.to_dict() for predicate in predicates], ensure_ascii=False),
        "target": e.target,
        "n_accounts": int(final.sum()),
        "support": float(final.mean()),
        "rate": float(np.clip(e.base_rate + side * lift, 0.0, 1.0)),
        "lift": side * lift,
        "lift_low": bounds[0],
        "lift_high": bounds[1],
        "jaccard_stability": stable,
        "decidable": float((known | out_already).mean()),
    }
