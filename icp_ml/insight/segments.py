"""Short conjunctions of confirmed traits, found on some accounts and measured on the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from icp_ml.insight.examine import Evidence
from icp_ml.insight.lifts import INFLATION, held_out_rows
from icp_ml.insight.pairs import Condition, Pair, search_pair
from icp_ml.insight.profile import SEGMENT_COLUMNS, empty_segments
from icp_ml.insight.standing import Stand
from icp_ml.statistics import jaccard

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Fewest accounts of a segment, and most traits it may be made of.
LEAST_ACCOUNTS = 30
MOST_ATOMS = 10
#: Overlap of members (Jaccard) from which two segments are the same one told twice.
SAME_MEMBERS = 0.8
Z90 = float(ndtri(0.95))


@dataclass(frozen=True, slots=True)
class _Atoms:
    """Traits a segment may be made of, and who holds them.

    ``final`` is judged by the reported conditions, ``apart`` by conditions found without the row's account;
    ``outcome`` is each row's less that of its risk set, signed so that more is what the segment looks for;
    ``variance`` is that of one account's outcome; ``kept`` is what shrinking left of the traits' lifts.
    """

    numbers: Ints
    final: Bools
    apart: Bools
    outcome: Array
    account: Ints
    variance: float
    kept: float


@dataclass(frozen=True, slots=True)
class _Best:
    """A conjunction: its conditions and rows, held-out lift, its error, and membership stability."""

    conditions: list[Condition]
    final: Bools
    lift: float
    error: float
    stable: float

    @property
    def lower(self) -> float:
        """Lower end of the 90 % interval."""
        return self.lift - Z90 * self.error


class Segments(NamedTuple):
    """Segments of one target: the table, and per segment with an equal what else does as well."""

    table: pd.DataFrame
    runners_up: list[dict[str, object]]


def find_segments(
    evidence: Evidence, stand: Stand, *, max_conditions: int = 3, n_folds: int = 10, seed: int = 0
) -> Segments:
    """Find the best helpful and the best harmful conjunction of confirmed traits.

    Each fold of accounts is left out once: the conjunction is grown on the rest, a condition being added only
    while it raises the lower bound of the lift; the accounts left out are then judged by it. The reported
    conjunction is grown on all accounts; its lift is the one of the accounts left out, and a further
    condition has to raise that lower bound too. A pair of conditions that aren't traits by themselves
    (:func:`icp_ml.insight.pairs.search_pair`) is taken instead where its lower bound is higher.

    Parameters
    ----------
    evidence
        What was measured about one target.
    stand
        Which traits stand for themselves; the others are no conditions.
    max_conditions
        Most conditions of one segment.
    n_folds
        Folds of accounts.
    seed
        Seeds the folds.

    Returns
    -------
    Segments
        Table with the columns of the contract, empty when nothing holds; and for each segment the best other
        one that equals it, if any: held-out lifts within one error of their difference, other members.
    """
    pair = search_pair(evidence, seed=seed) if evidence.enough else None
    split = np.random.default_rng([seed, 11]).permutation(evidence.outcome.n_accounts) % n_folds
    folds = split[evidence.outcome.account]
    rows: list[dict[str, object]] = []
    equals: list[dict[str, object]] = []
    for side in (1, -1):
        atoms = _atoms(evidence, stand, side)
        best = _better(_of_traits(evidence, atoms, max_conditions, folds), _of_pair(evidence, pair, side))
        if best is None or best.lower <= 0.0:
            continue
        rows.append(_row(evidence, best, side))
        runner = _runner_up(evidence, atoms, best, max_conditions, folds)
        if runner is not None:
            other = _row(evidence, runner, side)
            shown = {key: other[key] for key in ("name", "n_accounts", "rate", "lift")}
            equals.append({"target": evidence.target, "segment": rows[-1]["name"], **shown})
    table = pd.DataFrame(rows, columns=list(SEGMENT_COLUMNS)) if rows else empty_segments()
    return Segments(table, equals)


def _of_pair(e: Evidence, pair: Pair | None, side: int) -> _Best | None:
    if pair is None or pair.side != side:
        return None
    lift, error = _lift(pair.apart, e.outcome.surprise * side, e.outcome.account, _variance(e))
    return _Best(list(pair.conditions), pair.final, lift, error * INFLATION, pair.stable)


def _better(one: _Best | None, other: _Best | None) -> _Best | None:
    """Take the one with the higher lower bound."""
    found = [best for best in (one, other) if best is not None]
    return max(found, key=lambda best: best.lower, default=None)


def _of_traits(
    e: Evidence, atoms: _Atoms, max_conditions: int, folds: Ints, banned: int | None = None
) -> _Best | None:
    """Grow the conjunction of confirmed traits as long as each further one earns its place."""
    left = len(atoms.numbers) - (0 if banned is None else 1)
    if left == 0:
        return None
    whole = _grow(atoms, np.ones(len(folds), dtype=np.bool_), max_conditions, banned)
    best: _Best | None = None
    for depth in range(1, len(whole) + 1):
        tried = _held_out(e, atoms, whole[:depth], folds, banned)
        if tried is None or (best is not None and tried.lower <= best.lower):
            break
        best = tried
    return best


def _runner_up(e: Evidence, atoms: _Atoms, best: _Best, max_conditions: int, folds: Ints) -> _Best | None:
    """Find the best conjunction without one of the conditions, if it's an equal with other members."""
    used = {condition.candidate for condition in best.conditions}
    found: _Best | None = None
    for place in np.flatnonzero(np.isin(atoms.numbers, list(used))).tolist():
        tried = _of_traits(e, atoms, max_conditions, folds, banned=place)
        if tried is None or tried.lower <= 0.0 or tried.lift < best.lift - np.hypot(best.error, tried.error):
            continue
        if jaccard(tried.final, best.final) < SAME_MEMBERS:
            found = _better(found, tried)
    return found


def _held_out(e: Evidence, atoms: _Atoms, places: list[int], folds: Ints, banned: int | None) -> _Best | None:
    """Grow a conjunction of this depth without each fold in turn; judge that fold's accounts by it."""
    members = np.zeros(len(folds), dtype=np.bool_)
    final = np.asarray(atoms.final[:, places].all(axis=1))
    overlaps = []
    for k in range(int(folds.max()) + 1):
        grown = _grow(atoms, folds != k, len(places), banned)
        members[folds == k] = atoms.apart[folds == k][:, grown].all(axis=1)
        overlaps.append(jaccard(final, atoms.final[:, grown].all(axis=1)))
    if min(_accounts(atoms.account, members), _accounts(atoms.account, final)) < LEAST_ACCOUNTS:
        return None
    lift, error = _lift(members, atoms.outcome, atoms.account, atoms.variance)
    numbers = [int(atoms.numbers[place]) for place in places]
    conditions = [Condition(j, e.fit.final[j].bins) for j in numbers]
    return _Best(conditions, final, lift * atoms.kept, error * INFLATION, float(np.median(overlaps)))


def _atoms(e: Evidence, stand: Stand, side: int) -> _Atoms:
    """Pick the confirmed traits of one side that aren't mere stand-ins, strongest first."""
    chosen = []
    for j in e.confirmed.tolist():
        own = not stand.vanishes[j] and stand.explained_by[j] < 0
        if own and e.fit.final[j].direction == side and e.design.candidates[j].family != "missing":
            chosen.append(j)
    numbers = np.array(chosen[:MOST_ATOMS], dtype=np.int64)
    raw, mean = np.abs(e.lifts.raw[numbers]), np.abs(e.lifts.mean[numbers])
    rows = len(e.outcome.y)
    final, apart = np.zeros((rows, len(numbers)), np.bool_), np.zeros((rows, len(numbers)), np.bool_)
    for place, j in enumerate(numbers.tolist()):
        final[:, place] = e.design.meets(j, e.fit.final[j].bins) == 1.0
        apart[:, place] = held_out_rows(e.design, e.fit, e.outcome, j) >= 0.5
    return _Atoms(
        numbers,
        final,
        apart,
        e.outcome.surprise * side,
        e.outcome.account,
        _variance(e),
        float(np.clip(mean.sum() / max(float(raw.sum()), 1e-12), 0.0, 1.0)),
    )


def _grow(atoms: _Atoms, rows: Bools, depth: int, banned: int | None) -> list[int]:
    """Add the condition (but the banned one) that raises the lower bound most, until none does."""
    chosen: list[int] = []
    values, local, account = atoms.outcome[rows], atoms.final[rows], atoms.account[rows]
    inside = np.ones(len(values), dtype=np.bool_)
    best = -np.inf
    while len(chosen) < depth:
        bounds = []
        for j in range(local.shape[1]):
            together = inside & local[:, j]
            if j == banned or j in chosen or _accounts(account, together) < LEAST_ACCOUNTS:
                bounds.append(-np.inf)
                continue
            lift, error = _lift(together, values, account, atoms.variance)
            bounds.append(lift - Z90 * error)
        top = int(np.argmax(bounds))
        if bounds[top] <= best:
            break
        best, inside = bounds[top], inside & local[:, top]
        chosen.append(top)
    return chosen


def _accounts(account: Ints, members: Bools) -> int:
    return int(np.count_nonzero(np.bincount(account[members])))


def _variance(e: Evidence) -> float:
    return e.base_rate * (1.0 - e.base_rate)


def _lift(members: Bools, outcome: Array, account: Ints, variance: float) -> tuple[float, float]:
    """Return the mean outcome of some rows against their risk sets, and its error clustered by account."""
    n = int(account.max()) + 1 if len(account) else 0
    total = max(int(members.sum()), 1)
    inside = np.where(members, outcome, 0.0)
    lift = float(inside.sum()) / total
    # what the risk sets' means owe to the members themselves is taken off
    share = total / max(len(members), 1)
    influence = np.bincount(account, weights=inside - lift * members - share * outcome, minlength=n) / total
    # one account's worth of the base spread keeps a small all-good group from looking certain
    accounts = max(_accounts(account, members), 1)
    return lift, float(np.sqrt((influence**2).sum() + variance / accounts**2))


def _row(e: Evidence, best: _Best, side: int) -> dict[str, object]:
    held = np.stack([e.design.meets(c.candidate, c.bins) for c in best.conditions], axis=1)
    decided = ~np.isnan(held).any(axis=1) | (held == 0.0).any(axis=1)
    ends = sorted((side * best.lower, side * (best.lift + Z90 * best.error)))
    predicates = [e.design.candidates[c.candidate].predicate(c.bins) for c in best.conditions]
    rate = float(np.clip(e.base_rate + side * best.lift, 0.0, 1.0))
    return {
        "name": " and ".join(predicate.text() for predicate in predicates),
        "conditions": json.dumps([predicate.to_dict() for predicate in predicates], ensure_ascii=False),
        "target": e.target,
        "n_accounts": _accounts(e.outcome.account, best.final),
        "support": float(best.final.mean()),
        "rate": rate,
        "lift": rate - e.base_rate,
        "lift_low": float(np.clip(ends[0], -e.base_rate, 1.0 - e.base_rate)),
        "lift_high": float(np.clip(ends[1], -e.base_rate, 1.0 - e.base_rate)),
        "jaccard_stability": best.stable,
        "decidable": float(decided.mean()),
    }
